//! A model folder in Hugging Face layout, looked through before the engine loads it.
//!
//! The engine would ask a model hub for whatever is missing; so nothing is handed to it before every file it needs is
//! known to be here and whole. Invariant: after `Folder::open` succeeded, loading touches local files only.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::sight::Sight;

/// A model folder that has everything.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    /// The chat template as written (Jinja).
    pub(crate) template: String,
    /// Positions the model was made for, where config.json says so.
    pub(crate) positions: Option<usize>,
    /// Elements of an attention head, where config.json says so.
    pub(crate) head_size: Option<usize>,
    /// How many tokens there are; known of a model for embeddings, which clients send tokens to.
    pub(crate) vocabulary: Option<usize>,
    /// A plain language model; false for models that also read images or sound.
    pub(crate) text_only: bool,
    /// How it reads images, or why it does not.
    pub(crate) sight: Result<Sight, String>,
    /// Made for embeddings, in the layout of sentence-transformers: modules.json lists what follows the model.
    pub(crate) embeds: bool,
}

impl Folder {
    /// Looks through the folder. `uqff`: the file that stands in for its weights.
    ///
    /// # Errors
    /// One sentence naming the file that is missing, broken or cut short.
    pub(crate) fn open(path: &Path, template_file: Option<&Path>, uqff: Option<&str>) -> Result<Self, String> {
        let config = json(&path.join("config.json"))?;
        json(&path.join("tokenizer.json"))?;
        let tokenizer_config = json(&path.join("tokenizer_config.json"))?;
        let generation = path.join("generation_config.json");
        if generation.exists() {
            json(&generation)?;
        }
        let Some(architecture) = config["architectures"][0].as_str() else {
            return Err(format!("{} has no 'architectures'", path.join("config.json").display()));
        };
        match uqff {
            Some(file) => check_uqff(path, file)?,
            None => check_weights(path)?,
        }
        let embeds = path.join("modules.json").exists();
        if embeds {
            check_modules(path)?;
        }
        let vocabulary = number(&config, "vocab_size").filter(|_| embeds);
        if embeds && vocabulary.is_none() {
            return Err(format!("{} has no 'vocab_size'", path.join("config.json").display()));
        }
        let template = match template_file {
            Some(_) if embeds => return Err("'chat_template' is for models that chat, not for embeddings".into()),
            Some(file) => text(file)?,
            None if embeds => String::new(),
            None => template_in(path, &tokenizer_config)?,
        };
        check_template(&template)?;
        let text_only = architecture.ends_with("ForCausalLM");
        let sight = Sight::of(path, architecture, &config);
        let (positions, head_size) = (number(&config, "max_position_embeddings"), head_size(&config));
        Ok(Self { path: path.to_owned(), template, positions, head_size, vocabulary, text_only, sight, embeds })
    }
}

/// A number of the language model, which some models describe in a part of its own.
fn number(config: &Value, key: &str) -> Option<usize> {
    let found = config.get(key).or_else(|| config["text_config"].get(key))?;
    found.as_u64().and_then(|n| usize::try_from(n).ok())
}

/// None where keys and values are stored compressed, without heads (multi-head latent attention).
fn head_size(config: &Value) -> Option<usize> {
    if number(config, "kv_lora_rank").is_some() {
        return None;
    }
    number(config, "head_dim")
        .or_else(|| number(config, "hidden_size")?.checked_div(number(config, "num_attention_heads")?))
}

/// Refuses templates whose format makes the engine fetch files.
pub(crate) fn check_template(template: &str) -> Result<(), String> {
    // The engine reads this format with a vocabulary that it downloads on first use.
    if template.contains("<|channel|>") && template.contains("<|start|>") {
        return Err("models with the harmony chat format need a vocabulary that is fetched from the network; \
                    this engine stays offline"
            .into());
    }
    Ok(())
}

