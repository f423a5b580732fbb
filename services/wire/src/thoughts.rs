//! Signed thoughts of Claude's models, carried through a conversation in the ids of the calls that they led to.
//!
//! Anthropic's API and Amazon Bedrock sign what a model thought before it called a tool, and where thinking is on they
//! refuse the results of a call whose thoughts are missing ("Expected `thinking` or `redacted_thinking`, but found
//! `tool_use`"). OpenAI's wire has no member for them, and clients drop members that they do not know; but every client
//! and every row keeps a call's id. So behind the id of the first call after a thought stands [`SEALED`] and all that
//! was thought before it, as JSON in URL-safe Base64 without padding: letters, digits, `_` and `-`, which every API
//! takes; an id as long as the thoughts. Signatures are the same by both ways to these models (Anthropic's page
//! "Extended thinking"), so a route may go on with either.
//! Invariant: what a server sent goes back to it byte for byte, and no server sees an id that it did not give.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// Between an id and what was thought.
const SEALED: &str = "__thinking__";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Thought {
    /// The text may be empty: the signature then holds all of it.
    Signed { text: String, signature: String },
    /// In Base64, for the model's maker alone.
    Redacted(String),
}

/// The id of a call with what was thought before it.
pub(crate) fn join(id: String, thoughts: &[Thought]) -> String {
    if thoughts.is_empty() {
        return id;
    }
    let wire = |thought: &Thought| match thought {
        Thought::Signed { text, signature } => vec![text.clone(), signature.clone()],
        Thought::Redacted(data) => vec![data.clone()],
    };
    let wire: Vec<Vec<String>> = thoughts.iter().map(wire).collect();
    let json = serde_json::to_vec(&wire).unwrap_or_default();
    format!("{id}{SEALED}{}", URL_SAFE_NO_PAD.encode(json))
}

/// What was joined. An id that only looks like one is taken as it is.
pub(crate) fn split(id: &str) -> (&str, Vec<Thought>) {
    let opened = id.rsplit_once(SEALED).and_then(|(own, sealed)| Some((own, opened(sealed)?)));
    opened.unwrap_or((id, vec![]))
}

fn opened(sealed: &str) -> Option<Vec<Thought>> {
    let json = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    let wire: Vec<Vec<String>> = serde_json::from_slice(&json).ok()?;
    let thought = |wire: Vec<String>| match <[String; 2]>::try_from(wire) {
        Ok([text, signature]) => Some(Thought::Signed { text, signature }),
        Err(wire) => <[String; 1]>::try_from(wire).ok().map(|[data]| Thought::Redacted(data)),
    };
    wire.into_iter().map(thought).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_joined_comes_apart_again() {
        let signed = |text: &str| Thought::Signed { text: text.into(), signature: "EqQB+/w==".into() };
        for thoughts in [
            vec![signed("gr\u{fc}n \"?\""), Thought::Redacted("eA==".into()), signed("")],
            vec![Thought::Redacted(String::new())],
            vec![],
        ] {
            let id = join("toolu_01".into(), &thoughts);
            assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)), "{id}");
            assert_eq!(split(&id), ("toolu_01", thoughts));
        }
    }

    #[test]
    fn an_id_that_only_looks_like_one_is_kept() {
        for id in [
            "",
            "call_1",
            "__thinking__",
            "a__thinking__b",
            "a__thinking__WzFd",
            "a__thought__AAAA",
            "a__thinking__W1siYSIsImIiLCJjIl1d",
        ] {
            assert_eq!(split(id), (id, vec![]));
        }
    }
}
