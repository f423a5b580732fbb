//! What an operator writes under `config:` of a provider of type `gemini`: a key of the Gemini API, or a project of
//! Vertex AI and how to sign in there. Invariant: keys of the one beside the other are refused by name, so that
//! nothing written is silently without effect.

use std::{collections::BTreeMap, time::Duration};

use frontdesk_api::{Error, Kind, Result, inference::ModelKind};
use frontdesk_http::{ClientKeys, Limits, Offer, setting};
use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::Value;

/// Unknown keys are refused.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the API begins, its version included; absent: Google's own address of the Gemini API, or that of the
    /// project's location on Vertex AI.
    #[serde(default)]
    pub base_url: Option<String>,
    /// A key of the Gemini API, sent as `x-goog-api-key`; absent or empty where `headers` carry the credentials.
    #[serde(default)]
    pub api_key: Option<String>,
    /// Whether a client may send a key of its own, and under which name; not with Vertex AI.
    #[serde(default)]
    pub client_keys: ClientKeys,
    /// Vertex AI instead of the Gemini API.
    #[serde(default)]
    pub vertex: Option<Vertex>,
    /// Further headers on every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Models to offer; absent: whatever the Gemini API lists. Vertex AI lists none.
    #[serde(default)]
    pub models: Option<Vec<Offer>>,
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

/// A project on Vertex AI.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vertex {
    /// Id of the project.
    pub project: String,
    /// A region (`europe-west4`), `us`, `eu` or `global`.
    pub location: String,
    /// A token that somebody else renews, sent as a bearer token.
    #[serde(default)]
    pub access_token: Option<String>,
    /// The JSON text of a service account's key file; tokens are fetched and renewed with it.
    #[serde(default)]
    pub service_account: Option<String>,
}

const GEMINI: &str = "https://generativelanguage.googleapis.com/v1beta";

impl Config {
    /// # Errors
    /// `Invalid` saying what is wrong; `param` is the key where one can be named.
    pub fn read(config: Value) -> Result<Self> {
        // An entry without `config:` has nothing to say.
        let config = if config.is_null() { Value::Object(serde_json::Map::new()) } else { config };
        let mut config: Self = serde_json::from_value(config).map_err(|e| Error::new(Kind::Invalid, e.to_string()))?;
        // What comes from an environment variable that is not set is empty.
        for value in [&mut config.base_url, &mut config.api_key] {
            *value = value.take().filter(|text| !text.is_empty());
        }
        if let Some(vertex) = &mut config.vertex {
            vertex.access_token = vertex.access_token.take().filter(|token| !token.is_empty());
            vertex.service_account = vertex.service_account.take().filter(|text| !text.is_empty());
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        if let Some(at) = self.models.iter().flatten().position(|offer| offer.kind == ModelKind::Rerank) {
            let key = format!("models[{at}].kind");
            let message = format!("{key}: Google has no reranking here: write llm or embedding");
            return Err(Error::invalid(key, message));
        }
        let Some(vertex) = &self.vertex else { return Ok(()) };
        for (param, name) in [("vertex.project", &vertex.project), ("vertex.location", &vertex.location)] {
            // Both stand in addresses; a project of an organisation has its domain before a colon.
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:".contains(c);
            if name.is_empty() || !name.chars().all(fits) {
                return Err(Error::invalid(param, format!("'{name}' is not the id of a {}", &param[7..])));
            }
        }
        if self.api_key.is_some() {
            let message = "api_key is of the Gemini API: Vertex AI takes vertex.service_account or vertex.access_token";
            return Err(Error::invalid("api_key", message));
        }
        if self.client_keys.allowed() {
            let message = "client_keys are of the Gemini API: Vertex AI takes tokens of a project";
            return Err(Error::invalid("client_keys", message));
        }
        let authorized = self.headers.keys().any(|name| name.eq_ignore_ascii_case("authorization"));
        match (&vertex.access_token, &vertex.service_account) {
            (Some(_), Some(_)) => {
                let message = "access_token and service_account stand beside each other: keep one";
                return Err(Error::invalid("vertex.access_token", message));
            }
            (None, None) if !authorized => {
                return Err(Error::invalid("vertex", "vertex needs service_account or access_token"));
            }
            _ => {}
        }
        if self.models.is_none() {
            let message = "Vertex AI does not list the models one may call: name them, for example [gemini-2.5-flash]";
            return Err(Error::invalid("models", message));
        }
        Ok(())
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            head: Duration::from_secs(self.timeout_s),
            idle: Duration::from_secs(self.idle_timeout_s),
            ..Limits::default()
        }
    }

