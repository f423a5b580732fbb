//! Which models read images here, and what becomes of an image in the prompt.
//!
//! mistral.rs 0.8.1 takes images for some twenty architectures and computes few of them rightly, so those that were seen to
//! run are named here and all others are refused with the reason. Invariant: a model has sight only where all that the
//! engine takes for granted about its images is in its folder; the engine's thread ends where it is not.

use std::path::Path;

use image::imageops::FilterType;
use serde_json::Value;

/// Architectures whose answers to images are right, as tests/engine/images.rs computes them again.
///
/// Not here, of mistralrs-core 0.8.1: Qwen2-VL and Qwen2.5-VL fail at the first step after the prompt (`vision_models/
/// qwen2vl/mod.rs`, line 455: the positions of that step are looked up from its offset on in a row that ends there, hence
/// "index-select invalid index"), and put a third image's numbers in the wrong place (line 411). Idefics3 and SmolVLM would
/// end the thread (`idefics3/mod.rs`, line 230: the frames of an image are looked up by its one hash). The rest was not
/// tried.
const READ_IMAGES: &[&str] = &["Gemma3ForConditionalGeneration"];

/// Gemma's words for an image: the one that a chat template writes, and what the engine puts in its place
/// (mistralrs-core 0.8.1, `gemma3/inputs_processor.rs`).
pub(crate) const MARK: &str = "<start_of_image>";

/// How a model reads images.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sight {
    /// The number of `MARK`.
    mark: u32,
    /// The number of the token that the engine puts in an image's place, so many times.
    place: u32,
    /// Tokens of an image.
    tokens: usize,
    /// Width and height, in pixels, of what the model sees of an image of any size.
    pub(crate) size: (u32, u32),
    /// How it is brought to that size.
    pub(crate) filter: FilterType,
    /// Tokens that the engine adds to the template's for an image; the tokenizer says.
    pub(crate) adds: usize,
}

impl Sight {
    /// Looks through a model's folder.
    ///
    /// # Errors
    /// Why images are refused, to go on after "cannot read images: ".
    pub(crate) fn of(folder: &Path, architecture: &str, config: &Value) -> Result<Self, String> {
        if architecture.ends_with("ForCausalLM") {
            return Err(blind());
        }
        if !READ_IMAGES.contains(&architecture) {
            return Err(format!("this engine answers models of the architecture {architecture} by text alone"));
        }
        let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
        let named = |key: &str| number(&config[key]).ok_or(format!("its config.json has no '{key}'"));
        let (mark, place) = (named("boi_token_index")?, named("image_token_index")?);
        let tokens = named("mm_tokens_per_image")? as usize;
        let processor = read(&folder.join("processor_config.json")).unwrap_or_default();
        if processor["image_seq_length"].as_u64().unwrap_or(256) != tokens as u64 {
            return Err("'image_seq_length' of its processor_config.json is not 'mm_tokens_per_image'".into());
        }
        let file = folder.join("preprocessor_config.json");
        let pictures = if file.exists() { read(&file) } else { Some(processor["image_processor"].clone()) };
        let pictures = pictures.filter(Value::is_object).ok_or("its preprocessor_config.json is missing or broken")?;
        let missing = |key: &str| format!("its preprocessor_config.json has no '{key}'");
        for key in ["do_resize", "do_rescale", "do_normalize"] {
            pictures[key].as_bool().ok_or(missing(key))?;
        }
        pictures["rescale_factor"].as_f64().ok_or(missing("rescale_factor"))?;
        // Crops stand beside the image and would be looked up by its one hash; without the size the tower does not fit.
        if pictures["do_resize"] == false || pictures["do_pan_and_scan"] == true {
            return Err("'do_resize: false' and 'do_pan_and_scan: true' are not computed rightly".into());
        }
        let side = |key: &str| number(&pictures["size"][key]).filter(|side| *side > 0);
        let size = side("width").zip(side("height")).ok_or(missing("size"))?;
        let tower = number(&config["vision_config"]["image_size"]);
        if tower.is_some_and(|side| size != (side, side)) {
            return Err("'size' of its preprocessor_config.json is not the 'image_size' of its vision_config".into());
        }
        // Pillow's numbers, as the engine reads them.
        let filter = match pictures.get("resample").and_then(Value::as_u64) {
            Some(0 | 4) => FilterType::Nearest,
            Some(1) => FilterType::Lanczos3,
            Some(2) | None => FilterType::Triangle,
            Some(3) => FilterType::CatmullRom,
            Some(other) => return Err(format!("'resample' of its preprocessor_config.json is {other}")),
        };
        Ok(Self { mark, place, tokens, size, filter, adds: 0 })
    }

