//! Reads Google's errors: `{"error": {"code", "message", "status", "details"}}`, as a body or in a stream.
//!
//! The status word decides, the number only where the word is none of the documented ones: in a stream the number was
//! 200. Source: Google's `google.rpc.Code`, `google.rpc.Status` and its error details `RetryInfo` and `ErrorInfo`.

use std::time::Duration;

use frontdesk_api::{Error, Kind};
use serde_json::Value;

use crate::fault;

/// The error that an upstream's answer means to our caller. A refused key is the operator's, so an upstream fault.
///
/// `provider` is the id from the configuration; `retry_after` what its headers say of another try, which the error's own
/// word goes before.
#[must_use]
pub fn from_response(provider: &str, status: u16, body: &[u8], retry_after: Option<Duration>) -> Error {
    let wire: Value = serde_json::from_slice(body).unwrap_or_default();
    // A stream that did not begin is refused with a list of one.
    let wire = wire.get(0).unwrap_or(&wire);
    let error = wire.get("error").unwrap_or(&Value::Null);
    let said = message(error);
    let readable = said.is_some();
    let said = said.map_or_else(|| fault::quote(body, "Google"), str::to_owned);
    let mut out = match (kind_of(error), status) {
        (Some(Told::Credentials), _) | (None, 401..=403) => fault::credentials(provider, status, &said),
        (Some(Told::Kind(kind)), _) => fault::answered(provider, status, kind, said),
        (None, _) => fault::answered(provider, status, fault::kind(status, readable), said),
    };
    out.code = out.code.or_else(|| code(error));
    out.retry_after = retry_delay(error).or(retry_after);
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
    out.retry_after = retry_delay(error);
    out
}

enum Told {
    Credentials,
    Kind(Kind),
}

fn kind_of(error: &Value) -> Option<Told> {
    // A key that does not exist is an invalid argument to Google.
    if reasons(error).any(|reason| reason.starts_with("API_KEY_")) {
        return Some(Told::Credentials);
    }
    let kind = match error.get("status")?.as_str()? {
        "UNAUTHENTICATED" | "PERMISSION_DENIED" => return Some(Told::Credentials),
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" => Kind::Invalid,
        "NOT_FOUND" => Kind::NotFound,
        "RESOURCE_EXHAUSTED" => Kind::RateLimited,
        "DEADLINE_EXCEEDED" => Kind::Timeout,
        "UNAVAILABLE" | "ABORTED" => Kind::Unavailable,
        // The operator's account: no billing, or a country that is not served.
        "FAILED_PRECONDITION" => Kind::Upstream,
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" | "CANCELLED" | "UNIMPLEMENTED" => Kind::Upstream,
        _ => return None,
    };
    Some(Told::Kind(kind))
}

fn details(error: &Value) -> impl Iterator<Item = &Value> {
    error.get("details").and_then(Value::as_array).into_iter().flatten()
}

fn of_type<'e>(error: &'e Value, name: &'e str) -> impl Iterator<Item = &'e Value> {
    details(error).filter(move |detail| {
        let kind = detail.get("@type").and_then(Value::as_str).unwrap_or_default();
        kind.rsplit('/').next() == Some(name)
    })
}

fn reasons(error: &Value) -> impl Iterator<Item = &str> {
    of_type(error, "google.rpc.ErrorInfo").filter_map(|detail| detail.get("reason").and_then(Value::as_str))
}

/// `"34.074824224s"`, as JSON writes a `google.protobuf.Duration`.
fn retry_delay(error: &Value) -> Option<Duration> {
    let delay = of_type(error, "google.rpc.RetryInfo").find_map(|detail| detail.get("retryDelay")?.as_str())?;
    Duration::try_from_secs_f64(delay.strip_suffix('s')?.parse().ok()?).ok()
}

fn message(error: &Value) -> Option<&str> {
    error.get("message").and_then(fault::words)
}