fn template_in(path: &Path, tokenizer_config: &Value) -> Result<String, String> {
    let beside = path.join("chat_template.jinja");
    if beside.exists() {
        return text(&beside);
    }
    if let Ok(listed) = json(&path.join("chat_template.json"))
        && let Some(template) = listed["chat_template"].as_str()
    {
        return Ok(template.to_owned());
    }
    match &tokenizer_config["chat_template"] {
        Value::String(template) => Ok(template.clone()),
        // Several named templates: all of them count for what the model writes.
        Value::Array(named) => {
            Ok(named.iter().filter_map(|one| one["template"].as_str()).collect::<Vec<_>>().join("\n"))
        }
        _ => Err(format!(
            "{} has no chat template: neither chat_template.jinja nor 'chat_template' in tokenizer_config.json",
            path.display()
        )),
    }
}

/// What stands behind a model for embeddings: how its rows become one, and layers after that.
fn check_modules(path: &Path) -> Result<(), String> {
    let listed = json(&path.join("modules.json"))?;
    for module in listed.as_array().into_iter().flatten() {
        let kind = module["type"].as_str().unwrap_or_default().rsplit('.').next().unwrap_or_default();
        let folder = path.join(module["path"].as_str().unwrap_or_default());
        if matches!(kind, "Pooling" | "Dense") {
            json(&folder.join("config.json"))?;
        }
        if kind == "Dense" {
            check_safetensors(&folder.join("model.safetensors"))?;
        }
    }
    Ok(())
}

/// A quantised file brings the layers; what stays as it is lies beside it.
fn check_uqff(path: &Path, file: &str) -> Result<(), String> {
    if !file.ends_with(".uqff") || file.contains(['/', ';']) {
        return Err(format!("uqff '{file}' must be the name of a .uqff file in the model's folder"));
    }
    let file = path.join(file);
    File::open(&file).map_err(|cause| says(&file, &cause))?;
    check_safetensors(&path.join("residual.safetensors"))
}

fn check_weights(path: &Path) -> Result<(), String> {
    let index = path.join("model.safetensors.index.json");
    if index.exists() {
        let map = json(&index)?;
        let Some(weights) = map["weight_map"].as_object() else {
            return Err(format!("{} has no 'weight_map'", index.display()));
        };
        let shards: BTreeSet<&str> = weights.values().filter_map(Value::as_str).collect();
        for shard in shards {
            check_safetensors(&path.join(shard))?;
            if !is_read(shard) {
                return Err(format!(
                    "{}: the engine does not read a file of this name; {READ}",
                    path.join(shard).display()
                ));
            }
        }
        return Ok(());
    }
    let (mut found, mut read) = (false, false);
    let entries = std::fs::read_dir(path).map_err(|cause| says(path, &cause))?;
    for entry in entries {
        let file = entry.map_err(|cause| says(path, &cause))?.path();
        if file.extension().is_some_and(|extension| extension == "safetensors") {
            check_safetensors(&file)?;
            found = true;
            read |= file.file_name().and_then(|name| name.to_str()).is_some_and(is_read);
        }
    }
    match (found, read) {
        (true, true) => Ok(()),
        (true, false) => Err(format!("{} has no weights under a name that the engine reads; {READ}", path.display())),
        (false, _) => Err(format!("{} has no *.safetensors file", path.display())),
    }
}

const READ: &str = "it reads model.safetensors, consolidated.safetensors and model-N-of-M.safetensors";

/// Whether the engine takes a file of this name for weights (mistralrs-core 0.8.1, pipeline/paths.rs).
fn is_read(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".safetensors") else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let part = || {
        let (before, all) = stem.rsplit_once("-of-")?;
        let (before, number) = before.rsplit_once('-')?;
        Some(before.ends_with("model") && is_number(number) && is_number(all))
    };
    stem.ends_with("model") || stem.ends_with("consolidated") || part() == Some(true)
}

