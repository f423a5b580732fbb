//! What an operator writes under `config:` of a provider of type `openai`.

use std::{collections::BTreeMap, time::Duration};

use frontdesk_api::{Error, Result};
use frontdesk_http::{Limits, setting};
use http::{HeaderMap, Uri, header};
use serde::Deserialize;
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
    /// Model names to offer; absent: whatever the server lists.
    #[serde(default)]
    pub models: Option<Vec<String>>,
    /// Whether streams may be asked to end with usage (`stream_options`); some old servers refuse the member.
    #[serde(default = "yes")]
    pub stream_usage: bool,
    /// Whether the server has text completions (`/completions`); without them they are asked for as chats.
    #[serde(default = "yes")]
    pub completions: bool,
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
}