    /// Where the API begins. Vertex AI's hosts as Google's page "Locations" lists them and the official SDK forms them.
    pub(crate) fn base(&self) -> String {
        let Some(vertex) = &self.vertex else { return self.base_url.clone().unwrap_or_else(|| GEMINI.into()) };
        self.base_url.clone().unwrap_or_else(|| {
            let host = match vertex.location.as_str() {
                "global" => "aiplatform.googleapis.com".to_owned(),
                wide @ ("us" | "eu") => format!("aiplatform.{wide}.rep.googleapis.com"),
                region => format!("{region}-aiplatform.googleapis.com"),
            };
            format!("https://{host}/v1beta1")
        })
    }

    /// All but the token of a service account, which changes.
    pub(crate) fn headers(&self) -> Result<HeaderMap> {
        let mut out = HeaderMap::new();
        if let Some(key) = &self.api_key {
            out.insert("x-goog-api-key", setting::secret("api_key", key)?);
        }
        if let Some(token) = self.vertex.as_ref().and_then(|vertex| vertex.access_token.as_deref()) {
            let bearer = setting::secret("vertex.access_token", &format!("Bearer {token}"))?;
            out.insert(header::AUTHORIZATION, bearer);
        }
        setting::add_headers(&mut out, &self.headers)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vertex(location: &str) -> Value {
        json!({ "vertex": { "project": "p-1", "location": location, "access_token": "secret" }, "models": ["m"] })
    }

    #[test]
    fn a_key_is_all_that_is_needed() {
        let config = Config::read(json!({ "api_key": "secret" })).expect("good");
        assert_eq!(config.base(), "https://generativelanguage.googleapis.com/v1beta");
        let headers = config.headers().expect("good");
        assert!(headers["x-goog-api-key"] == "secret" && headers["x-goog-api-key"].is_sensitive());
        assert!(Config::read(Value::Null).is_ok(), "the key may come in headers");
    }

    #[test]
    fn each_location_has_its_host() {
        for (location, host) in [
            ("europe-west4", "https://europe-west4-aiplatform.googleapis.com/v1beta1"),
            ("global", "https://aiplatform.googleapis.com/v1beta1"),
            ("eu", "https://aiplatform.eu.rep.googleapis.com/v1beta1"),
        ] {
            let config = Config::read(vertex(location)).expect("good");
            assert_eq!(config.base(), host);
            let headers = config.headers().expect("good");
            assert!(headers["authorization"] == "Bearer secret" && headers["authorization"].is_sensitive());
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let with = |path: &str, value: Value| {
            let mut config = vertex("global");
            *config.pointer_mut(path).expect("a key") = value;
            config
        };
        let mut both = vertex("global");
        both["api_key"] = json!("k");
        let mut clients = vertex("global");
        clients["client_keys"] = json!(true);
        let mut two = vertex("global");
        two["vertex"]["service_account"] = json!("{}");
        for (config, param) in [
            (both, "api_key"),
            (clients, "client_keys"),
            (two, "vertex.access_token"),
            (with("/vertex/access_token", json!("")), "vertex"),
            (with("/vertex/project", json!("a/b")), "vertex.project"),
            (with("/vertex/location", json!("evil.host#")), "vertex.location"),
            (with("/models", Value::Null), "models"),
            (with("/models", json!(["m", { "id": "n", "kind": "rerank" }])), "models[1].kind"),
        ] {
            assert_eq!(Config::read(config).err().expect("refused").param.as_deref(), Some(param));
        }
        let error = Config::read(json!({ "api_kee": "s" })).err().expect("refused");
        assert!(error.message.contains("api_kee") && error.message.contains("api_key"), "{}", error.message);
        let mut headers = with("/vertex/access_token", Value::Null);
        headers["headers"] = json!({ "Authorization": "Bearer x" });
        assert!(Config::read(headers).is_ok(), "the token may come in headers");
    }
}
