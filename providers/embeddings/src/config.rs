//! What an operator writes under `config:` of a provider of type `embeddings`.

use std::path::PathBuf;

use frontdesk_api::{Error, Kind, Result};
use serde::Deserialize;
use serde_json::Value;

/// Fewer tokens say nothing: up to four of them begin, part and end texts.
pub(crate) const LEAST: usize = 8;

/// Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// At least one.
    pub models: Vec<ModelConfig>,
    /// Threads that compute, for all models together. None: half of the cores, at least one.
    #[serde(default)]
    pub threads: Option<usize>,
    /// Requests at work or waiting; further ones are told to come back.
    #[serde(default = "sixty_four")]
    pub max_requests: usize,
}

/// One model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The name behind the provider's id: `vec/<id>`.
    pub id: String,
    /// A folder with `model.safetensors`, `config.json` and `tokenizer.json`, as Hugging Face has them.
    pub path: PathBuf,
    /// The most tokens of a text that are read, no more than the model was made for. None: as the model's files say.
    #[serde(default)]
    pub max_tokens: Option<usize>,
    /// Whether a longer text is cut there, or is an error. A request's own `truncate` goes first.
    #[serde(default = "yes")]
    pub truncate: bool,
    /// Whether the model was trained so that the first numbers of its vectors are vectors too (Matryoshka), so that a
    /// request's `dimensions` may be smaller than its own.
    #[serde(default)]
    pub matryoshka: bool,
    /// A note for people, shown in model lists.
    #[serde(default)]
    pub description: Option<String>,
}

fn sixty_four() -> usize {
    64
}
fn yes() -> bool {
    true
}

impl Config {
    /// # Errors
    /// `Invalid` saying what is wrong; `param` is the key where one can be named.
    pub fn read(config: Value) -> Result<Self> {
        let config: Self =
            serde_json::from_value(config).map_err(|cause| Error::new(Kind::Invalid, cause.to_string()))?;
        if config.models.is_empty() {
            return Err(Error::invalid("models", "name at least one model: { id, path }"));
        }
        for (i, model) in config.models.iter().enumerate() {
            if model.id.is_empty() {
                return Err(Error::invalid(format!("models[{i}].id"), "must not be empty"));
            }
            if config.models[..i].iter().any(|other| other.id == model.id) {
                let message = format!("the id '{}' stands twice", model.id);
                return Err(Error::invalid(format!("models[{i}].id"), message));
            }
            if model.max_tokens.is_some_and(|most| most < LEAST) {
                return Err(Error::invalid(format!("models[{i}].max_tokens"), format!("must be at least {LEAST}")));
            }
        }
        for (key, value) in [("threads", config.threads), ("max_requests", Some(config.max_requests))] {
            if value == Some(0) {
                return Err(Error::invalid(key, "must be at least 1, found 0"));
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_is_refused_by_its_key() {
        let model = json!({ "id": "m", "path": "/m" });
        for (config, param) in [
            (json!({ "models": [] }), Some("models")),
            (json!({ "models": [model, model] }), Some("models[1].id")),
            (json!({ "models": [{ "id": "", "path": "/m" }] }), Some("models[0].id")),
            (json!({ "models": [{ "id": "m", "path": "/m", "max_tokens": 2 }] }), Some("models[0].max_tokens")),
            (json!({ "models": [model], "threads": 0 }), Some("threads")),
            (json!({ "models": [model], "max_requests": 0 }), Some("max_requests")),
            (json!({ "models": [{ "id": "m", "path": "/m", "device": "cuda" }] }), None),
        ] {
            let refused = Config::read(config.clone()).expect_err("refused");
            assert_eq!((refused.kind, refused.param.as_deref()), (Kind::Invalid, param), "{config}");
        }
        let good = Config::read(json!({ "models": [model] })).expect("good");
        assert_eq!((good.max_requests, good.models[0].truncate, good.models[0].matryoshka), (64, true, false));
    }
}
