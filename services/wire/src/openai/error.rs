//! Reads the error bodies of OpenAI-compatible servers, which agree on little.

use std::time::Duration;

use frontdesk_api::Error;
use serde_json::Value;

use crate::fault;

/// The code of an error where the server has no such address.
pub const NO_ADDRESS: &str = "no_such_address";

/// The error that an upstream's answer means to our caller.
///
/// `provider` is the id from the configuration; `retry_after` what its headers say of another try.
#[must_use]
pub fn from_response(provider: &str, status: u16, body: &[u8], retry_after: Option<Duration>) -> Error {
    let wire: Value = serde_json::from_slice(body).unwrap_or_default();
    // `{"error":{…}}` (OpenAI), `{"error":"…"}` (Ollama), `{"message":…}`, `{"detail":…}` (FastAPI servers).
    let error = wire.get("error").unwrap_or(&wire);
    // FastAPI's own words for an address that is not there say nothing of a model.
    let of_an_address = |words: &&str| !["Not Found", "Method Not Allowed"].contains(words);
    let detail = wire.get("detail").filter(|words| words.as_str().as_ref().is_none_or(of_an_address));
    let said = [error.get("message"), wire.get("error"), wire.get("message"), detail]
        .into_iter()
        .flatten()
        .find_map(fault::words);
    let kind = fault::kind(status, said.is_some());
    let nowhere = said.is_none() && matches!(status, 404 | 405);
    let said = said.map_or_else(|| fault::quote(body, "OpenAI"), str::to_owned);
    let mut out = match status {
        401..=403 => fault::credentials(provider, status, &said),
        _ => fault::answered(provider, status, kind, said),
    };
    let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
    out.param = text("param");
    out.code = out.code.or_else(|| text("code")).or_else(|| text("type"));
    if nowhere {
        out.code = out.code.or_else(|| Some(NO_ADDRESS.into()));
    }
    out.retry_after = retry_after;
    out
}

/// The error inside an event stream (`data: {"error": …}`).
#[must_use]
pub fn in_stream(provider: &str, error: &Value) -> Error {
    let said = error.get("message").and_then(fault::words).or_else(|| fault::words(error)).unwrap_or("no message");
    let mut out = Error::upstream(format!("provider '{provider}' broke off its answer: {said}"));
    // OpenRouter's codes are statuses, or words.
    out.code = error.get("code").filter(|code| !code.is_null()).or(error.get("type")).and_then(|code| match code {
        Value::String(code) => Some(code.clone()),
        Value::Number(code) => Some(code.to_string()),
        _ => None,
    });
    out
}

#[cfg(test)]
mod tests {
    use frontdesk_api::Kind;

    use super::*;

    #[test]
    fn every_shape_of_error_body_is_read() {
        for (status, body, kind, says) in [
            (
                400,
                r#"{"error":{"message":"bad n","type":"invalid_request_error","param":"n","code":null}}"#,
                Kind::Invalid,
                "bad n",
            ),
            (404, r#"{"error":"model 'x' not found"}"#, Kind::NotFound, "model 'x' not found"),
            (404, "404 page not found", Kind::Upstream, "provider 'up' answered 404: no error body of OpenAI"),
            (404, r#"{"detail":"Not Found"}"#, Kind::Upstream, "provider 'up' answered 404"),
            (405, "", Kind::Upstream, "provider 'up' answered 405: an empty body"),
            (402, r#"{"error":{"message":"no credit"}}"#, Kind::Upstream, "wants its account to be paid first (402)"),
            (422, r#"{"detail":"no"}"#, Kind::Invalid, "no"),
            (500, "<html><body>Bad\n gateway</body></html>", Kind::Upstream, "<html><body>Bad gateway</body></html>"),
            (502, "", Kind::Upstream, "an empty body"),
            (429, r#"{"message":"slow down"}"#, Kind::RateLimited, "slow down"),
            (401, r#"{"error":{"message":"wrong key"}}"#, Kind::Upstream, "refused its credentials"),
        ] {
            let error = from_response("up", status, body.as_bytes(), Some(Duration::from_secs(3)));
            assert_eq!(error.kind, kind, "{body}");
            assert!(error.message.contains(says), "{} should contain {says}", error.message);
            assert_eq!(error.retry_after, Some(Duration::from_secs(3)));
            let nowhere = matches!(status, 404 | 405) && kind == Kind::Upstream;
            assert_eq!(error.code.as_deref() == Some(NO_ADDRESS), nowhere, "{body}");
        }
    }
}
