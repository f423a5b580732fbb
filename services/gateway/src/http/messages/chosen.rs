//! What Anthropic's clients choose by headers: the API's version, and features in beta.
//!
//! Invariant: these two headers of a client's travel on, and no other; they say what the request means, never who asks.

use axum::{extract::FromRequestParts, http::request::Parts};
use frontdesk_api::Error;
use http::HeaderMap;

use crate::problem::Early;

/// Anthropic's API reference, "Versions" and "Beta headers".
const NAMES: [&str; 2] = ["anthropic-version", "anthropic-beta"];

/// The most of one header that is sent on, in bytes: a few dozen names of features.
const MOST: usize = 2048;

/// By their names, those that the request has; several of one name are one list.
pub struct Chosen(pub Vec<(&'static str, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Chosen {
    type Rejection = Early;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Early> {
        Ok(Self(chosen(&parts.headers)?))
    }
}

fn chosen(headers: &HeaderMap) -> frontdesk_api::Result<Vec<(&'static str, String)>> {
    let mut all = vec![];
    for name in NAMES {
        let mut list = String::new();
        for value in headers.get_all(name) {
            let value = value.to_str().map_err(|_| bad(name, "holds other than visible ASCII characters"))?.trim();
            if !list.is_empty() && !value.is_empty() {
                list.push(',');
            }
            list.push_str(value);
        }
        if list.len() > MOST {
            return Err(bad(name, "is longer than 2048 bytes"));
        }
        if !list.is_empty() {
            all.push((name, list));
        }
    }
    Ok(all)
}

/// A wish that is not passed on must not look like one that was granted.
fn bad(name: &str, why: &str) -> Error {
    Error::invalid(name, format!("the header {name} {why}"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut all = HeaderMap::new();
        for (name, value) in pairs {
            all.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).expect("a header"));
        }
        all
    }

    #[test]
    fn version_and_features_are_taken_and_nothing_else() {
        let sent = headers(&[
            ("anthropic-beta", b"a-1"),
            ("x-api-key", b"secret"),
            ("anthropic-version", b"2023-06-01"),
            ("anthropic-beta", b"b-2, c-3"),
            ("anthropic-workspace-id", b"w"),
        ]);
        let want = vec![("anthropic-version", "2023-06-01".to_owned()), ("anthropic-beta", "a-1,b-2, c-3".to_owned())];
        assert_eq!(chosen(&sent).expect("good"), want);
        assert!(chosen(&headers(&[("anthropic-beta", b"")])).expect("good").is_empty());
    }

    #[test]
    fn one_that_cannot_be_sent_on_is_named() {
        let long = [b'x'; MOST + 1];
        for (value, says) in [(&b"\xff"[..], "ASCII"), (&long[..], "2048")] {
            let error = chosen(&headers(&[("anthropic-beta", value)])).expect_err("refused");
            assert_eq!(error.param.as_deref(), Some("anthropic-beta"));
            assert!(error.message.contains(says), "{}", error.message);
        }
    }
}