    #[cfg(test)]
    pub(crate) fn of_size(width: u32, height: u32) -> Self {
        Self { mark: 0, place: 1, tokens: 1, size: (width, height), filter: FilterType::Triangle, adds: 0 }
    }

    /// What the engine writes for an image.
    pub(crate) fn written(&self) -> String {
        format!("\n\n{MARK}{}<end_of_image>\n\n", "<image_soft_token>".repeat(self.tokens))
    }

    /// How long the prompt becomes, of which the template made `tokens`.
    ///
    /// # Errors
    /// Where the template passed an image over, or a text holds the word that stands for one: images would be looked for
    /// where there are none.
    pub(crate) fn length(&self, tokens: &[u32], images: usize) -> Result<usize, String> {
        if images > 0 && tokens.contains(&self.place) {
            return Err("a text holds the word that stands for a piece of an image".into());
        }
        match tokens.iter().filter(|token| **token == self.mark).count() {
            marks if marks == images => Ok(tokens.len() + images * self.adds),
            marks => Err(format!("'{MARK}' stands {marks} times in the prompt, for {images} images")),
        }
    }
}

/// Why a model without an image tower reads no images.
pub(crate) fn blind() -> String {
    "it is a model of text alone".into()
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sight(architecture: &str, change: impl Fn(&mut Value, &mut Value)) -> Result<Sight, String> {
        let mut config = json!({"boi_token_index": 7, "image_token_index": 8, "mm_tokens_per_image": 256, "vision_config": {"image_size": 28}});
        let mut pictures = json!({"do_resize": true, "do_rescale": true, "do_normalize": true, "resample": 3,
            "rescale_factor": 0.5, "size": {"width": 28, "height": 28}});
        change(&mut config, &mut pictures);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("preprocessor_config.json"), pictures.to_string()).unwrap();
        Sight::of(folder.path(), architecture, &config)
    }

    const GEMMA: &str = "Gemma3ForConditionalGeneration";

    #[test]
    fn others_are_refused_by_name_and_a_folder_without_what_the_engine_needs_by_the_member() {
        let seen = sight(GEMMA, |_, _| ()).unwrap();
        assert_eq!((seen.mark, seen.size, seen.filter), (7, (28, 28), FilterType::CatmullRom));
        assert!(sight("Qwen2VLForConditionalGeneration", |_, _| ()).unwrap_err().contains("Qwen2VLFor"));
        assert_eq!(sight("Gemma3ForCausalLM", |_, _| ()), Err(blind()));
        for key in ["do_resize", "do_rescale", "do_normalize", "rescale_factor", "size"] {
            let without = sight(GEMMA, |_, pictures| pictures[key] = Value::Null);
            assert!(without.unwrap_err().contains(&format!("no '{key}'")), "{key}");
        }
        for (key, value) in [("do_pan_and_scan", json!(true)), ("do_resize", json!(false)), ("resample", json!(9))] {
            assert!(sight(GEMMA, |_, pictures| pictures[key] = value.clone()).unwrap_err().contains(key), "{key}");
        }
        assert!(sight(GEMMA, |config, _| config["boi_token_index"] = Value::Null).unwrap_err().contains("boi_token"));
        assert!(
            sight(GEMMA, |config, _| config["mm_tokens_per_image"] = json!(64)).unwrap_err().contains("seq_length")
        );
        let other_tower = sight(GEMMA, |config, _| config["vision_config"]["image_size"] = json!(14));
        assert!(other_tower.unwrap_err().contains("image_size"));
    }

    #[test]
    fn each_image_has_its_mark_and_no_mark_is_without_an_image() {
        let seen = Sight { adds: 10, ..sight(GEMMA, |_, _| ()).unwrap() };
        assert_eq!(seen.length(&[1, 7, 2, 7], 2), Ok(24));
        assert!(seen.length(&[1, 7, 2, 7], 1).unwrap_err().contains("2 times in the prompt, for 1 images"));
        assert!(seen.length(&[1, 2], 1).is_err());
        assert!(seen.length(&[1, 7, 8], 1).unwrap_err().contains("piece of an image"));
        assert_eq!(seen.length(&[1, 8], 0), Ok(2), "a text alone is the model's to read");
    }
}