/// Compares the length that a safetensors header promises with the length of the file.
fn check_safetensors(path: &Path) -> Result<(), String> {
    let broken = |what: &str| format!("{} is not a safetensors file: {what}", path.display());
    let mut file = File::open(path).map_err(|cause| says(path, &cause))?;
    let length = file.metadata().map_err(|cause| says(path, &cause))?.len();
    let mut size = [0_u8; 8];
    file.read_exact(&mut size).map_err(|_| broken("it is shorter than its header"))?;
    let header_length = u64::from_le_bytes(size);
    // The format's own bound on its header.
    if header_length > 100_000_000 {
        return Err(broken("its header is too long"));
    }
    let mut header = Vec::new();
    file.take(header_length).read_to_end(&mut header).map_err(|cause| says(path, &cause))?;
    let header: Value = serde_json::from_slice(&header).map_err(|_| broken("its header is not JSON"))?;
    let ends = header
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(_, tensor)| tensor["data_offsets"].get(1).and_then(Value::as_u64));
    let promised = 8 + header_length + ends.max().unwrap_or(0);
    if length < promised {
        return Err(format!("{} is incomplete: {length} of {promised} bytes", path.display()));
    }
    Ok(())
}

fn json(path: &Path) -> Result<Value, String> {
    let file = std::fs::read(path).map_err(|cause| says(path, &cause))?;
    serde_json::from_slice(&file).map_err(|cause| format!("{} is not JSON: {cause}", path.display()))
}

fn text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|cause| says(path, &cause))
}

