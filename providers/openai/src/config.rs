//! What an operator writes under `config:` of a provider of type `openai`.

use std::{collections::BTreeMap, time::Duration};

use frontdesk_api::{Error, Kind, Result};
use frontdesk_http::{ClientKey, ClientKeys, Limits, Offer, client_key, setting};
use http::{HeaderMap, HeaderName, Uri, header};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    place::with_version,
    preset::{self, Key, Preset},
};

/// A server and its ways: what the operator wrote, and of what they left open, what its preset says.
#[derive(Clone)]
pub struct Config {
    /// What is known of the server.
    pub preset: &'static Preset,
    /// Where the API begins, `/v1` included: `https://api.openai.com/v1`, `http://127.0.0.1:11434/v1`.
    pub base_url: String,
    /// Version of the API, where every address has one (Azure).
    pub api_version: Option<String>,
    /// Sent the preset's way; absent or empty for servers without keys.
    pub api_key: Option<String>,
    /// Whether a client may send a key of its own, and under which name.
    pub client_keys: ClientKeys,
    /// Further headers on every request.
    pub headers: BTreeMap<String, String>,
    /// Models to offer; absent: whatever the server lists.
    pub models: Option<Vec<Offer>>,
    /// Whether streams may be asked to end with usage (`stream_options`); some servers refuse the member.
    pub stream_usage: bool,
    /// Whether the server has text completions (`/completions`); without them they are asked for as chats.
    pub completions: bool,
    /// How the server puts documents in order, where it has models that do.
    pub rerank: Rerank,
    /// Seconds to wait for the head of an answer.
    pub timeout_s: u64,
    /// Longest silence inside an answer, in seconds.
    pub idle_timeout_s: u64,
    /// Largest single event of a stream, in KiB.
    pub max_event_kb: usize,
    /// Largest whole answer, in KiB.
    pub max_answer_kb: usize,
}

/// As it stands in the file. Unknown keys are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    preset: Option<String>,
    #[serde(default)]
    base_url: Option<String>,
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    api_key: Option<String>,
    #[serde(default)]
    client_keys: ClientKeys,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    models: Option<Vec<Offer>>,
    #[serde(default)]
    stream_usage: Option<bool>,
    #[serde(default)]
    completions: Option<bool>,
    #[serde(default)]
    rerank: Rerank,
    #[serde(default = "setting::ten_minutes")]
    timeout_s: u64,
    #[serde(default = "setting::two_minutes")]
    idle_timeout_s: u64,
    #[serde(default = "setting::four_mib")]
    max_event_kb: usize,
    #[serde(default = "setting::sixty_four_mib")]
    max_answer_kb: usize,
}

/// Where documents are put in order, and in whose shape.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rerank {
    /// None: what the preset says.
    pub shape: Option<Shape>,
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

impl Config {
    /// # Errors
    /// `Invalid` saying what is wrong; `param` is the key where one can be named.
    pub fn read(config: Value) -> Result<Self> {
        let written: Written = serde_json::from_value(config).map_err(|e| Error::new(Kind::Invalid, e.to_string()))?;
        let preset = written.preset()?;
        let base_url = written.base_url(preset)?;
        if let (Some(named), Some(variable)) = (&written.preset, preset.variable)
            && written.api_key.as_deref().unwrap_or_default().is_empty()
            && written.headers.is_empty()
            && !written.client_keys.allowed()
        {
            let message = format!("api_key is missing: preset '{named}' needs one, for example ${{env.{variable}}}");
            return Err(Error::invalid("api_key", message));
        }
        Ok(Self {
            api_version: written.api_version,
            api_key: written.api_key,
            client_keys: written.client_keys,
            headers: written.headers,
            // What a server without a list of its own offers is known by asking for it.
            models: written.models.or_else(|| (!preset.lists).then(Vec::new)),
            stream_usage: written.stream_usage.unwrap_or(preset.stream_usage),
            completions: written.completions.unwrap_or(preset.completions),
            rerank: written.rerank,
            timeout_s: written.timeout_s,
            idle_timeout_s: written.idle_timeout_s,
            max_event_kb: written.max_event_kb,
            max_answer_kb: written.max_answer_kb,
            preset,
            base_url,
        })
    }

