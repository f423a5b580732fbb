//! Which files of a repository make a model that can be run here.
//!
//! Safetensors with their configuration and tokenizer, or GGUF files of one quantisation. Invariant: a file that runs code
//! when it is opened (Python's pickle) is never chosen, whatever was asked for: only kinds that are known not to.

use std::collections::BTreeMap;

use frontdesk_api::{Error, Result};

use super::{digest::Sum, found::quantisation_of};

/// A file that a hub has.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Offer {
    /// In its repository.
    pub path: String,
    /// Bytes; None where that is not known before it is fetched.
    pub size: Option<u64>,
    pub sum: Sum,
}

impl Offer {
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Where it lies in the model's folder: beside the others, or in the folder of its module.
    pub(super) fn place(&self) -> &str {
        if self.is_of_a_module() { &self.path } else { self.name() }
    }

    /// Of what stands behind a sentence model, as sentence-transformers saves it: `1_Pooling/config.json`.
    fn is_of_a_module(&self) -> bool {
        self.path.split_once('/').is_some_and(|(folder, file)| {
            // A number and the name of a class: `4_bit` is none.
            let module = folder.split_once('_').is_some_and(|(n, kind)| {
                let is_class = kind.starts_with(|c: char| c.is_ascii_uppercase());
                n.parse::<u8>().is_ok() && is_class && kind.bytes().all(|b| b.is_ascii_alphanumeric())
            });
            module && !file.contains('/') && self.has(OF_MODULE)
        })
    }

    fn has(&self, extensions: &[&str]) -> bool {
        let extension = self.name().rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        extension.is_some_and(|own| extensions.contains(&own.as_str()))
    }
}

/// What is fetched.
#[derive(Debug, PartialEq)]
pub(super) struct Choice {
    pub files: Vec<Offer>,
    /// Quantisations that the repository has beside the chosen one.
    pub others: Vec<String>,
}

/// What is fetched at all: weights that are read and not run, and texts. Any other file may hold pickled objects.
const KINDS: &[&str] = &["safetensors", "gguf", "uqff", "json", "jinja", "txt", "model", "md"];

/// What weights of other kinds are called, for the word about them.
const PICKLES: &[&str] = &["bin", "pt", "pth", "pkl", "pickle", "ckpt"];

/// What a model of safetensors may need beside its weights, at the top of its repository.
const BESIDE: &[&str] = &["json", "jinja", "txt", "model"];

/// Lists the modules of a sentence model, and what a module's folder may hold that is read.
const MODULES: &str = "modules.json";
const OF_MODULE: &[&str] = &["json", "safetensors"];

/// Which quantisation is taken where nobody says, the first that is there: llama.cpp's own recommendation, then its
/// neighbours by size.
const PREFERRED: &[&str] = &["Q4_K_M", "Q4_K_S", "Q5_K_M", "Q5_K_S", "Q4_0", "Q6_K", "Q8_0", "Q3_K_M", "BF16", "F16"];

/// `wanted`: a quantisation (`Q5_K_M`), a file's path or a pattern with `*` and `?`; None: what suits most.
///
/// # Errors
/// `Invalid` on `file` naming what there is instead, `NotFound` where there is nothing that can be run.
pub(super) fn choose(offers: &[Offer], wanted: Option<&str>) -> Result<Choice> {
    let quantised = quantised(offers);
    let chosen = match wanted {
        Some(wanted) => named(offers, &quantised, wanted)?,
        None => best(offers, &quantised)?,
    };
    let mut files = chosen;
    if files.iter().any(|file| file.has(&["safetensors"])) {
        let modules = offers.iter().any(|offer| offer.path == MODULES);
        let of_module = |offer: &Offer| modules && offer.is_of_a_module();
        let beside = offers.iter().filter(|offer| (!offer.path.contains('/') && offer.has(BESIDE)) || of_module(offer));
        let more: Vec<Offer> = beside.filter(|offer| !files.contains(offer)).cloned().collect();
        files.extend(more);
    }
    for (i, file) in files.iter().enumerate() {
        if let Some(other) = files[..i].iter().find(|other| other.place() == file.place()) {
            let message =
                format!("'{}' and '{}' would be one file on disk: name one with --file", other.path, file.path);
            return Err(Error::invalid("file", message));
        }
    }
    let taken = |label: &str| files.iter().any(|file| file.has(&["gguf"]) && label_of(file) == label);
    let others = quantised.keys().filter(|label| !taken(label)).cloned().collect();
    Ok(Choice { files, others })
}