/// A file error in one sentence.
pub(crate) fn says(path: &Path, cause: &std::io::Error) -> String {
    match cause.kind() {
        std::io::ErrorKind::NotFound => format!("{} is missing", path.display()),
        _ => format!("{} cannot be read: {cause}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A folder that passes, to be damaged by each test.
    fn whole() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, value: Value| {
            std::fs::write(folder.path().join(name), value.to_string()).unwrap();
        };
        write("config.json", json!({"architectures": ["X"], "max_position_embeddings": 64}));
        write("tokenizer.json", json!({}));
        write("tokenizer_config.json", json!({"chat_template": "{{ messages }}"}));
        let header = json!({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).to_string();
        let mut weights = (header.len() as u64).to_le_bytes().to_vec();
        weights.extend_from_slice(header.as_bytes());
        weights.extend_from_slice(&[0; 8]);
        std::fs::write(folder.path().join("model.safetensors"), weights).unwrap();
        folder
    }

    fn refusal(folder: &tempfile::TempDir) -> String {
        Folder::open(folder.path(), None, None).unwrap_err()
    }

    #[test]
    fn a_whole_folder_passes_and_tells_its_positions() {
        let folder = whole();
        let open = Folder::open(folder.path(), None, None).unwrap();
        assert_eq!((open.positions, open.template.as_str()), (Some(64), "{{ messages }}"));
    }

    #[test]
    fn the_size_of_a_head_is_read_or_computed() {
        assert_eq!(head_size(&json!({"head_dim": 256, "hidden_size": 3072, "num_attention_heads": 16})), Some(256));
        assert_eq!(head_size(&json!({"hidden_size": 4096, "num_attention_heads": 32})), Some(128));
        assert_eq!(head_size(&json!({"text_config": {"head_dim": 64}})), Some(64));
        assert_eq!(head_size(&json!({"hidden_size": 4096, "num_attention_heads": 0})), None);
        assert_eq!(head_size(&json!({"kv_lora_rank": 512, "hidden_size": 4096, "num_attention_heads": 32})), None);
    }

    #[test]
    fn each_missing_file_is_named() {
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
            let folder = whole();
            std::fs::remove_file(folder.path().join(name)).unwrap();
            let message = refusal(&folder);
            assert!(message.ends_with(&format!("{name} is missing")), "{message}");
        }
        let folder = whole();
        std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
        assert!(refusal(&folder).ends_with("has no *.safetensors file"));
    }

    #[test]
    fn a_folder_for_embeddings_needs_no_template_and_all_its_modules() {
        let folder = whole();
        std::fs::write(folder.path().join("tokenizer_config.json"), "{}").unwrap();
        let modules = json!([
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ]);
        std::fs::write(folder.path().join("modules.json"), modules.to_string()).unwrap();
        assert!(refusal(&folder).ends_with("1_Pooling/config.json is missing"), "{}", refusal(&folder));
        std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
        std::fs::write(folder.path().join("1_Pooling/config.json"), "{}").unwrap();
        assert!(refusal(&folder).ends_with("config.json has no 'vocab_size'"), "{}", refusal(&folder));
        let config = json!({"architectures": ["X"], "vocab_size": 9}).to_string();
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let open = Folder::open(folder.path(), None, None).unwrap();
        assert_eq!((open.embeds, open.vocabulary), (true, Some(9)));
    }

    #[test]
    fn a_quantised_file_stands_in_for_the_weights() {
        let folder = whole();
        std::fs::write(folder.path().join("q8.uqff"), b"x").unwrap();
        let open = |file: &str| Folder::open(folder.path(), None, Some(file)).map(|open| open.positions);
        assert!(open("q8.uqff").unwrap_err().ends_with("residual.safetensors is missing"));
        std::fs::rename(folder.path().join("model.safetensors"), folder.path().join("residual.safetensors")).unwrap();
        assert_eq!(open("q8.uqff"), Ok(Some(64)));
        assert!(open("q4.uqff").unwrap_err().ends_with("q4.uqff is missing"));
        assert!(open("../q8.uqff").unwrap_err().contains("in the model's folder"));
    }

    #[test]
    fn weights_cut_short_are_refused_with_both_lengths() {
        let folder = whole();
        let path = folder.path().join("model.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let expected = format!("is incomplete: {} of {} bytes", bytes.len() - 1, bytes.len());
        assert!(refusal(&folder).ends_with(&expected), "{}", refusal(&folder));
        std::fs::write(&path, &bytes[..20]).unwrap();
        assert!(refusal(&folder).contains("header is not JSON"));
    }

    #[test]
    fn a_missing_shard_is_named() {
        let folder = whole();
        let index = json!({"weight_map": {"w": "model.safetensors", "v": "model-2.safetensors"}});
        let path = folder.path().join("model.safetensors.index.json");
        std::fs::write(path, index.to_string()).unwrap();
        assert!(refusal(&folder).ends_with("model-2.safetensors is missing"));
    }

    #[test]
    fn weights_under_a_name_that_the_engine_passes_over_are_refused() {
        let folder = whole();
        let at = |name: &str| folder.path().join(name);
        std::fs::rename(at("model.safetensors"), at("model-00001.safetensors")).unwrap();
        assert!(refusal(&folder).contains("model-N-of-M"), "{}", refusal(&folder));
        let index = json!({"weight_map": {"w": "model-00001.safetensors"}});
        std::fs::write(at("model.safetensors.index.json"), index.to_string()).unwrap();
        assert!(refusal(&folder).contains("model-00001.safetensors: the engine does not read"));
        for read in ["model-00001-of-00002.safetensors", "consolidated.safetensors", "pytorch_model.safetensors"] {
            assert!(is_read(read), "{read}");
        }
        for passed_over in ["model-1.safetensors", "model-a-of-b.safetensors", "weights.safetensors", "model.bin"] {
            assert!(!is_read(passed_over), "{passed_over}");
        }
    }

    #[test]
    fn no_template_and_a_template_that_needs_the_network_are_refused() {
        let folder = whole();
        let path = folder.path().join("tokenizer_config.json");
        std::fs::write(&path, "{}").unwrap();
        assert!(refusal(&folder).contains("no chat template"));
        let jinja = folder.path().join("chat_template.jinja");
        std::fs::write(jinja, "<|start|>assistant<|channel|>final").unwrap();
        assert!(refusal(&folder).contains("stays offline"));
    }
}