fn code(error: &Value) -> Option<String> {
    error.get("status").and_then(Value::as_str).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(status: &str, details: Value) -> Value {
        json!({ "error": { "code": 1, "message": "as said", "status": status, "details": details } })
    }

    #[test]
    fn each_status_has_its_kind() {
        for (number, status, want) in [
            (400, "INVALID_ARGUMENT", Kind::Invalid),
            (400, "FAILED_PRECONDITION", Kind::Upstream),
            (401, "UNAUTHENTICATED", Kind::Upstream),
            (403, "PERMISSION_DENIED", Kind::Upstream),
            (404, "NOT_FOUND", Kind::NotFound),
            (429, "RESOURCE_EXHAUSTED", Kind::RateLimited),
            (500, "INTERNAL", Kind::Upstream),
            (503, "UNAVAILABLE", Kind::Unavailable),
            (504, "DEADLINE_EXCEEDED", Kind::Timeout),
        ] {
            let text = body(status, json!([])).to_string();
            for text in [text.clone(), format!("[{text}]")] {
                let error = from_response("gem", number, text.as_bytes(), Some(Duration::from_secs(3)));
                assert_eq!((error.kind, error.retry_after), (want, Some(Duration::from_secs(3))), "{status}");
                assert!(error.message.contains("as said"), "{}", error.message);
                let credentials = [401, 403].contains(&number);
                let code = if credentials { "provider_credentials".to_owned() } else { status.to_lowercase() };
                assert_eq!(error.code, Some(code));
            }
        }
    }

    // Oracle: what the Gemini API answers to a key that does not exist, and over quota (its page "Troubleshooting").
    #[test]
    fn details_say_whose_fault_it_is_and_when_to_come_back() {
        let key = json!([{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com" }]);
        let error = from_response("gem", 400, body("INVALID_ARGUMENT", key).to_string().as_bytes(), None);
        assert_eq!((error.kind, error.code.as_deref()), (Kind::Upstream, Some("provider_credentials")));
        let wait = |delay: &str| {
            let details = json!([{ "@type": "type.googleapis.com/google.rpc.Help" },
                { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay }]);
            let wire = body("RESOURCE_EXHAUSTED", details);
            assert_eq!(in_stream("gem", &wire["error"]).kind, Kind::RateLimited);
            from_response("gem", 429, wire.to_string().as_bytes(), Some(Duration::from_secs(3))).retry_after
        };
        assert_eq!(wait("34.5s"), Some(Duration::from_millis(34_500)));
        for nonsense in ["-1s", "soon", "NaNs", "1e400s", "5"] {
            assert_eq!(wait(nonsense), Some(Duration::from_secs(3)), "{nonsense}");
        }
    }

    #[test]
    fn a_body_that_is_none_goes_by_its_status() {
        for (status, body, want, says) in [
            (503, "", Kind::Unavailable, "an empty body"),
            (401, "<html>no", Kind::Upstream, "refused its credentials"),
            (404, "<html>Not Found", Kind::Upstream, "provider 'gem' answered 404: no error body of Google"),
            (502, r#"{"error":{"status":"BRAND_NEW","message":"hm"}}"#, Kind::Upstream, "hm"),
        ] {
            let error = from_response("gem", status, body.as_bytes(), None);
            assert_eq!(error.kind, want, "{body}");
            assert!(error.message.contains(says), "{} should contain {says}", error.message);
        }
    }

    #[test]
    fn a_stream_is_broken_off_by_the_upstream_never_by_the_client() {
        let of = |status: &str| in_stream("gem", &body(status, Value::Null)["error"]);
        assert_eq!(of("UNAVAILABLE").kind, Kind::Unavailable);
        assert_eq!(of("INVALID_ARGUMENT").kind, Kind::Upstream);
        assert_eq!(of("UNAVAILABLE").message, "provider 'gem' broke off its answer: as said");
        assert_eq!(in_stream("gem", &Value::Null).kind, Kind::Upstream);
    }
}