/// GGUF files by quantisation, those of one model in several parts together. Projectors and importance matrices are no models.
fn quantised(offers: &[Offer]) -> BTreeMap<String, Vec<Offer>> {
    let mut all: BTreeMap<String, Vec<Offer>> = BTreeMap::new();
    for offer in offers.iter().filter(|offer| offer.has(&["gguf"])) {
        let name = offer.name().to_ascii_lowercase();
        if !name.contains("mmproj") && !name.contains("imatrix") {
            all.entry(label_of(offer)).or_default().push(offer.clone());
        }
    }
    all
}

/// The quantisation a file's name tells, or the name.
fn label_of(offer: &Offer) -> String {
    quantisation_of(offer.name()).unwrap_or_else(|| offer.name().to_owned())
}

fn named(offers: &[Offer], quantised: &BTreeMap<String, Vec<Offer>>, wanted: &str) -> Result<Vec<Offer>> {
    if let Some((_, files)) = quantised.iter().find(|(label, _)| label.eq_ignore_ascii_case(wanted)) {
        return Ok(files.clone());
    }
    let files: Vec<Offer> = offers.iter().filter(|offer| matches(wanted, &offer.path)).cloned().collect();
    if let Some(other) = files.iter().find(|file| !file.has(KINDS)) {
        let message = format!(
            "'{}' is of none of the kinds that are fetched ({}); others may hold pickled objects, which run code when \
             they are opened",
            other.path,
            KINDS.join(", ")
        );
        return Err(Error::invalid("file", message));
    }
    if files.is_empty() {
        let labels: Vec<&str> = quantised.keys().map(String::as_str).collect();
        let there = if labels.is_empty() { "no quantisations".to_owned() } else { labels.join(", ") };
        let message = format!("no file and no quantisation '{wanted}' is there; there are: {there}");
        return Err(Error::invalid("file", message));
    }
    Ok(files)
}

fn best(offers: &[Offer], quantised: &BTreeMap<String, Vec<Offer>>) -> Result<Vec<Offer>> {
    let weights: Vec<&Offer> =
        offers.iter().filter(|offer| !offer.path.contains('/') && offer.has(&["safetensors"])).collect();
    // Some repositories hold the same weights twice, in their maker's own layout and in the usual one.
    let usual = weights.iter().any(|offer| offer.name().starts_with("model"));
    let weights: Vec<Offer> =
        weights.into_iter().filter(|offer| !usual || offer.name().starts_with("model")).cloned().collect();
    if !weights.is_empty() {
        return Ok(weights);
    }
    // One in several parts only where nothing else is there: the local engine opens single files.
    let preferred = PREFERRED.iter().find_map(|label| quantised.get(*label).filter(|files| files.len() == 1));
    let single = || quantised.values().find(|files| files.len() == 1);
    if let Some(files) = preferred.or_else(single).or_else(|| quantised.values().next()) {
        return Ok(files.clone());
    }
    Err(match offers.iter().find(|offer| offer.has(PICKLES)) {
        Some(pickle) => Error::not_found(format!(
            "its weights are only there as '{}', which may run code when it is opened; look for a repository with \
             safetensors or GGUF files",
            pickle.path
        )),
        None => Error::not_found("it has neither safetensors nor GGUF files"),
    })
}

