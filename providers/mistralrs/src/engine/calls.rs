//! Tool calls read from the model's own text, where the engine's reader does not do.
//!
//! The engine ends an answer at the first `<tool_call>` block and cannot force a call. So the text of models that
//! write such blocks, and forced answers, are read here. Invariant: text that does not parse as a call is shown as text,
//! never dropped.

use serde::Deserialize;
use serde_json::Value;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// A call of a tool by the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    /// JSON text of an object.
    pub(crate) arguments: String,
}

/// What one piece of text turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Call(Call),
}

/// A call written as one JSON object with `name` and `arguments` or `parameters`.
pub(crate) fn parse_call(text: &str) -> Option<Call> {
    #[derive(Deserialize)]
    struct Written {
        name: String,
        #[serde(alias = "parameters")]
        arguments: Value,
    }
    let written: Written = serde_json::from_str(text.trim()).ok()?;
    let arguments = match written.arguments {
        Value::String(inner) if serde_json::from_str::<Value>(&inner).is_ok_and(|v| v.is_object()) => inner,
        object @ Value::Object(_) => object.to_string(),
        _ => return None,
    };
    Some(Call { id: call_id(), name: written.name, arguments })
}

/// A fresh id for a call, as clients expect them (`call_` and 24 characters).
pub(crate) fn call_id() -> String {
    format!("call_{}", random_hex())
}

/// 24 random hexadecimal digits.
pub(crate) fn random_hex() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0_u8; 12];
    if getrandom::fill(&mut bytes).is_err() {
        // No entropy source: unique within this process is what is left.
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        bytes[..4].copy_from_slice(&std::process::id().to_be_bytes());
        bytes[4..].copy_from_slice(&count.to_be_bytes());
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a stream of text with any number of `<tool_call>` blocks.
#[derive(Debug, Default)]
pub(crate) struct BlockReader {
    held: String,
    inside: bool,
    called: bool,
}

impl BlockReader {
    /// Takes the next piece of text; returns what is certain now.
    pub(crate) fn push(&mut self, piece: &str) -> Vec<Piece> {
        self.held.push_str(piece);
        let mut out = Vec::new();
        loop {
            let tag = if self.inside { CLOSE } else { OPEN };
            let Some(position) = self.held.find(tag) else { break };
            let after = self.held.split_off(position + tag.len());
            self.held.truncate(position);
            let before = std::mem::replace(&mut self.held, after);
            if self.inside {
                out.push(self.block(before, true));
            } else {
                out.extend(self.shown(before));
            }
            self.inside = !self.inside;
        }
        if !self.inside {
            let keep = (1..OPEN.len()).rev().find(|&length| self.held.ends_with(&OPEN[..length])).unwrap_or(0);
            let tail = self.held.split_off(self.held.len() - keep);
            let sure = std::mem::replace(&mut self.held, tail);
            out.extend(self.shown(sure));
        }
        out
    }

    /// The text is over: an open block is a call if it parses, else text.
    pub(crate) fn finish(&mut self) -> Vec<Piece> {
        let rest = std::mem::take(&mut self.held);
        let piece = if self.inside { Some(self.block(rest, false)) } else { self.shown(rest) };
        self.inside = false;
        piece.into_iter().collect()
    }

    fn block(&mut self, written: String, closed: bool) -> Piece {
        match parse_call(&written) {
            Some(call) => {
                self.called = true;
                Piece::Call(call)
            }
            None => Piece::Text(format!("{OPEN}{written}{}", if closed { CLOSE } else { "" })),
        }
    }

    /// White space between two calls belongs to neither.
    fn shown(&self, text: String) -> Option<Piece> {
        let between = self.called && text.trim().is_empty();
        (!text.is_empty() && !between).then_some(Piece::Text(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&str]) -> Vec<(String, String)> {
        let mut reader = BlockReader::default();
        let mut all: Vec<Piece> = pieces.iter().flat_map(|piece| reader.push(piece)).collect();
        all.extend(reader.finish());
        all.into_iter()
            .map(|piece| match piece {
                Piece::Text(text) => ("text".to_owned(), text),
                Piece::Call(call) => (call.name, call.arguments),
            })
            .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn two_blocks_are_two_calls_however_the_text_is_cut() {
        let text = "Let me see. <tool_call>\n{\"name\":\"a\",\"arguments\":{\"x\":1}}\n</tool_call>\n<tool_call>\n{\"name\":\"b\",\"arguments\":{}}\n</tool_call>";
        let expected = pairs(&[("text", "Let me see. "), ("a", "{\"x\":1}"), ("b", "{}")]);
        assert_eq!(read(&[text]), expected);
        let letters: Vec<String> = text.chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        let mut joined: Vec<(String, String)> = Vec::new();
        for (kind, value) in read(&letters) {
            match joined.last_mut() {
                Some((last, text)) if kind == "text" && last == "text" => text.push_str(&value),
                _ => joined.push((kind, value)),
            }
        }
        assert_eq!(joined, expected);
    }

    #[test]
    fn a_block_that_is_no_call_is_shown() {
        let expected = pairs(&[("text", "<tool_call>not json</tool_call>"), ("text", " after")]);
        assert_eq!(read(&["<tool_call>not json</tool_call> after"]), expected);
        assert_eq!(read(&["a < b <tool"]), pairs(&[("text", "a < b "), ("text", "<tool")]));
    }

    #[test]
    fn an_open_block_at_the_end_counts_if_it_is_whole() {
        let whole = "<tool_call>{\"name\":\"a\",\"parameters\":{}}";
        assert_eq!(read(&[whole]), pairs(&[("a", "{}")]));
        let cut = "<tool_call>{\"name\":\"a\",\"param";
        assert_eq!(read(&[cut]), pairs(&[("text", cut)]));
    }

    #[test]
    fn arguments_in_a_string_are_unwrapped_and_other_shapes_are_no_call() {
        let call = parse_call(r#" {"name":"a","arguments":"{\"x\":1}"} "#).unwrap();
        assert_eq!(call.arguments, "{\"x\":1}");
        assert_eq!(call.id.len(), "call_".len() + 24);
        assert_eq!(parse_call(r#"{"name":"a","arguments":[1]}"#), None);
        assert_eq!(parse_call("hello"), None);
    }
}
