//! What an operator writes under `config:` of a provider of type `bedrock`.

use std::{collections::BTreeMap, time::Duration};

use frontdesk_api::{Error, Kind, Result};
use frontdesk_http::{Limits, setting};
use http::{HeaderMap, Uri, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{lent::Credentials, sign::Keys};

/// Unknown keys are refused.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The AWS region whose models are asked, for example `eu-central-1`.
    pub region: String,
    /// A Bedrock API key, sent as a bearer token; wins over the keys below.
    #[serde(default)]
    pub api_key: Option<String>,
    /// Keys of an IAM identity, with which requests are signed.
    #[serde(default)]
    pub access_key_id: Option<String>,
    #[serde(default)]
    pub secret_access_key: Option<String>,
    /// Beside keys that are only lent.
    #[serde(default)]
    pub session_token: Option<String>,
    /// Instead of the keys: where they are fetched, and fetched again before they end.
    #[serde(default)]
    pub credentials: Option<Credentials>,
    /// Where Bedrock Runtime is; absent: the region's public endpoint.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Where Bedrock's control plane is, which lists models; absent: the region's public endpoint.
    #[serde(default)]
    pub control_url: Option<String>,
    /// Further headers on every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Model ids, inference profiles and ARNs to offer.
    #[serde(default)]
    pub models: Vec<String>,
    /// Offers what the account can ask in this region, too.
    #[serde(default)]
    pub discover: bool,
    /// Stands between every client and every model; a client's own is replaced.
    #[serde(default)]
    pub guardrail: Option<Guardrail>,
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

/// A guardrail of the account's.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guardrail {
    /// Its id or ARN.
    pub id: String,
    /// A number, or `DRAFT`.
    pub version: String,
    /// `enabled` shows in the answer what it did.
    #[serde(default)]
    pub trace: Option<String>,
}

impl Guardrail {
    pub(crate) fn wire(&self) -> Value {
        let mut out = json!({ "guardrailIdentifier": self.id, "guardrailVersion": self.version });
        if let Some(trace) = &self.trace {
            out["trace"] = trace.as_str().into();
        }
        out
    }
}

/// A value that was written and is not empty: what an unset variable leaves.
fn given(value: Option<&String>) -> Option<&str> {
    value.map(String::as_str).filter(|text| !text.is_empty())
}