/// Whether `text` is what `pattern` describes: `*` stands for any characters, `?` for one.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // The last star, and how far it reaches.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((at, reach)) = star else { return false };
                star = Some((at, reach + 1));
                (p, t) = (at + 1, reach + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(paths: &[&str]) -> Vec<Offer> {
        paths.iter().map(|path| Offer { path: (*path).into(), size: Some(1), sum: Sum::SizeOnly }).collect()
    }

    fn chosen(paths: &[&str], wanted: Option<&str>) -> (String, String) {
        let choice = choose(&offers(paths), wanted).expect("something to run");
        let files: Vec<&str> = choice.files.iter().map(|file| file.path.as_str()).collect();
        (files.join(" "), choice.others.join(" "))
    }

    fn refused(paths: &[&str], wanted: Option<&str>) -> String {
        choose(&offers(paths), wanted).expect_err("nothing to run").message
    }

    #[test]
    fn safetensors_come_with_what_they_need_and_without_pickles() {
        let paths = [
            "README.md",
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin",
            "tokenizer.json",
            "tokenizer.model",
            "merges.txt",
            "consolidated.safetensors",
            "original/model.safetensors",
            "onnx/model.onnx",
            "chat_template.jinja",
        ];
        assert_eq!(
            chosen(&paths, None).0,
            "model-00001-of-00002.safetensors model-00002-of-00002.safetensors config.json \
             model.safetensors.index.json tokenizer.json tokenizer.model merges.txt chat_template.jinja"
        );
        assert_eq!(
            chosen(&["consolidated.safetensors", "params.json"], None).0,
            "consolidated.safetensors params.json"
        );
    }

    #[test]
    fn a_sentence_model_comes_with_its_modules_in_their_folders() {
        let paths = [
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
            "2_Dense/pytorch_model.bin",
            "config.json",
            "model.safetensors",
            "modules.json",
            "onnx/config.json",
        ];
        let all = "model.safetensors 1_Pooling/config.json 2_Dense/config.json 2_Dense/model.safetensors config.json \
                   modules.json";
        assert_eq!(chosen(&paths, None).0, all);
        let choice = choose(&offers(&paths), None).expect("something to run");
        assert!(choice.files.iter().all(|file| file.place() == file.path));
        let without: Vec<&str> = paths.into_iter().filter(|path| *path != MODULES).collect();
        assert_eq!(chosen(&without, None).0, "model.safetensors config.json");
        for other in
            ["1_/a.json", "x_Pooling/a.json", "1_Pooling/x/a.json", "1_../a.json", "999_P/a.json", "4_bit/a.json"]
        {
            assert_eq!(offers(&[other])[0].place(), "a.json", "{other}");
        }
        assert_eq!(offers(&["1_Q4/a.gguf"])[0].place(), "a.gguf");
    }

    #[test]
    fn one_quantisation_is_taken_and_the_others_are_named() {
        let paths = ["m-Q8_0.gguf", "m-Q4_K_M.gguf", "m-IQ2_XS.gguf", "mmproj-m-f16.gguf", "README.md"];
        assert_eq!(chosen(&paths, None), ("m-Q4_K_M.gguf".into(), "IQ2_XS Q8_0".into()));
        assert_eq!(chosen(&paths, Some("q8_0")), ("m-Q8_0.gguf".into(), "IQ2_XS Q4_K_M".into()));
        assert_eq!(chosen(&paths, Some("mmproj*")).0, "mmproj-m-f16.gguf");
        assert_eq!(chosen(&["m.gguf"], None), ("m.gguf".into(), String::new()));
        assert_eq!(
            refused(&paths, Some("Q5_K_M")),
            "no file and no quantisation 'Q5_K_M' is there; there are: IQ2_XS, Q4_K_M, Q8_0"
        );
    }

    #[test]
    fn a_model_in_parts_is_taken_whole_and_only_when_it_must_be() {
        let parts = ["q/m-Q4_K_M-00001-of-00002.gguf", "q/m-Q4_K_M-00002-of-00002.gguf"];
        assert_eq!(chosen(&parts, None).0, parts.join(" "));
        assert_eq!(chosen(&[parts[0], parts[1], "m-Q6_K.gguf"], None), ("m-Q6_K.gguf".into(), "Q4_K_M".into()));
        // The next of the preferred, not the first by name.
        let more = [parts[0], parts[1], "m-IQ1_M.gguf", "m-Q3_K_M.gguf"];
        assert_eq!(chosen(&more, None), ("m-Q3_K_M.gguf".into(), "IQ1_M Q4_K_M".into()));
    }

    #[test]
    fn pickles_are_refused_by_name_pattern_and_default() {
        let paths = ["config.json", "pytorch_model.bin", "x.pt", "m-Q4_0.gguf"];
        for wanted in ["*.bin", "x.pt", "*"] {
            assert!(refused(&paths, Some(wanted)).contains("run code"), "{wanted}");
        }
        for unknown in ["weights.npz", "model", "a.tar.gz", "x.dill", "m.safetensors.py"] {
            assert!(refused(&[unknown], Some(unknown)).contains(&format!("'{unknown}'")), "{unknown}");
        }
        for known in ["a/m-Q4_0.UQFF", "README.md", "tokenizer.model"] {
            assert_eq!(chosen(&[known], Some(known)).0, known);
        }
        assert!(refused(&paths[..3], None).contains("'pytorch_model.bin'"));
        assert_eq!(refused(&["README.md"], None), "it has neither safetensors nor GGUF files");
    }

    #[test]
    fn two_files_of_one_name_are_not_mixed() {
        assert!(refused(&["a/m.gguf", "b/m.gguf"], Some("*m.gguf")).contains("one file on disk"));
    }

    #[test]
    fn a_pattern_is_a_pattern() {
        for (pattern, text, is) in [
            ("*", "", true),
            ("*.gguf", "a/b.gguf", true),
            ("m?.gguf", "m1.gguf", true),
            ("m?.gguf", "m.gguf", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbY", false),
            ("", "x", false),
            ("x", "x", true),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern, text), is, "{pattern} {text}");
        }
    }
}
