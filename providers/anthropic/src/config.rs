//! What an operator writes under `config:` of a provider of type `anthropic`.

use std::{collections::BTreeMap, time::Duration};

use frontdesk_api::{Error, Kind, Result};
use frontdesk_http::{ClientKeys, Limits, setting};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde::Deserialize;
use serde_json::Value;

const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const BETA: HeaderName = HeaderName::from_static("anthropic-beta");

/// Unknown keys are refused.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the API begins, `/v1` included.
    #[serde(default = "anthropic")]
    pub base_url: String,
    /// Sent as `x-api-key`; absent or empty where `headers` carry the credentials.
    #[serde(default)]
    pub api_key: Option<String>,
    /// Whether a client may send a key of its own, and under which name.
    #[serde(default)]
    pub client_keys: ClientKeys,
    /// Version of the API, a date; sent as `anthropic-version` where a client of this API names none.
    #[serde(default = "version")]
    pub version: String,
    /// Features in beta that every request may use; sent as `anthropic-beta`, before those a client of this API names.
    #[serde(default)]
    pub beta: Vec<String>,
    /// Further headers on every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Model names to offer; absent: whatever the server lists.
    #[serde(default)]
    pub models: Option<Vec<String>>,
    /// Most tokens of an answer whose request sets no bound: the API demands one.
    #[serde(default = "eight_thousand")]
    pub max_tokens: u32,
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

fn anthropic() -> String {
    "https://api.anthropic.com/v1".into()
}

/// The newer one, 2026-10-21, answers in the same shapes and refuses `temperature`, `top_p` and `top_k`, which clients
/// of other dialects like to send (Anthropic's page "Migrating to API version 2026-10-21").
fn version() -> String {
    "2023-06-01".into()
}

/// About 6,000 English words: long for an answer, and every model since Claude 3.5 may write as much.
fn eight_thousand() -> u32 {
    8192
}

impl Config {
    /// # Errors
    /// `Invalid` saying what is wrong; `param` is the key where one can be named.
    pub fn read(config: Value) -> Result<Self> {
        // An entry without `config:` has nothing to say.
        let config = if config.is_null() { Value::Object(serde_json::Map::new()) } else { config };
        serde_json::from_value(config).map_err(|e| Error::new(Kind::Invalid, e.to_string()))
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            head: Duration::from_secs(self.timeout_s),
            idle: Duration::from_secs(self.idle_timeout_s),
            ..Limits::default()
        }
    }

    pub(crate) fn uri(&self, path: &str) -> Result<Uri> {
        setting::uri(&self.base_url, path)
    }

    pub(crate) fn headers(&self) -> Result<HeaderMap> {
        let mut out = HeaderMap::new();
        self.chosen(&[])?;
        if let Some(key) = self.api_key.as_deref().filter(|k| !k.is_empty()) {
            out.insert("x-api-key", setting::secret("api_key", key)?);
        }
        setting::add_headers(&mut out, &self.headers)?;
        Ok(out)
    }

    /// The version and the features in beta, for a client that sent these headers of its own; what `headers` says of
    /// either stands above both.
    ///
    /// # Errors
    /// `Invalid` on `version` or `beta` when a header cannot carry it.
    pub(crate) fn chosen(&self, own: &[(&'static str, String)]) -> Result<HeaderMap> {
        let plain = |param: &str, value: &str| {
            HeaderValue::from_str(value)
                .map_err(|_| Error::invalid(param, format!("{param} holds characters that a header cannot carry")))
        };
        let of = |name: &str| own.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str());
        let mut out = HeaderMap::new();
        out.insert(VERSION, plain("version", of(VERSION.as_str()).unwrap_or(&self.version))?);
        let mut beta: Vec<&str> = self.beta.iter().map(String::as_str).collect();
        for feature in of(BETA.as_str()).unwrap_or_default().split(',').map(str::trim) {
            if !feature.is_empty() && !beta.contains(&feature) {
                beta.push(feature);
            }
        }
        if !beta.is_empty() {
            out.insert(BETA, plain("beta", &beta.join(","))?);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_is_all_that_is_needed() {
        let config = Config::read(json!({ "api_key": "secret" })).expect("good");
        let uri = config.uri("messages").expect("good");
        assert_eq!(uri.to_string(), "https://api.anthropic.com/v1/messages");
        let headers = config.headers().expect("good");
        assert_eq!(headers["x-api-key"], "secret");
        assert!(headers["x-api-key"].is_sensitive());
        let chosen = config.chosen(&[]).expect("good");
        assert_eq!(chosen["anthropic-version"], "2023-06-01");
        assert!(!chosen.contains_key("anthropic-beta"));
        assert!(Config::read(Value::Null).is_ok(), "the key may come in headers");
    }

    #[test]
    fn a_client_chooses_the_version_and_adds_features() {
        let config = Config::read(json!({ "beta": ["a-1", "b-2"] })).expect("good");
        let own = [("anthropic-version", "2026-10-21".to_owned()), ("anthropic-beta", "b-2, c-3,,d-4".to_owned())];
        let chosen = config.chosen(&own).expect("good");
        assert_eq!(
            (&chosen["anthropic-version"], &chosen["anthropic-beta"]),
            (&"2026-10-21".parse().expect("a header"), &"a-1,b-2,c-3,d-4".parse().expect("a header"))
        );
        assert_eq!(config.chosen(&[]).expect("good")["anthropic-beta"], "a-1,b-2");
    }

    #[test]
    fn a_bad_key_is_named() {
        let error = Config::read(json!({ "api_kee": "s" })).err().expect("refused");
        assert!(error.message.contains("api_kee") && error.message.contains("api_key"), "{}", error.message);
        let config = Config::read(json!({ "api_key": "two\nlines" })).expect("read");
        assert_eq!(config.headers().expect_err("no header").param.as_deref(), Some("api_key"));
        for (key, value) in [("version", json!("a\nb")), ("beta", json!(["a\nb"]))] {
            let config = Config::read(json!({ key: value })).expect("read");
            assert_eq!(config.headers().expect_err("no header").param.as_deref(), Some(key));
        }
    }
}
