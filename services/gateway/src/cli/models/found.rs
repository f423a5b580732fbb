//! A model on disk, looked at without loading it: what it is, how large, and whether files are missing.
//!
//! Invariant: only names, sizes and small JSON files are read, so looking at a folder of models is quick. The engine looks
//! again, and closer, before it loads one.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use frontdesk_api::Result;
use serde::Serialize;
use serde_json::Value;

/// A model that lies on disk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Found {
    pub path: PathBuf,
    pub format: Format,
    /// Of its weights and what lies beside them.
    pub bytes: u64,
    /// As its name or its config.json tells: `Q4_K_M`, `awq 4 bit`, `bfloat16`.
    pub quantisation: Option<String>,
    /// Tokens it was made for, where config.json tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    Folder,
    Gguf,
}

impl Format {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Gguf => "gguf",
        }
    }
}

/// Looks at a model folder or a .gguf file.
///
/// # Errors
/// One sentence naming what is missing.
pub(super) fn look(path: &Path) -> Result<Found, String> {
    let about = std::fs::metadata(path).map_err(|e| format!("{}: {e}", path.display()))?;
    if about.is_file() {
        return gguf(path, about.len());
    }
    folder(path)
}

/// The models in a folder of models and in its folders, by path; what is no model is passed over.
pub(super) fn all_in(dir: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    for path in entries(dir) {
        if let Ok(model) = look(&path) {
            found.push(model);
        } else if path.is_dir() {
            found.extend(entries(&path).into_iter().filter(|path| path.is_file()).filter_map(|path| look(&path).ok()));
        }
    }
    found
}

/// Sorted, so that a list reads the same twice.
fn entries(dir: &Path) -> BTreeSet<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn gguf(path: &Path, bytes: u64) -> Result<Found, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !name.to_ascii_lowercase().ends_with(".gguf") {
        return Err(format!("{} is neither a folder nor a .gguf file", path.display()));
    }
    let mut magic = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic));
    if read.is_err() || magic != *b"GGUF" {
        return Err(format!("{} is no GGUF file: it does not begin with that word", path.display()));
    }
    let (path, quantisation) = (path.to_owned(), quantisation_of(&name));
    Ok(Found { path, format: Format::Gguf, bytes, quantisation, context_window: None })
}

fn folder(path: &Path) -> Result<Found, String> {
    let config = json(&path.join("config.json"))?;
    for needed in ["tokenizer.json", "tokenizer_config.json"] {
        if !path.join(needed).is_file() {
            return Err(format!("{} is missing", path.join(needed).display()));
        }
    }
    let index = path.join("model.safetensors.index.json");
    if index.is_file() {
        let index = json(&index)?;
        let parts: BTreeSet<&str> = index["weight_map"]
            .as_object()
            .into_iter()
            .flat_map(|map| map.values())
            .filter_map(Value::as_str)
            .collect();
        if let Some(part) = parts.into_iter().find(|part| !path.join(part).is_file()) {
            return Err(format!("{} is missing", path.join(part).display()));
        }
    }
    let modules = path.join("modules.json");
    if modules.is_file() {
        let modules = json(&modules)?;
        for module in modules.as_array().into_iter().flatten() {
            let said = |key: &str| module[key].as_str().unwrap_or_default();
            let config = path.join(said("path")).join("config.json");
            // The others have no folder, or an empty one.
            if ["Pooling", "Dense"].iter().any(|kind| said("type").ends_with(kind)) && !config.is_file() {
                return Err(format!("{} is missing", config.display()));
            }
        }
    }
    let files: Vec<PathBuf> = entries(path).into_iter().filter(|file| file.is_file()).collect();
    if !files.iter().any(|file| file.extension().is_some_and(|e| e == "safetensors")) {
        return Err(format!("{} has no *.safetensors file", path.display()));
    }
    let bytes = files.iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    // Models that also read images keep what describes the language model in a part of its own.
    let said = |key: &str| config.get(key).or_else(|| config["text_config"].get(key)).cloned().unwrap_or_default();
    let (path, context_window) = (path.to_owned(), said("max_position_embeddings").as_u64());
    Ok(Found { path, format: Format::Folder, bytes, quantisation: number_format(&said), context_window })
}

/// What the weights are kept in, as config.json says.
fn number_format(said: &impl Fn(&str) -> Value) -> Option<String> {
    let quantised = said("quantization_config");
    if let Some(method) = quantised["quant_method"].as_str() {
        let bits = quantised["bits"].as_u64().map(|bits| format!(" {bits} bit")).unwrap_or_default();
        return Some(format!("{method}{bits}"));
    }
    ["dtype", "torch_dtype"].iter().find_map(|key| said(key).as_str().map(str::to_owned))
}

fn json(path: &Path) -> Result<Value, String> {
    let text = std::fs::read(path).map_err(|_| format!("{} is missing", path.display()))?;
    serde_json::from_slice(&text).map_err(|e| format!("{} is no JSON: {e}", path.display()))
}

