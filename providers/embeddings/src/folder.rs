//! What a folder says its model is: shape, pooling, limits, as sentence-transformers and transformers wrote it down.
//!
//! Everything but the weights and the tokenizer is read here, when the server starts. Sources: the module files of
//! sentence-transformers (`modules.json`, `1_Pooling/config.json`, `sentence_bert_config.json`,
//! `config_sentence_transformers.json`) and transformers' `config.json`.
//! Invariant: what a file asks for and the code cannot do is refused by name, never left out.

use std::path::{Path, PathBuf};

use frontdesk_api::{Error, Result};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::config::LEAST;

/// A model on disk.
#[derive(Debug, Clone)]
pub struct Folder {
    pub path: PathBuf,
    pub architecture: Architecture,
    pub task: Task,
    /// The most tokens of a text, special ones included.
    pub max_tokens: usize,
    /// Whether texts are made small letters before the tokenizer sees them.
    pub lower_case: bool,
    /// What is put before each text.
    pub prompt: String,
}

/// What a model makes of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Vectors, of length 1 with `normalise`.
    Embed { pooling: Pooling, normalise: bool },
    /// A score for a query and a document.
    Score { activation: Activation },
}

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    Mean,
    /// That of the first token.
    Cls,
    Max,
}

/// What is made of a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// 0 to 1.
    Sigmoid,
    None,
}

/// Models that differ in where they begin to count and in their heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Bert,
    /// RoBERTa and XLM-RoBERTa: positions are counted from behind the padding's id.
    Roberta,
}

/// A transformer's shape, by the names of transformers.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    pub family: Family,
    /// Numbers a token.
    pub hidden_size: usize,
    pub layers: usize,
    pub heads: usize,
    pub intermediate_size: usize,
    /// `gelu`, `gelu_new` or `relu`.
    pub activation: String,
    pub layer_norm_eps: f64,
    pub positions: usize,
    pub vocabulary: usize,
    pub types: usize,
    pub pad_id: u32,
}

#[derive(Deserialize)]
struct Transformer {
    model_type: String,
    #[serde(default)]
    architectures: Vec<String>,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    #[serde(default = "tiny")]
    layer_norm_eps: f64,
    max_position_embeddings: usize,
    vocab_size: usize,
    #[serde(default = "two")]
    type_vocab_size: usize,
    #[serde(default)]
    pad_token_id: Option<u32>,
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default)]
    id2label: Option<Map<String, Value>>,
    /// What a cross-encoder does with its score, in the words of sentence-transformers before 6 and before 4.
    #[serde(default)]
    sentence_transformers: Option<CrossEncoder>,
    #[serde(default)]
    sbert_ce_default_activation_function: Option<String>,
}

#[derive(Deserialize)]
struct CrossEncoder {
    #[serde(default)]
    activation_fn: Option<String>,
}

fn tiny() -> f64 {
    1e-12
}
fn two() -> usize {
    2
}

