//! What an upstream's error answer means to our caller, whatever its dialect.
//!
//! Invariant: the client's own mistake is told in the upstream's words; a fault of the upstream names the
//! provider, and an upstream that refuses *our* credentials is at fault.

use frontdesk_api::{Error, Kind, inference::CREDENTIALS};
use serde_json::Value;

use crate::status::kind_of_upstream;

/// The most of an unreadable upstream body that is quoted, in characters.
const QUOTE: usize = 200;

/// An answer with an error status. `said`: the upstream's message.
pub(crate) fn answered(provider: &str, status: u16, kind: Kind, said: String) -> Error {
    let message = match kind {
        Kind::Invalid | Kind::NotFound | Kind::TooLarge => said,
        _ => format!("provider '{provider}' answered {status}: {said}"),
    };
    Error::new(kind, message)
}

/// What a status means alone. `said`: whether the upstream said something in its own shape; where it did not, an address that
/// is not there is a wrong one in the configuration or a proxy's page, and no mistake of the client.
pub(crate) fn kind(status: u16, said: bool) -> Kind {
    match status {
        404 | 405 if !said => Kind::Upstream,
        _ => kind_of_upstream(status),
    }
}

/// The upstream does not take the operator's key, the key may not do this, or its account is empty.
pub(crate) fn credentials(provider: &str, status: u16, said: &str) -> Error {
    let what = if status == 402 { "wants its account to be paid first" } else { "refused its credentials" };
    Error::new(Kind::Upstream, format!("provider '{provider}' {what} ({status}): {said}")).with_code(CREDENTIALS)
}

/// What a member says, where that is something.
pub(crate) fn words(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.trim().is_empty())
}

/// The beginning of a body that is no error body of `whose` API.
pub(crate) fn quote(body: &[u8], whose: &str) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * QUOTE)]);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.is_empty() {
        return "an empty body".into();
    }
    let short: String = words.chars().take(QUOTE).collect();
    format!("no error body of {whose}: '{short}'")
}