/// The quantisation in the name of a GGUF file (`model-Q4_K_M.gguf`, `model.q8_0.gguf`), in capitals.
pub(super) fn quantisation_of(name: &str) -> Option<String> {
    let stem = name.get(..name.len().checked_sub(".gguf".len())?)?;
    stem.split(['-', '.']).rev().map(str::to_ascii_uppercase).find(|word| is_quantisation(word))
}

/// As llama.cpp names them: `Q4_K_M`, `IQ2_XXS`, `TQ1_0`, `MXFP4`, `BF16`.
fn is_quantisation(word: &str) -> bool {
    if matches!(word, "F16" | "F32" | "BF16" | "FP16" | "FP32") || word.starts_with("MXFP4") {
        return true;
    }
    let rest = ["IQ", "TQ", "Q"].iter().find_map(|prefix| word.strip_prefix(prefix));
    rest.is_some_and(|rest| {
        rest.as_bytes().first().is_some_and(u8::is_ascii_digit) && rest.as_bytes().get(1) == Some(&b'_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, files: &[(&str, &str)]) {
        for (name, content) in files {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, content).expect("a file");
        }
    }

    #[test]
    fn a_folder_is_known_by_what_it_holds() {
        let dir = tempfile::tempdir().expect("a folder");
        let config = r#"{"torch_dtype":"bfloat16","text_config":{"max_position_embeddings":4096}}"#;
        write(dir.path(), &[("a/config.json", config), ("a/tokenizer.json", "{}"), ("a/model.safetensors", "weights")]);
        let path = dir.path().join("a");
        assert!(look(&path).expect_err("not whole").ends_with("tokenizer_config.json is missing"));
        write(&path, &[("tokenizer_config.json", "{}")]);
        let found = look(&path).expect("whole");
        assert_eq!(
            (found.format, found.bytes, found.context_window),
            (Format::Folder, config.len() as u64 + 11, Some(4096))
        );
        assert_eq!(found.quantisation.as_deref(), Some("bfloat16"));
        let index = r#"{"weight_map":{"x":"model.safetensors","y":"model-2.safetensors"}}"#;
        write(&path, &[("model.safetensors.index.json", index)]);
        assert!(look(&path).expect_err("not whole").ends_with("model-2.safetensors is missing"));
        write(
            &path,
            &[
                ("model-2.safetensors", ""),
                ("config.json", r#"{"quantization_config":{"quant_method":"awq","bits":4}}"#),
            ],
        );
        assert_eq!(look(&path).expect("whole").quantisation.as_deref(), Some("awq 4 bit"));
        let modules = r#"[{"path":"","type":"sentence_transformers.models.Transformer"},
            {"path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
            {"path":"2_Normalize","type":"sentence_transformers.models.Normalize"}]"#;
        write(&path, &[("modules.json", modules)]);
        assert!(look(&path).expect_err("not whole").ends_with("1_Pooling/config.json is missing"));
        write(&path, &[("1_Pooling/config.json", "{}")]);
        assert!(look(&path).is_ok());
    }

    #[test]
    fn a_folder_of_models_is_looked_through_one_level_deep() {
        let dir = tempfile::tempdir().expect("a folder");
        write(
            dir.path(),
            &[
                ("b-Q8_0.gguf", "GGUF3"),
                ("half.gguf.part", "GGUF"),
                ("bad.gguf", "nothing"),
                ("notes.txt", "x"),
                ("c/m.q4_k_m.gguf", "GGUF"),
                ("c/README.md", "x"),
                ("d/e/deep.gguf", "GGUF"),
            ],
        );
        let found: Vec<String> = all_in(dir.path())
            .into_iter()
            .map(|m| format!("{} {:?}", m.path.strip_prefix(dir.path()).expect("inside").display(), m.quantisation))
            .collect();
        assert_eq!(found, ["b-Q8_0.gguf Some(\"Q8_0\")", "c/m.q4_k_m.gguf Some(\"Q4_K_M\")"]);
        assert_eq!(all_in(&dir.path().join("none")), []);
    }

    #[test]
    fn names_tell_quantisations() {
        for (name, told) in [
            ("Qwen3-0.6B-Q4_K_M.gguf", Some("Q4_K_M")),
            ("m.Q8_0.gguf", Some("Q8_0")),
            ("m-iq2_xxs.gguf", Some("IQ2_XXS")),
            ("m-UD-Q4_K_XL-00001-of-00002.gguf", Some("Q4_K_XL")),
            ("m-bf16.gguf", Some("BF16")),
            ("Qwen-Q3.gguf", None),
            ("m.gguf", None),
            ("x", None),
        ] {
            assert_eq!(quantisation_of(name).as_deref(), told, "{name}");
        }
    }
}