impl Config {
    /// # Errors
    /// `Invalid` saying what is wrong; `param` is the key where one can be named.
    pub fn read(config: Value) -> Result<Self> {
        // An entry without `config:` has nothing to say.
        let config = if config.is_null() { Value::Object(serde_json::Map::new()) } else { config };
        let config: Self = serde_json::from_value(config).map_err(|e| Error::new(Kind::Invalid, e.to_string()))?;
        // It becomes part of a host's name.
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if config.region.is_empty() || !config.region.chars().all(fits) {
            return Err(Error::invalid(
                "region",
                format!("region '{}' is not the name of an AWS region", config.region),
            ));
        }
        Ok(config)
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            head: Duration::from_secs(self.timeout_s),
            idle: Duration::from_secs(self.idle_timeout_s),
            ..Limits::default()
        }
    }

    /// An address of Bedrock Runtime.
    pub(crate) fn runtime(&self, path: &str) -> Result<Uri> {
        let public = format!("https://bedrock-runtime.{}.amazonaws.com", self.region);
        setting::uri(given(self.base_url.as_ref()).unwrap_or(&public), path)
    }

    /// An address of the control plane.
    pub(crate) fn control(&self, path: &str) -> Result<Uri> {
        let public = format!("https://bedrock.{}.amazonaws.com", self.region);
        setting::uri(given(self.control_url.as_ref()).unwrap_or(&public), path).map_err(|e| Error {
            param: Some("control_url".into()),
            message: e.message.replace("base_url", "control_url"),
            ..e
        })
    }

    pub(crate) fn headers(&self) -> Result<HeaderMap> {
        let mut out = HeaderMap::new();
        if let Some(key) = given(self.api_key.as_ref()) {
            out.insert(header::AUTHORIZATION, setting::secret("api_key", &format!("Bearer {key}"))?);
        }
        setting::add_headers(&mut out, &self.headers)?;
        Ok(out)
    }

    /// Whether the headers carry the credentials, and nothing is signed.
    pub(crate) fn is_unsigned(&self) -> bool {
        let named = |name: &String| name.eq_ignore_ascii_case("authorization");
        given(self.api_key.as_ref()).is_some() || self.headers.keys().any(named)
    }

    /// The keys that were written.
    ///
    /// # Errors
    /// `Invalid` naming the key that is missing or one too many.
    pub(crate) fn keys(&self) -> Result<Option<Keys>> {
        let id = given(self.access_key_id.as_ref());
        if self.credentials.is_some() {
            let message = "credentials and access_key_id are two ways to the same: leave one out";
            return if id.is_some() { Err(Error::invalid("credentials", message)) } else { Ok(None) };
        }
        let missing = |key: &str| {
            let message =
                format!("{key} is missing: write api_key, access_key_id and secret_access_key, or credentials");
            Error::invalid(key, message)
        };
        let keys = Keys {
            id: id.ok_or_else(|| missing("access_key_id"))?.to_owned(),
            secret: given(self.secret_access_key.as_ref()).ok_or_else(|| missing("secret_access_key"))?.to_owned(),
            token: given(self.session_token.as_ref()).map(str::to_owned),
            region: self.region.clone(),
        };
        keys.check()?;
        Ok(Some(keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut config: Value) -> Config {
        config["region"] = "eu-central-1".into();
        Config::read(config).expect("readable")
    }

    #[test]
    fn a_region_and_credentials_are_all_that_is_needed() {
        let config = read(json!({ "api_key": "secret" }));
        let host = |uri: Uri| uri.to_string();
        assert_eq!(
            host(config.runtime("model/m/converse").expect("good")),
            "https://bedrock-runtime.eu-central-1.amazonaws.com/model/m/converse"
        );
        assert_eq!(
            host(config.control("foundation-models").expect("good")),
            "https://bedrock.eu-central-1.amazonaws.com/foundation-models"
        );
        assert_eq!(config.headers().expect("good")["authorization"], "Bearer secret");
        assert!(config.headers().expect("good")["authorization"].is_sensitive());
        assert!(config.is_unsigned() && read(json!({ "headers": { "Authorization": "x" } })).is_unsigned());

        // What unset variables leave.
        let config =
            read(json!({ "api_key": "", "access_key_id": "A", "secret_access_key": "s", "session_token": "" }));
        assert!(!config.is_unsigned());
        let keys = config.keys().expect("good").expect("keys");
        assert_eq!((keys.id.as_str(), keys.token, keys.region.as_str()), ("A", None, "eu-central-1"));
        assert!(config.headers().expect("good").is_empty());
    }

    #[test]
    fn a_bad_key_is_named() {
        for (config, param) in [
            (json!({}), "access_key_id"),
            (json!({ "access_key_id": "A" }), "secret_access_key"),
            (json!({ "access_key_id": "A", "credentials": { "from": "instance" } }), "credentials"),
            (json!({ "access_key_id": "A\n", "secret_access_key": "s" }), "access_key_id"),
            (json!({ "access_key_id": "A", "secret_access_key": "s", "session_token": "\n" }), "session_token"),
        ] {
            assert_eq!(read(config).keys().err().expect("refused").param.as_deref(), Some(param));
        }
        let config = read(json!({ "api_key": "two\nlines", "control_url": "nowhere" }));
        assert_eq!(config.headers().expect_err("no header").param.as_deref(), Some("api_key"));
        assert_eq!(config.control("x").expect_err("no URL").param.as_deref(), Some("control_url"));
        for (config, says) in [
            (json!({ "region": "x.evil.example" }), "not the name of an AWS region"),
            (json!({ "api_key": "s" }), "region"),
            (json!({ "region": "eu-west-1", "api_kee": "s" }), "api_kee"),
            (json!({ "region": "eu-west-1", "guardrail": { "id": "g" } }), "version"),
        ] {
            let error = Config::read(config).err().expect("refused");
            assert!(error.message.contains(says), "{}", error.message);
        }
    }
}