#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Default, Deserialize)]
struct Sentence {
    #[serde(default)]
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

/// `config_sentence_transformers.json`.
#[derive(Default, Deserialize)]
struct Whole {
    #[serde(default)]
    prompts: Map<String, Value>,
    #[serde(default)]
    default_prompt_name: Option<String>,
    /// Of a cross-encoder, since sentence-transformers 6.
    #[serde(default)]
    activation_fn: Option<String>,
}

#[derive(Default, Deserialize)]
struct Tokenizing {
    /// A float where nobody set it: 1e30.
    #[serde(default)]
    model_max_length: Option<f64>,
}

const WHOLE: &str = "config_sentence_transformers.json";

impl Folder {
    /// `most`: the operator's own limit of tokens.
    ///
    /// # Errors
    /// `Invalid` naming the file and what is wrong with it.
    pub fn read(path: &Path, most: Option<usize>) -> Result<Self> {
        for name in ["model.safetensors", "tokenizer.json"] {
            if !path.join(name).is_file() {
                return Err(wrong(path, name, "there is no such file"));
            }
        }
        let transformer: Transformer =
            file(path, "config.json")?.ok_or_else(|| wrong(path, "config.json", "there is no such file"))?;
        let whole = file::<Whole>(path, WHOLE)?.unwrap_or_default();
        let (task, sentence) = task(path, &transformer, &whole)?;
        let sentence = match sentence {
            Some(module) => file::<Sentence>(&path.join(module), "sentence_bert_config.json")?.unwrap_or_default(),
            None => Sentence::default(),
        };
        let prompt = match &whole.default_prompt_name {
            None => String::new(),
            Some(_) if matches!(task, Task::Score { .. }) => {
                return Err(wrong(path, WHOLE, "a prompt for a cross-encoder is not supported"));
            }
            Some(name) => {
                let prompt = whole.prompts.get(name).and_then(Value::as_str).map(str::to_owned);
                prompt.ok_or_else(|| wrong(path, WHOLE, &format!("there is no prompt '{name}' in prompts")))?
            }
        };
        let architecture = architecture(path, transformer)?;
        let tokenizing = file::<Tokenizing>(path, "tokenizer_config.json")?.unwrap_or_default();
        let max_tokens = limit(path, &architecture, &sentence, &tokenizing, most)?;
        Ok(Self { path: path.to_owned(), architecture, task, max_tokens, lower_case: sentence.do_lower_case, prompt })
    }
}

/// What the model is for, and in which folder below the tokens' module is.
fn task(path: &Path, transformer: &Transformer, whole: &Whole) -> Result<(Task, Option<String>)> {
    if transformer.architectures.iter().any(|name| name.ends_with("ForSequenceClassification")) {
        let labels = transformer.id2label.as_ref().map_or(2, Map::len);
        if labels != 1 {
            let what = format!("a model with {labels} labels is a classifier: one that ranks has one label");
            return Err(wrong(path, "config.json", &what));
        }
        let before = transformer.sentence_transformers.as_ref().and_then(|own| own.activation_fn.as_deref());
        let before = before.or(transformer.sbert_ce_default_activation_function.as_deref());
        let activation = match whole.activation_fn.as_deref().or(before) {
            None => Activation::Sigmoid,
            Some(name) if name.ends_with("Sigmoid") => Activation::Sigmoid,
            Some(name) if name.ends_with("Identity") => Activation::None,
            Some(name) => return Err(wrong(path, "config.json", &format!("the activation '{name}' is not supported"))),
        };
        return Ok((Task::Score { activation }, None));
    }
    let Some(modules) = file::<Vec<Module>>(path, "modules.json")? else {
        // What sentence-transformers makes of a bare transformer.
        return Ok((Task::Embed { pooling: Pooling::Mean, normalise: false }, Some(String::new())));
    };
    let (mut sentence, mut found, mut normalise) = (None, None, false);
    for module in modules {
        let kind = module.kind.rsplit('.').next().unwrap_or_default();
        match kind {
            "Transformer" if sentence.is_none() => sentence = Some(module.path),
            "Pooling" if found.is_none() && !normalise => found = Some(pooling(&path.join(module.path))?),
            "Normalize" => normalise = true,
            _ => {
                let what = format!("a module of type '{}' is not supported in this place", module.kind);
                return Err(wrong(path, "modules.json", &what));
            }
        }
    }
    let pooling = found.ok_or_else(|| wrong(path, "modules.json", "there is no module of type Pooling"))?;
    Ok((Task::Embed { pooling, normalise }, sentence))
}

/// One way of pooling: by its own member since sentence-transformers 5, before that by a flag for each.
fn pooling(path: &Path) -> Result<Pooling> {
    const FILE: &str = "config.json";
    let config: Map<String, Value> = file(path, FILE)?.ok_or_else(|| wrong(path, FILE, "there is no such file"))?;
    if config.get("include_prompt") == Some(&Value::Bool(false)) {
        return Err(wrong(path, FILE, "include_prompt: false is not supported"));
    }
    let named = config.get("pooling_mode").and_then(Value::as_str);
    let flags = config.iter().filter(|(_, value)| **value == Value::Bool(true));
    let flags: Vec<&str> = flags.filter_map(|(name, _)| name.strip_prefix("pooling_mode_")).collect();
    match (named, flags.as_slice()) {
        (Some("mean"), _) | (None, ["mean_tokens"]) => Ok(Pooling::Mean),
        (Some("cls"), _) | (None, ["cls_token"]) => Ok(Pooling::Cls),
        (Some("max"), _) | (None, ["max_tokens"]) => Ok(Pooling::Max),
        (Some(name), _) => {
            Err(wrong(path, FILE, &format!("the pooling '{name}' is not supported: mean, cls and max are")))
        }
        (None, flags) => {
            let what = format!("the pooling [{}] is not supported: mean, cls and max are", flags.join(", "));
            Err(wrong(path, FILE, &what))
        }
    }
}

fn architecture(path: &Path, of: Transformer) -> Result<Architecture> {
    let refuse = |what: String| Err(wrong(path, "config.json", &what));
    let family = match of.model_type.as_str() {
        "bert" => Family::Bert,
        "roberta" | "xlm-roberta" | "camembert" => Family::Roberta,
        other => {
            return refuse(format!(
                "the model type '{other}' is not supported: bert, roberta, xlm-roberta and camembert are"
            ));
        }
    };
    if let Some(kind) = of.position_embedding_type.filter(|kind| kind != "absolute") {
        return refuse(format!("position_embedding_type '{kind}' is not supported: absolute is"));
    }
    if !matches!(of.hidden_act.as_str(), "gelu" | "gelu_new" | "relu") {
        return refuse(format!("hidden_act '{}' is not supported: gelu, gelu_new and relu are", of.hidden_act));
    }
    if of.num_attention_heads == 0 || !of.hidden_size.is_multiple_of(of.num_attention_heads) {
        return refuse(format!(
            "hidden_size {} is no multiple of num_attention_heads {}",
            of.hidden_size, of.num_attention_heads
        ));
    }
    Ok(Architecture {
        family,
        hidden_size: of.hidden_size,
        layers: of.num_hidden_layers,
        heads: of.num_attention_heads,
        intermediate_size: of.intermediate_size,
        activation: of.hidden_act,
        layer_norm_eps: of.layer_norm_eps,
        positions: of.max_position_embeddings,
        vocabulary: of.vocab_size,
        types: of.type_vocab_size,
        // What transformers takes where nothing is said; positions of RoBERTa's family begin behind it.
        pad_id: of.pad_token_id.unwrap_or(if family == Family::Roberta { 1 } else { 0 }),
    })
}

impl Architecture {
    /// The first position of a text.
    #[must_use]
    pub fn first_position(&self) -> usize {
        match self.family {
            Family::Bert => 0,
            Family::Roberta => usize::try_from(self.pad_id).unwrap_or(usize::MAX).saturating_add(1),
        }
    }
}

fn limit(
    path: &Path,
    architecture: &Architecture,
    sentence: &Sentence,
    tokenizing: &Tokenizing,
    most: Option<usize>,
) -> Result<usize> {
    let has = architecture.positions.saturating_sub(architecture.first_position());
    // Beyond what any model has it means that nobody set it.
    let said = tokenizing.model_max_length.filter(|length| *length >= 1.0 && *length < 1e9);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within 1 and 1e9
    let said = said.map(|length| length as usize);
    let own = sentence.max_seq_length.or(said).unwrap_or(has).min(has);
    match most {
        Some(most) if most > has => {
            let what = format!("max_tokens is {most}, and the model has {has} positions");
            Err(wrong(path, "config.json", &what).with_param("max_tokens"))
        }
        Some(most) => Ok(most),
        None if own < LEAST => Err(wrong(path, "config.json", &format!("a model of {own} tokens reads nothing"))),
        None => Ok(own),
    }
}

/// A JSON file; None where there is none.
fn file<T: DeserializeOwned>(path: &Path, name: &str) -> Result<Option<T>> {
    let text = match std::fs::read(path.join(name)) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(wrong(path, name, &e.to_string())),
    };
    serde_json::from_slice(&text).map(Some).map_err(|e| wrong(path, name, &e.to_string()))
}