    /// A configuration with defaults for a server at `base_url`.
    #[must_use]
    pub fn at(base_url: impl Into<String>) -> Self {
        Self {
            preset: &preset::PLAIN,
            base_url: base_url.into(),
            api_version: None,
            api_key: None,
            client_keys: ClientKeys::default(),
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

    /// Where `path` is that names no model.
    pub(crate) fn uri(&self, path: &str) -> Result<Uri> {
        setting::uri(&self.base_url, &with_version(path, self.api_version.as_deref())?)
    }

    pub(crate) fn rerank_shape(&self) -> Shape {
        self.rerank.shape.unwrap_or(self.preset.rerank)
    }

    pub(crate) fn rerank_uri(&self) -> Result<Uri> {
        let usual = match self.rerank_shape() {
            Shape::Cohere => "rerank",
            Shape::Tei => "/rerank",
        };
        let path = self.rerank.path.as_deref().unwrap_or(usual);
        let Some(path) = path.strip_prefix('/') else { return setting::uri(&self.base_url, path) };
        let base = setting::uri(&self.base_url, "")?;
        let root = format!("{}://{}", base.scheme_str().unwrap_or("http"), base.authority().map_or("", |a| a.as_str()));
        setting::uri(&root, path)
    }

    /// How a client's own key is sent.
    pub(crate) fn client_key(&self, id: &str) -> Option<ClientKey> {
        let (header, scheme) = match self.preset.key {
            Key::Bearer => client_key::bearer(),
            Key::Header(name) => (HeaderName::from_static(name), ""),
        };
        self.client_keys.of(id, header, scheme)
    }

    pub(crate) fn headers(&self) -> Result<HeaderMap> {
        let mut out = HeaderMap::new();
        if let Some(key) = self.api_key.as_deref().filter(|k| !k.is_empty()) {
            match self.preset.key {
                Key::Bearer => out.insert(header::AUTHORIZATION, setting::secret("api_key", &format!("Bearer {key}"))?),
                Key::Header(name) => out.insert(name, setting::secret("api_key", key)?),
            };
        }
        setting::add_headers(&mut out, &self.headers)?;
        Ok(out)
    }
}

impl Written {
    /// The row that is named, or that of the vendor at `base_url`.
    fn preset(&self) -> Result<&'static Preset> {
        match &self.preset {
            Some(name) => Preset::named(name),
            None => Ok(self.base_url.as_deref().map_or(&preset::PLAIN, Preset::at)),
        }
    }

    fn base_url(&self, preset: &Preset) -> Result<String> {
        if self.preset.is_none() {
            // What was written without a preset holds as it was written.
            let bare = Preset { host: None, path: "", ..preset::PLAIN };
            return bare.base(self.base_url.as_deref(), self.api_version.as_deref());
        }
        preset.base(self.base_url.as_deref(), self.api_version.as_deref())
    }
}

/// The address of the server that a `config:` block leads to; None where the block does not read.
#[must_use]
pub fn base_url(config: &Value) -> Option<String> {
    Config::read(config.clone()).ok().map(|config| config.base_url)
}

#[cfg(test)]
mod tests {
    use frontdesk_api::inference::ModelKind;
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
    fn a_preset_fills_in_what_is_not_written() {
        let config = Config::read(json!({ "preset": "groq", "api_key": "k" })).expect("good");
        assert_eq!((config.base_url.as_str(), config.completions), ("https://api.groq.com/openai/v1", false));
        let own = json!({ "preset": "groq", "api_key": "k", "base_url": "http://h:1/x", "completions": true });
        let config = Config::read(own).expect("good");
        assert_eq!((config.base_url.as_str(), config.completions), ("http://h:1/x", true));
        let config = Config::read(json!({ "preset": "tei", "base_url": "http://h:1" })).expect("good");
        assert_eq!(config.rerank_uri().expect("a URL").to_string(), "http://h:1/rerank");
        assert_eq!(config.models, Some(vec![]));
        // What is written without a preset holds as before, but for what is known of the vendor.
        let config = Config::read(json!({ "base_url": "https://api.openai.com/v1/" })).expect("good");
        assert_eq!((config.base_url.as_str(), config.preset.name), ("https://api.openai.com/v1", "openai"));
    }

    #[test]
    fn a_preset_that_needs_a_key_names_its_variable() {
        for config in [json!({ "preset": "groq" }), json!({ "preset": "groq", "api_key": "" })] {
            let error = Config::read(config).err().expect("refused");
            assert_eq!(error.param.as_deref(), Some("api_key"));
            assert!(error.message.contains("${env.GROQ_API_KEY}"), "{}", error.message);
        }
        assert!(Config::read(json!({ "preset": "ollama" })).is_ok(), "it has none");
    }

    #[test]
    fn a_key_is_sent_as_the_preset_says() {
        let headers = |config: Value| Config::read(config).ok().and_then(|c| c.headers().ok()).expect("headers");
        let azure = headers(json!({ "preset": "azure", "base_url": "https://r.openai.azure.com", "api_key": "k" }));
        assert!(azure["api-key"] == "k" && azure["api-key"].is_sensitive() && azure.len() == 1);
        assert_eq!(headers(json!({ "preset": "groq", "api_key": "k" }))["authorization"], "Bearer k");
    }

    #[test]
    fn the_path_of_rerank_is_behind_the_base_or_from_the_root() {
        for (rerank, want) in [
            (json!({}), "http://h:1/v1/rerank"),
            (json!({ "shape": "tei" }), "http://h:1/rerank"),
            (json!({ "shape": "cohere" }), "http://h:1/v1/rerank"),
            (json!({ "path": "score" }), "http://h:1/v1/score"),
            (json!({ "path": "/v2/rerank" }), "http://h:1/v2/rerank"),
        ] {
            let config = Config::read(json!({ "base_url": "http://h:1/v1", "rerank": rerank })).expect("good");
            assert_eq!(config.rerank_uri().expect("a URL").to_string(), want);
        }
    }
}
