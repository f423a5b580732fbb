//! Reads Anthropic's errors: `{"type": "error", "error": {"type": …, "message": …}}`, as a body or in a stream.
//!
//! The type decides, the status only where the type is none of the documented ones: in a stream the status was 200.

use std::time::Duration;

use frontdesk_api::{Error, Kind};
use serde_json::Value;

use crate::fault;

/// The error that an upstream's answer means to our caller. A refused key is the operator's, so an upstream fault.
///
/// `provider` is the id from the configuration; `retry_after` what its headers say of another try.
#[must_use]
pub fn from_response(provider: &str, status: u16, body: &[u8], retry_after: Option<Duration>) -> Error {
    let wire: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = wire.get("error").unwrap_or(&Value::Null);
    let said = message(error);
    let readable = said.is_some();
    let said = said.map_or_else(|| fault::quote(body, "Anthropic"), str::to_owned);
    let kind = kind_of(error);
    let mut out = match (kind, status) {
        (Some(Told::Credentials), _) | (None, 401..=403) => fault::credentials(provider, status, &said),
        (Some(Told::Kind(kind)), _) => fault::answered(provider, status, kind, said),
        (None, _) => fault::answered(provider, status, fault::kind(status, readable), said),
    };
    out.code = out.code.or_else(|| code(error));
    out.retry_after = retry_after;
    out
}

/// The error inside an event stream: `error` is the event's member of that name.
#[must_use]
pub fn in_stream(provider: &str, error: &Value) -> Error {
    let said = message(error).unwrap_or("no message");
    let kind = match kind_of(error) {
        // The request was accepted: what is wrong with it now is not the client's mistake.
        Some(Told::Kind(kind @ (Kind::Unavailable | Kind::RateLimited | Kind::Timeout))) => kind,
        _ => Kind::Upstream,
    };
    let mut out = Error::new(kind, format!("provider '{provider}' broke off its answer: {said}"));
    out.code = code(error);
    out
}

enum Told {
    Credentials,
    Kind(Kind),
}

/// What a documented type means (Anthropic's API reference, "Errors").
fn kind_of(error: &Value) -> Option<Told> {
    let kind = match error.get("type")?.as_str()? {
        "authentication_error" | "permission_error" => return Some(Told::Credentials),
        "invalid_request_error" => Kind::Invalid,
        "not_found_error" => Kind::NotFound,
        "request_too_large" => Kind::TooLarge,
        "rate_limit_error" => Kind::RateLimited,
        "timeout_error" => Kind::Timeout,
        "overloaded_error" => Kind::Unavailable,
        "billing_error" | "api_error" => Kind::Upstream,
        _ => return None,
    };
    Some(Told::Kind(kind))
}

fn message(error: &Value) -> Option<&str> {
    error.get("message").and_then(fault::words)
}

fn code(error: &Value) -> Option<String> {
    error.get("type").and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_documented_error_has_its_kind() {
        for (status, kind, want) in [
            (400, "invalid_request_error", Kind::Invalid),
            (401, "authentication_error", Kind::Upstream),
            (402, "billing_error", Kind::Upstream),
            (403, "permission_error", Kind::Upstream),
            (404, "not_found_error", Kind::NotFound),
            (413, "request_too_large", Kind::TooLarge),
            (429, "rate_limit_error", Kind::RateLimited),
            (500, "api_error", Kind::Upstream),
            (504, "timeout_error", Kind::Timeout),
            (529, "overloaded_error", Kind::Unavailable),
        ] {
            let body =
                json!({ "type": "error", "error": { "type": kind, "message": "as said" }, "request_id": "req_1" });
            let error = from_response("claude", status, body.to_string().as_bytes(), Some(Duration::from_secs(3)));
            assert_eq!((error.kind, error.retry_after), (want, Some(Duration::from_secs(3))), "{kind}");
            assert!(error.message.contains("as said"), "{}", error.message);
            let credentials = [401, 403].contains(&status);
            assert_eq!(error.code.as_deref(), Some(if credentials { "provider_credentials" } else { kind }));
        }
    }

    #[test]
    fn a_body_that_is_none_goes_by_its_status() {
        for (status, body, want, says) in [
            (529, "", Kind::Unavailable, "an empty body"),
            (404, "<html>no", Kind::Upstream, "provider 'claude' answered 404"),
            (401, "<html>no", Kind::Upstream, "refused its credentials"),
            (502, r#"{"error":{"type":"brand_new","message":"hm"}}"#, Kind::Upstream, "hm"),
        ] {
            let error = from_response("claude", status, body.as_bytes(), None);
            assert_eq!(error.kind, want, "{body}");
            assert!(error.message.contains(says), "{} should contain {says}", error.message);
        }
    }

    #[test]
    fn a_stream_is_broken_off_by_the_upstream_never_by_the_client() {
        let of = |kind: &str| in_stream("claude", &json!({ "type": kind, "message": "Overloaded" }));
        assert_eq!(of("overloaded_error").kind, Kind::Unavailable);
        assert_eq!(of("invalid_request_error").kind, Kind::Upstream);
        assert_eq!(of("overloaded_error").message, "provider 'claude' broke off its answer: Overloaded");
        assert_eq!(in_stream("claude", &Value::Null).kind, Kind::Upstream);
    }
}
