//! Signed thoughts of Claude's models, carried through a conversation in the ids of the calls that they led to.
//!
//! Anthropic's API and Amazon Bedrock sign what a model thought before it called a tool, and where thinking is on they
//! refuse the results of a call whose thoughts are missing ("Expected `thinking` or `redacted_thinking`, but found
//! `tool_use`"). OpenAI's wire has no member for them, and clients drop members that they do not know; but every client
//! and every row keeps a call's id. So behind the id of the first call after a thought stands `SEALED` and all that
//! was thought before it, as JSON in URL-safe Base64 without padding: letters, digits, `_` and `-`, which every API
//! takes; an id as long as the thoughts. Signatures are the same by both ways to these models (Anthropic's page
//! "Extended thinking"), so a route may go on with either.
//! Gemini's calls carry a signature the same way (`gemini/calls.rs`), which no other maker's models know.
//! Invariant: what a server sent goes back to it byte for byte, and no server sees an id that it did not give.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use frontdesk_api::{ChatEvent, chat::Part};
use memchr::memmem;
use serde_json::{Value, json};

/// Between an id and what Gemini signed. LiteLLM joins them with the same word.
pub(crate) const SIGNED: &str = "__thought__";

/// Between an id and what was thought.
const SEALED: &str = "__thinking__";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Thought {
    /// The text may be empty: the signature then holds all of it.
    Signed { text: String, signature: String },
    /// In Base64, for the model's maker alone.
    Redacted(String),
}

impl Thought {
    /// As a block of Anthropic's Messages.
    pub(crate) fn block(self) -> Value {
        match self {
            Self::Signed { text, signature } => {
                json!({ "type": "thinking", "thinking": text, "signature": signature })
            }
            Self::Redacted(data) => json!({ "type": "redacted_thinking", "data": data }),
        }
    }

    /// The event of one that has ended; None for one that nobody signed, which proves nothing.
    pub(crate) fn event(&self) -> Option<ChatEvent> {
        let unsigned = matches!(self, Self::Signed { signature, .. } if signature.is_empty());
        (!unsigned).then(|| ChatEvent::Signed { choice: 0, block: self.clone().block() })
    }
}

/// Whether a part is a thought, which only its maker's servers know.
pub(crate) fn is_thought(part: &Part) -> bool {
    matches!(part, Part::Other(wire) if matches!(wire["type"].as_str(), Some("thinking" | "redacted_thinking")))
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

/// What was joined, without what Gemini signed. An id that only looks like one is taken as it is.
pub(crate) fn split(id: &str) -> (&str, Vec<Thought>) {
    let (own, thoughts) = unsealed(id);
    (unsigned(own), thoughts)
}

/// What was joined; what Gemini signed stays with the id.
pub(crate) fn unsealed(id: &str) -> (&str, Vec<Thought>) {
    let opened = id.rsplit_once(SEALED).and_then(|(own, sealed)| Some((own, opened(sealed)?)));
    opened.unwrap_or((id, vec![]))
}

fn unsigned(id: &str) -> &str {
    let base64 = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    id.split_once(SIGNED).filter(|(own, signature)| !own.is_empty() && base64(signature)).map_or(id, |(own, _)| own)
}

/// A client's body with the ids alone, where calls in it carry thoughts: servers of OpenAI's dialect know none, and
/// OpenAI's own take ids of at most 40 characters. Every other byte stays; a body without such ids is given back.
#[must_use]
pub fn without(body: &Bytes) -> Bytes {
    let mut out = Vec::new();
    // What is copied, and what was looked at: no text is looked at twice, however many marks are in it.
    let (mut from, mut seen) = (0, 0);
    // Both marks begin with it.
    for mark in memmem::find_iter(body, b"__th") {
        if mark < seen {
            continue;
        }
        let before = seen;
        seen = mark;
        let quote = body[before..mark].iter().rposition(|b| *b == b'"');
        let Some(start) = quote.map(|quote| before + quote + 1) else { continue };
        let Some(length) = body[mark..].iter().position(|b| *b == b'"').map(|end| mark - start + end) else { break };
        seen = start + length;
        let own = |id| Some(split(id).0).filter(|own| own.len() < length);
        let Some(own) = std::str::from_utf8(&body[start..start + length]).ok().and_then(own) else { continue };
        if !names_a_call(&body[..start - 1]) {
            continue;
        }
        out.extend_from_slice(&body[from..start]);
        out.extend_from_slice(own.as_bytes());
        from = start + length;
    }
    if from == 0 {
        return body.clone();
    }
    out.extend_from_slice(&body[from..]);
    Bytes::from(out)
}

/// Whether what follows is the value of a member that holds a call's id. Inside a text its quotation marks would be
/// escaped.
fn names_a_call(before: &[u8]) -> bool {
    let Some(name) = before.trim_ascii_end().strip_suffix(b":") else { return false };
    let name = name.trim_ascii_end();
    [&br#""id""#[..], br#""tool_call_id""#].iter().any(|member| name.ends_with(member))
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
            "a__thought__",
            "a__thought__+",
            "__thought__AAAA",
            "a__thinking__W1siYSIsImIiLCJjIl1d",
        ] {
            assert_eq!(split(id), (id, vec![]));
        }
    }

    #[test]
    fn what_gemini_signed_is_for_gemini_alone() {
        assert_eq!(split("fdcall_01_0__thought__Ea-_AA"), ("fdcall_01_0", vec![]));
        assert_eq!(unsealed("c1__thought__AAAA"), ("c1__thought__AAAA", vec![]));
        let both = join("c1__thought__AAAA".into(), &[Thought::Redacted("eA==".into())]);
        assert_eq!(split(&both), ("c1", vec![Thought::Redacted("eA==".into())]));
    }

    #[test]
    fn a_body_loses_what_its_ids_carry_and_no_other_byte() {
        let sealed = join("toolu_1".into(), &[Thought::Signed { text: "x".repeat(99), signature: "s".into() }]);
        let body = |sealed: &str, signed: &str| {
            format!(
                r#"{{ "messages" : [{{"tool_calls":[{{"id" : "{sealed}"}},{{"id":"{signed}","x":1.50}}]}},{{"tool_call_id":"{sealed}","content":"{{\"id\":\"c1__thought__AAAA\"}}"}},{{"content":"c1__thought__AAAA"}},{{"id":"a__thinking__b"}}]}}"#
            )
        };
        let sent = Bytes::from(body(&sealed, "c1__thought__AAAA"));
        assert_eq!(without(&sent), body("toolu_1", "c1"));
        let plain = Bytes::from_static(br#"{"messages":[{"content":"__thinking__"}], "id":"__th"#);
        assert_eq!(without(&plain).as_ptr(), plain.as_ptr(), "not even copied");
    }

    #[test]
    fn a_text_full_of_marks_is_looked_at_once() {
        // Looked at anew at every mark it would take hours.
        let text = "__th".repeat(500_000);
        let sent = Bytes::from(format!(r#"{{"content":"{text}","tool_call_id":"c1__thought__c2ln"}}"#));
        assert!(without(&sent).ends_with(br#","tool_call_id":"c1"}"#));
        let bare = Bytes::from(text);
        assert_eq!(without(&bare), bare, "without a quotation mark");
    }
}
