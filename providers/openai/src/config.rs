//! What an operator writes under `config:` of a provider of type `openai`.

use std::{collections::BTreeMap, fmt::Formatter, time::Duration};

use frontdesk_api::{Error, Result, inference::ModelKind};
use frontdesk_http::{Limits, setting};
use http::{HeaderMap, Uri, header};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;

/// Unknown keys are refused.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the API begins, `/v1` included: `https://api.openai.com/v1`, `http://127.0.0.1:11434/v1`.
    pub base_url: String,
    /// Sent as `Authorization: Bearer`; absent or empty for servers without keys.
    #[serde(default)]
    pub api_key: Option<String>,
    /// Further headers on every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Models to offer; absent: whatever the server lists.
    #[serde(default)]
    pub models: Option<Vec<Offer>>,
    /// Whether streams may be asked to end with usage (`stream_options`); some old servers refuse the member.
    #[serde(default = "yes")]
    pub stream_usage: bool,
    /// Whether the server has text completions (`/completions`); without them they are asked for as chats.
    #[serde(default = "yes")]
    pub completions: bool,
    /// How the server puts documents in order, where it has models that do.
    #[serde(default)]
    pub rerank: Rerank,
    /// Seconds to wait for the head of an answer.
    #[serde(default = "setting::ten_minutes")]
    pub timeout_s: u64,
    /// Longest silence inside an answer, in seconds.
    #[serde(default = "setting::two_minutes")]
    pub idle_timeout_s: u64,
    /// Largest single event of a stream, in KiB.
    #[serde(default = "setting::four_mib")]
    pub max_event_kb: usize,
    /// Largest whole answer, in KiB.
    #[serde(default = "setting::sixty_four_mib")]
    pub max_answer_kb: usize,
}

fn yes() -> bool {
    true
}

/// A model to offer: its name, or `{ id, kind }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The server's own name.
    pub id: String,
    pub kind: ModelKind,
}

impl<'de> Deserialize<'de> for Offer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Described {
            id: String,
            #[serde(default)]
            kind: ModelKind,
        }
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = Offer;

            fn expecting(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
                f.write_str("a model's name, or { id, kind }")
            }

            fn visit_str<E>(self, id: &str) -> Result<Offer, E> {
                Ok(Offer { id: id.to_owned(), kind: ModelKind::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Offer, A::Error> {
                let Described { id, kind } = Described::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Offer { id, kind })
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

/// Where documents are put in order, and in whose shape.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rerank {
    pub shape: Shape,
    /// Behind `base_url`, or from the root of its host where it begins with a slash. Absent: `rerank`, and `/rerank`
    /// for text-embeddings-inference.
    pub path: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// What Cohere, Jina and vLLM share.
    #[default]
    Cohere,
    /// Text-embeddings-inference's own.
    Tei,
}

impl Rerank {
    fn path(&self) -> &str {
        let usual = match self.shape {
            Shape::Cohere => "rerank",
            Shape::Tei => "/rerank",
        };
        self.path.as_deref().unwrap_or(usual)
    }
}

impl Config {
    /// # Errors
    /// `Invalid` saying what is wrong; `param` is the key where one can be named.
    pub fn read(config: Value) -> Result<Self> {
        serde_json::from_value(config).map_err(|e| Error::new(frontdesk_api::Kind::Invalid, e.to_string()))
    }

    /// A configuration with defaults for a server at `base_url`.
    #[must_use]
    pub fn at(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            api_key: None,
            headers: BTreeMap::new(),
            models: None,
            stream_usage: true,
            completions: true,
            rerank: Rerank::default(),
            timeout_s: setting::ten_minutes(),
            idle_timeout_s: setting::two_minutes(),
            max_event_kb: setting::four_mib(),
            max_answer_kb: setting::sixty_four_mib(),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            head: Duration::from_secs(self.timeout_s),
            idle: Duration::from_secs(self.idle_timeout_s),
            ..Limits::default()
        }
    }

    pub(crate) fn max_event_bytes(&self) -> usize {
        self.max_event_kb * 1024
    }

    pub(crate) fn max_answer_bytes(&self) -> usize {
        self.max_answer_kb * 1024
    }

    pub(crate) fn uri(&self, path: &str) -> Result<Uri> {
        setting::uri(&self.base_url, path)
    }

    pub(crate) fn rerank_uri(&self) -> Result<Uri> {
        let Some(path) = self.rerank.path().strip_prefix('/') else { return self.uri(self.rerank.path()) };
        let base = setting::uri(&self.base_url, "")?;
        let root = format!("{}://{}", base.scheme_str().unwrap_or("http"), base.authority().map_or("", |a| a.as_str()));
        setting::uri(&root, path)
    }

    pub(crate) fn headers(&self) -> Result<HeaderMap> {
        let mut out = HeaderMap::new();
        if let Some(key) = self.api_key.as_deref().filter(|k| !k.is_empty()) {
            out.insert(header::AUTHORIZATION, setting::secret("api_key", &format!("Bearer {key}"))?);
        }
        setting::add_headers(&mut out, &self.headers)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unknown_key_is_named() {
        let error = Config::read(json!({"base_url": "http://x/v1", "api_kee": "s"})).err().expect("refused");
        assert!(error.message.contains("api_kee") && error.message.contains("api_key"), "{}", error.message);
    }

    #[test]
    fn a_model_is_a_name_or_says_its_kind() {
        let read = |models: Value| Config::read(json!({ "base_url": "http://x/v1", "models": models }));
        let offers =
            read(json!(["a", { "id": "b", "kind": "embedding" }])).ok().and_then(|c| c.models).expect("models");
        let offer = |id: &str, kind| Offer { id: id.into(), kind };
        assert_eq!(offers, [offer("a", ModelKind::Llm), offer("b", ModelKind::Embedding)]);
        for (odd, says) in [(json!([{ "id": "b", "sort": "x" }]), "sort"), (json!([7]), "a model's name")] {
            let error = read(odd).err().expect("refused");
            assert!(error.message.contains(says), "{}", error.message);
        }
    }

    #[test]
    fn the_path_of_rerank_is_behind_the_base_or_from_the_root() {
        for (rerank, want) in [
            (json!({}), "http://h:1/v1/rerank"),
            (json!({ "shape": "tei" }), "http://h:1/rerank"),
            (json!({ "path": "score" }), "http://h:1/v1/score"),
            (json!({ "path": "/v2/rerank" }), "http://h:1/v2/rerank"),
        ] {
            let config = Config::read(json!({ "base_url": "http://h:1/v1", "rerank": rerank })).expect("good");
            assert_eq!(config.rerank_uri().expect("a URL").to_string(), want);
        }
    }
}