fn wrong(path: &Path, name: &str, what: &str) -> Error {
    Error::invalid("path", format!("{}: {what}", path.join(name).display()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A folder of these files, beside those that are only there.
    fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["model.safetensors", "tokenizer.json"] {
            std::fs::write(dir.path().join(name), "").expect("written");
        }
        for (name, content) in files {
            let file = dir.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            std::fs::write(file, content.to_string()).expect("written");
        }
        dir
    }

    fn config(more: Value) -> Value {
        let mut config = json!({
            "model_type": "bert", "architectures": ["BertModel"], "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 64, "hidden_act": "gelu", "max_position_embeddings": 64, "vocab_size": 100, "pad_token_id": 0,
        });
        for (key, value) in more.as_object().expect("members") {
            config[key] = value.clone();
        }
        config
    }

    fn modules(kinds: &[&str]) -> Value {
        let of = |(i, kind): (usize, &&str)| {
            let path = if *kind == "Transformer" { String::new() } else { format!("{i}_{kind}") };
            json!({ "idx": i, "name": i.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}") })
        };
        kinds.iter().enumerate().map(of).collect()
    }

    const EMBED: &[&str] = &["Transformer", "Pooling", "Normalize"];

    #[test]
    fn the_module_files_say_how_vectors_are_made() {
        let old = json!({ "word_embedding_dimension": 32, "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false });
        let new = json!({ "embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": true });
        for (pooling, kinds, task) in [
            (old, EMBED, Task::Embed { pooling: Pooling::Cls, normalise: true }),
            (new, &EMBED[..2], Task::Embed { pooling: Pooling::Mean, normalise: false }),
        ] {
            let dir = folder(&[
                ("config.json", config(json!({}))),
                ("modules.json", modules(kinds)),
                ("1_Pooling/config.json", pooling),
                ("sentence_bert_config.json", json!({ "max_seq_length": 16, "do_lower_case": true })),
                (
                    "config_sentence_transformers.json",
                    json!({ "prompts": { "q": "query: " }, "default_prompt_name": "q" }),
                ),
                ("tokenizer_config.json", json!({ "model_max_length": 48 })),
            ]);
            let read = Folder::read(dir.path(), None).expect("a model");
            assert_eq!(
                (read.task, read.max_tokens, read.lower_case, read.prompt.as_str()),
                (task, 16, true, "query: ")
            );
            assert_eq!(Folder::read(dir.path(), Some(40)).expect("a model").max_tokens, 40);
            let refused = Folder::read(dir.path(), Some(65)).expect_err("too long");
            assert_eq!(refused.param.as_deref(), Some("max_tokens"));
        }
    }

    #[test]
    fn a_bare_transformer_is_pooled_by_its_mean() {
        for (more, limit) in [(json!({ "model_max_length": 48 }), 48), (json!({ "model_max_length": 1e30 }), 64)] {
            let dir = folder(&[("config.json", config(json!({}))), ("tokenizer_config.json", more)]);
            let read = Folder::read(dir.path(), None).expect("a model");
            assert_eq!(read.task, Task::Embed { pooling: Pooling::Mean, normalise: false });
            assert_eq!((read.max_tokens, read.prompt.as_str()), (limit, ""));
        }
        let roberta = config(json!({ "model_type": "xlm-roberta", "pad_token_id": 1, "type_vocab_size": 1 }));
        let read = Folder::read(folder(&[("config.json", roberta)]).path(), None).expect("a model");
        assert_eq!((read.architecture.family, read.max_tokens), (Family::Roberta, 62));
        let silent = config(json!({ "model_type": "roberta", "pad_token_id": null, "type_vocab_size": 1 }));
        let read = Folder::read(folder(&[("config.json", silent)]).path(), None).expect("a model");
        assert_eq!(read.architecture.pad_id, 1);
    }

    #[test]
    fn a_cross_encoder_says_what_becomes_of_its_score() {
        let head = |more: Value| {
            let mut head =
                json!({ "architectures": ["BertForSequenceClassification"], "id2label": { "0": "LABEL_0" } });
            head.as_object_mut().expect("members").extend(more.as_object().expect("members").clone());
            folder(&[("config.json", config(head))])
        };
        let identity = "torch.nn.modules.linear.Identity";
        for (more, activation) in [
            (json!({}), Activation::Sigmoid),
            (json!({ "sentence_transformers": { "activation_fn": identity } }), Activation::None),
            (json!({ "sbert_ce_default_activation_function": identity }), Activation::None),
        ] {
            let read = Folder::read(head(more).path(), None).expect("a model");
            assert_eq!(read.task, Task::Score { activation });
        }
        let refused = |more: Value| Folder::read(head(more).path(), None).expect_err("refused").message;
        assert!(refused(json!({ "id2label": { "0": "a", "1": "b" } })).contains("2 labels"));
        assert!(refused(json!({ "sentence_transformers": { "activation_fn": "Tanh" } })).contains("'Tanh'"));
    }

    #[test]
    fn what_is_not_supported_is_refused_by_file_and_name() {
        let good = json!({ "pooling_mode": "mean" });
        for (files, file, word) in [
            (vec![], "config.json", "no such file"),
            (vec![("config.json", json!([]))], "config.json", "invalid"),
            (vec![("config.json", config(json!({ "model_type": "mpnet" })))], "config.json", "'mpnet'"),
            (vec![("config.json", config(json!({ "hidden_act": "silu" })))], "config.json", "'silu'"),
            (
                vec![("config.json", config(json!({ "position_embedding_type": "relative_key" })))],
                "config.json",
                "relative",
            ),
            (vec![("config.json", config(json!({ "num_attention_heads": 5 })))], "config.json", "no multiple"),
            (
                vec![
                    ("modules.json", modules(&["Transformer", "Pooling", "Dense"])),
                    ("1_Pooling/config.json", good.clone()),
                ],
                "modules.json",
                "Dense",
            ),
            (vec![("modules.json", modules(&["Transformer"]))], "modules.json", "Pooling"),
            (
                vec![
                    ("modules.json", modules(EMBED)),
                    ("1_Pooling/config.json", json!({ "pooling_mode": "lasttoken" })),
                ],
                "config.json",
                "lasttoken",
            ),
            (
                vec![
                    ("modules.json", modules(EMBED)),
                    (
                        "1_Pooling/config.json",
                        json!({ "pooling_mode_cls_token": true, "pooling_mode_max_tokens": true }),
                    ),
                ],
                "config.json",
                "cls_token, max_tokens",
            ),
            (
                vec![("config_sentence_transformers.json", json!({ "default_prompt_name": "q" }))],
                "config_sentence_transformers.json",
                "'q'",
            ),
        ] {
            let dir = folder(&[("config.json", config(json!({})))]);
            if files.is_empty() {
                std::fs::remove_file(dir.path().join("config.json")).expect("removed");
            }
            for (name, content) in &files {
                let to = dir.path().join(name);
                std::fs::create_dir_all(to.parent().expect("a folder")).expect("made");
                std::fs::write(to, content.to_string()).expect("written");
            }
            let said = Folder::read(dir.path(), None).expect_err(word);
            assert!(said.message.contains(file) && said.message.contains(word), "{}", said.message);
            assert_eq!(said.param.as_deref(), Some("path"));
        }
        let dir = folder(&[("config.json", config(json!({})))]);
        std::fs::remove_file(dir.path().join("tokenizer.json")).expect("removed");
        assert!(Folder::read(dir.path(), None).expect_err("incomplete").message.contains("tokenizer.json"));
    }
}
