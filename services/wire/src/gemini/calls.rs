//! What the id of a tool call carries through a conversation.
//!
//! Gemini signs its calls (`thoughtSignature`), and since Gemini 3 it refuses a conversation in which the signature of
//! a call is missing. No other wire has a member for it, but every client and every row keeps a call's id. So an id is
//!
//! - Gemini's own, or one of ours that begins with [`MADE`] where Gemini gave none;
//! - behind it, where the call was signed, `__thought__` and the signature in URL-safe Base64 without padding.
//!
//! Letters, digits, `_` and `-` are all there is in it, which every API takes; its length is the signature's.
//! Invariant: what Gemini sent goes back to it byte for byte, and an id of ours never does.

use crate::thoughts::{self, SIGNED};

/// What ids begin with that were made here.
pub const MADE: &str = "fdcall";

/// What Google's page "Thought signatures" names for calls that no Gemini model made: it turns the check off.
pub(super) const UNSIGNED: &str = "skip_thought_signature_validator";

/// The id as the conversation keeps it. `made`: what stands for an id that Gemini did not give.
pub(super) fn join(own: Option<&str>, made: &str, signature: Option<&str>) -> String {
    let id = own.filter(|id| !id.is_empty()).unwrap_or(made);
    match signature.filter(|signature| !signature.is_empty()) {
        Some(signature) => format!("{id}{SIGNED}{}", url_safe(signature)),
        None => id.to_owned(),
    }
}

/// What was joined: Gemini's own id, and the signature.
pub(super) fn split(id: &str) -> (Option<&str>, Option<String>) {
    // Another maker's thoughts mean nothing here.
    let id = thoughts::unsealed(id).0;
    let (own, signature) = match id.split_once(SIGNED) {
        Some((own, signature)) => (own, Some(standard(signature))),
        None => (id, None),
    };
    let ours = own.strip_prefix(MADE).is_some_and(|rest| rest.starts_with('_'));
    (Some(own).filter(|own| !ours && !own.is_empty()), signature)
}

fn url_safe(base64: &str) -> String {
    let kept = base64.chars().filter(|c| *c != '=');
    kept.map(|c| match c {
        '+' => '-',
        '/' => '_',
        other => other,
    })
    .collect()
}

fn standard(url_safe: &str) -> String {
    let mut out: String = url_safe
        .chars()
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    while !out.len().is_multiple_of(4) {
        out.push('=');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_joined_comes_apart_again() {
        for (own, signature) in [
            (Some("c1"), Some("Ea+/AA==")),
            (Some("c1"), None),
            (None, Some("AAAA")),
            (None, None),
            (Some(""), Some("")),
        ] {
            let id = join(own, "fdcall_01_0", signature);
            assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)), "{id}");
            let given = own.filter(|id| !id.is_empty());
            let signed = signature.filter(|s| !s.is_empty()).map(str::to_owned);
            assert_eq!(split(&id), (given, signed));
        }
    }

    #[test]
    fn an_id_of_another_model_is_kept() {
        assert_eq!(split("call_abc"), (Some("call_abc"), None));
        assert_eq!(split("fdcallers"), (Some("fdcallers"), None));
        assert_eq!(split(""), (None, None));
    }
}
