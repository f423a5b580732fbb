//! A client's own key for a provider, sent instead of the operator's where the configuration allows it.
//!
//! Invariants: where a client's key is sent, none of the operator's credentials is; a provider takes the one key that
//! has its name and never sees another; what a refusal says never shows the key.

use frontdesk_api::{Cx, Error, Kind, Result, client_keys::CLIENT_KEY};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;

use crate::setting;

/// What an operator writes as `client_keys`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "client_keys must be true, false, or the name under which clients send their key")]
pub enum ClientKeys {
    Allowed(bool),
    Named(String),
}

impl Default for ClientKeys {
    fn default() -> Self {
        Self::Allowed(false)
    }
}

impl ClientKeys {
    /// Whether there is a key to be expected without one of the operator's.
    #[must_use]
    pub fn allowed(&self) -> bool {
        !matches!(self, Self::Allowed(false))
    }

    /// How the provider `id` takes clients' keys; None: not at all. `header` and `scheme`: how it is sent.
    #[must_use]
    pub fn of(&self, id: &str, header: HeaderName, scheme: &'static str) -> Option<ClientKey> {
        let name = match self {
            Self::Allowed(false) => return None,
            Self::Allowed(true) => format!("{id}_api_key"),
            Self::Named(name) => name.clone(),
        };
        Some(ClientKey { name, header, scheme })
    }
}

/// How a provider takes clients' keys.
#[derive(Debug, Clone)]
pub struct ClientKey {
    /// Under which clients send it.
    name: String,
    header: HeaderName,
    /// Stands before the key (`Bearer `).
    scheme: &'static str,
}

/// Where credentials stand, whoever's.
const CREDENTIALS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

impl ClientKey {
    /// The client's key; None: it sent none for this provider.
    pub(crate) fn given<'c>(&self, cx: &'c Cx) -> Option<&'c str> {
        cx.client_keys.get(&self.name)
    }

    /// Puts `key` where the operator's credentials are.
    ///
    /// # Errors
    /// `Invalid` when a header cannot carry it.
    pub(crate) fn put(&self, headers: &mut HeaderMap, key: &str) -> Result<()> {
        for name in CREDENTIALS {
            headers.remove(name);
        }
        let value: HeaderValue = setting::secret(&self.name, &format!("{}{key}", self.scheme))?;
        headers.insert(self.header.clone(), value);
        Ok(())
    }
}

/// What a refusal means where a client's key was sent: its account's affairs are the client's own.
pub(crate) fn refused(provider: &str, key: &str, status: u16, mut error: Error) -> Error {
    // Some servers quote what they were sent.
    error.message = error.message.replace(key, "…");
    error.kind = match status {
        401 => Kind::Unauthenticated,
        402 | 403 => Kind::Forbidden,
        429 => Kind::RateLimited,
        _ => return error,
    };
    error.message = format!("the key that came with this request for provider '{provider}': {}", error.message);
    error.with_code(CLIENT_KEY)
}

/// The header of a bearer token, and what stands before it.
#[must_use]
pub fn bearer() -> (HeaderName, &'static str) {
    (header::AUTHORIZATION, "Bearer ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use frontdesk_api::client_keys;

    use super::*;

    fn cx() -> Cx {
        let keys = [("groq_api_key".to_owned(), "theirs".to_owned()), ("own".into(), "other".into())];
        Cx { client_keys: client_keys::ClientKeys::new(keys), ..Cx::internal("t", "r") }
    }

    fn read(value: serde_json::Value) -> serde_json::Result<ClientKeys> {
        serde_json::from_value(value)
    }

    #[test]
    fn a_provider_takes_the_key_of_its_own_name_where_it_may() {
        let given = |setting: serde_json::Value, id: &str| {
            let (header, scheme) = bearer();
            let key = read(setting).expect("a setting").of(id, header, scheme)?;
            key.given(&cx()).map(str::to_owned)
        };
        assert_eq!(given(true.into(), "groq").as_deref(), Some("theirs"));
        assert_eq!(given("own".into(), "groq").as_deref(), Some("other"));
        assert_eq!((given(true.into(), "openai"), given(false.into(), "groq")), (None, None));
        let error = read(7.into()).expect_err("neither");
        assert!(error.to_string().contains("client_keys must be true"), "{error}");
    }

    #[test]
    fn no_credential_of_the_operators_goes_with_a_clients_key() {
        let (header, scheme) = bearer();
        let key = ClientKeys::Allowed(true).of("groq", header, scheme).expect("allowed");
        let mut headers = HeaderMap::new();
        for name in CREDENTIALS.iter().chain(&["x-org"]) {
            headers.insert(*name, HeaderValue::from_static("ours"));
        }
        key.put(&mut headers, "theirs").expect("a header");
        assert_eq!(headers.len(), 2);
        assert!(headers["authorization"] == "Bearer theirs" && headers["authorization"].is_sensitive());
        assert_eq!(key.put(&mut headers, "a\nb").expect_err("no header").param.as_deref(), Some("groq_api_key"));
    }

    #[test]
    fn a_refusal_of_a_clients_key_is_the_clients_and_does_not_show_it() {
        let said = || Error::upstream("provider 'up' refused its credentials (401): no key 'theirs'");
        let error = refused("up", "theirs", 401, said());
        assert_eq!((error.kind, error.code.as_deref()), (Kind::Unauthenticated, Some(CLIENT_KEY)));
        assert!(error.message.contains("no key '…'") && !error.message.contains("theirs"), "{}", error.message);
        let slow = said().with_retry_after(Duration::from_secs(3));
        let slow = refused("up", "theirs", 429, slow);
        assert_eq!((slow.kind, slow.retry_after), (Kind::RateLimited, Some(Duration::from_secs(3))));
        let broken = refused("up", "theirs", 500, said());
        assert_eq!((broken.kind, broken.code), (Kind::Upstream, None), "that is the server's");
    }
}
