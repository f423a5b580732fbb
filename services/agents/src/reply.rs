//! A model's answer, put together from its events.
//!
//! Models and servers are not always tidy: pieces of a call come in any order, two calls share an index or
//! an id, an id is missing. What comes out is calls with ids of their own.
//!
//! Invariant: nobody listens to an answer any further once it is too long ([`Reply::too_long`]), so it takes no more room
//! than [`MOST_SAID`] and the frame that led beyond it. What is known of tokens is not counted: it goes with the words.

use std::collections::HashSet;

use frontdesk_api::{
    Ids,
    chat::{ChatEvent, FinishReason, ToolCall, Usage},
    turn::TurnError,
};
use serde_json::Value;

use crate::halt::failed;

/// What one answer may say in all, in bytes: text, thoughts and calls. The longest that models are let to write, some
/// 128,000 tokens, is about half a MiB, and three times that in some scripts: one that says more has no end in sight.
const MOST_SAID: usize = 4 << 20;

#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) text: String,
    /// Its words are a refusal. What refuses in the middle of an answer is a part of its words.
    pub(crate) refuses: bool,
    /// What is known of tokens is wanted.
    wants_logprobs: bool,
    /// Of its tokens, those that were not shown yet.
    pub(crate) logprobs: Vec<Value>,
    /// What it thinks beside.
    pub(crate) thoughts: String,
    /// What was signed of it before the first word or call, as its maker takes it back; what comes later rides in the ids of
    /// the calls that it led to, which keep its place.
    pub(crate) signed: Vec<Value>,
    pub(crate) usage: Usage,
    /// What it cost, in nano-USD; None while that is not known, and where its model has no price.
    pub(crate) cost: Option<i64>,
    /// None while the answer has not ended.
    pub(crate) finish: Option<FinishReason>,
    calls: Vec<Written>,
    /// What it said so far, in bytes.
    said: usize,
}

/// A call as it is being written.
#[derive(Debug)]
struct Written {
    index: u32,
    /// Its id is the one that the model gave it.
    call: ToolCall,
    /// The id it has here, once it was begun to be shown.
    id: Option<String>,
}

impl Reply {
    /// `logprobs`: what is known of tokens is to be kept.
    pub(crate) fn wanting(logprobs: bool) -> Self {
        Self { wants_logprobs: logprobs, ..Self::default() }
    }

    /// Takes the next event. Agents ask for one candidate; others are not looked at.
    pub(crate) fn take(&mut self, event: ChatEvent) {
        match event {
            ChatEvent::Text { choice: 0, text } => {
                self.said += text.len();
                self.text.push_str(&text);
            }
            ChatEvent::Refusal { choice: 0, text } => {
                self.refuses |= self.text.trim().is_empty() && !text.is_empty();
                self.said += text.len();
                self.text.push_str(&text);
            }
            ChatEvent::Reasoning { choice: 0, text } => {
                self.said += text.len();
                self.thoughts.push_str(&text);
            }
            ChatEvent::ToolCall { choice: 0, index, id, name, arguments } => self.piece(index, id, name, &arguments),
            ChatEvent::Signed { choice: 0, block } if self.text.trim().is_empty() && self.calls.is_empty() => {
                self.said += block.to_string().len();
                self.signed.push(block);
            }
            ChatEvent::Logprobs { choice: 0, mut value } if self.wants_logprobs => {
                if let Some(Value::Array(tokens)) = value.get_mut("content").map(Value::take) {
                    self.logprobs.extend(tokens);
                }
            }
            ChatEvent::Finish { choice: 0, reason } => self.finish = Some(reason),
            // Counts are totals so far: the last one stands.
            ChatEvent::Usage(usage) => self.usage = usage,
            _ => {}
        }
    }

    fn piece(&mut self, index: u32, id: Option<String>, name: Option<String>, arguments: &str) {
        let id = id.filter(|id| !id.is_empty());
        // Another id under the same index is another call.
        let same = |w: &&mut Written| {
            w.index == index && (w.call.id.is_empty() || id.as_ref().is_none_or(|id| *id == w.call.id))
        };
        let written = match self.calls.iter_mut().rev().find(same) {
            Some(written) => written,
            None => {
                // Also one that says nothing takes room.
                self.said += size_of::<Written>();
                self.calls.push(Written { index, call: ToolCall::default(), id: None });
                let last = self.calls.len() - 1;
                &mut self.calls[last]
            }
        };
        // Some servers send both again with every piece.
        if let Some(id) = id.filter(|_| written.call.id.is_empty()) {
            self.said += id.len();
            written.call.id = id;
        }
        if let Some(name) = name.filter(|_| written.call.name.is_empty()) {
            self.said += name.len();
            written.call.name = name;
        }
        self.said += arguments.len();
        written.call.arguments.push_str(arguments);
    }

    /// Why it is listened to no further: it said more than any answer may.
    pub(crate) fn too_long(&self) -> Option<TurnError> {
        (self.said > MOST_SAID).then(|| {
            let most = MOST_SAID >> 20;
            let message =
                format!("the model said more than {most} MiB in one answer and was stopped: it seems to loop");
            failed("answer_too_long", message)
        })
    }

    /// The calls in the order they were begun. An id that is missing or `used` (within the conversation)
    /// is replaced by one of ours: results are matched by it.
    pub(crate) fn calls(&mut self, used: &mut HashSet<String>, ids: &dyn Ids) -> Vec<ToolCall> {
        let mut calls = vec![];
        for Written { call, id, .. } in self.calls.drain(..) {
            let id = id.unwrap_or_else(|| settle(&call.id, used, ids));
            calls.push(ToolCall { id, ..call });
        }
        calls
    }

    /// How many bytes of calls there are by now.
    pub(crate) fn written(&self) -> usize {
        self.calls.iter().map(|written| written.call.name.len() + written.call.arguments.len()).sum()
    }

    /// Begins the call of this place, with no arguments yet: its id is settled as [`Reply::calls`] has it. None while there
    /// is none, or nobody knows what it calls.
    pub(crate) fn begin(&mut self, n: usize, used: &mut HashSet<String>, ids: &dyn Ids) -> Option<ToolCall> {
        let written = self.calls.get_mut(n).filter(|written| !written.call.name.is_empty())?;
        let id = written.id.get_or_insert_with(|| settle(&written.call.id, used, ids)).clone();
        Some(ToolCall { id, name: written.call.name.clone(), arguments: String::new() })
    }

    /// What the call of this place calls; None while nobody knows.
    pub(crate) fn named(&self, n: usize) -> Option<&str> {
        self.calls.get(n).map(|written| written.call.name.as_str()).filter(|name| !name.is_empty())
    }

    /// The arguments of the call of this place, as far as they are written.
    pub(crate) fn arguments(&self, n: usize) -> &str {
        self.calls.get(n).map_or("", |written| &written.call.arguments)
    }

    /// The reason as one word.
    pub(crate) fn finish_word(&self) -> String {
        match &self.finish {
            Some(FinishReason::Stop) => "stop".into(),
            Some(FinishReason::Length) => "length".into(),
            Some(FinishReason::ToolCalls) => "tool_calls".into(),
            Some(FinishReason::ContentFilter) => "content_filter".into(),
            Some(FinishReason::Other(word)) => word.clone(),
            None => String::new(),
        }
    }
}

/// The id of a call in its conversation.
fn settle(id: &str, used: &mut HashSet<String>, ids: &dyn Ids) -> String {
    let id = if id.is_empty() || used.contains(id) { ids.next("call") } else { id.to_owned() };
    used.insert(id.clone());
    id
}

#[cfg(test)]
mod tests {
    use frontdesk_api::id::CountingIds;

    use super::*;

    fn piece(index: u32, id: &str, name: &str, arguments: &str) -> ChatEvent {
        let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
        ChatEvent::ToolCall { choice: 0, index, id: some(id), name: some(name), arguments: arguments.into() }
    }

    fn calls(pieces: Vec<ChatEvent>, used: &[&str]) -> Vec<(String, String, String)> {
        let mut reply = Reply::default();
        pieces.into_iter().for_each(|p| reply.take(p));
        let mut used = used.iter().map(|s| (*s).to_owned()).collect();
        reply.calls(&mut used, &CountingIds::default()).into_iter().map(|c| (c.id, c.name, c.arguments)).collect()
    }

    fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
        (id.into(), name.into(), arguments.into())
    }

    #[test]
    fn pieces_of_two_calls_that_cross_are_told_apart() {
        let pieces = vec![
            piece(0, "a", "look", ""),
            piece(1, "b", "send", "{"),
            piece(0, "", "", "{\"x\":"),
            piece(1, "", "", "}"),
            piece(0, "", "", "1}"),
        ];
        assert_eq!(calls(pieces, &[]), [call("a", "look", "{\"x\":1}"), call("b", "send", "{}")]);
    }

    #[test]
    fn two_ids_under_one_index_are_two_calls() {
        let pieces = vec![piece(0, "a", "look", "{}"), piece(0, "b", "send", "{}")];
        assert_eq!(calls(pieces, &[]), [call("a", "look", "{}"), call("b", "send", "{}")]);
    }

    #[test]
    fn a_call_that_was_begun_keeps_its_id_whatever_comes_behind_it() {
        let (mut reply, ids) = (Reply::default(), CountingIds::default());
        let mut used: HashSet<String> = ["old".to_owned()].into();
        reply.take(piece(0, "", "", ""));
        assert_eq!(reply.begin(0, &mut used, &ids), None, "nobody knows what it calls");
        for (n, id) in [(0, ""), (1, "old"), (2, "new")] {
            reply.take(piece(n, id, "look", "{"));
        }
        let begun: Vec<String> = (0..3).filter_map(|n| reply.begin(n, &mut used, &ids)).map(|call| call.id).collect();
        assert_eq!((begun.len(), begun[2].as_str(), reply.arguments(1)), (3, "new", "{"));
        assert_eq!(begun[0], reply.begin(0, &mut used, &ids).expect("again").id);
        reply.take(piece(0, "late", "", "}"));
        let calls = reply.calls(&mut used, &ids);
        assert_eq!(calls.iter().map(|call| call.id.clone()).collect::<Vec<_>>(), begun);
        assert_eq!(calls[0].arguments, "{}");
    }

    #[test]
    fn a_refusal_is_one_where_nothing_was_said_before_it() {
        let says = |text: &str| ChatEvent::Text { choice: 0, text: text.into() };
        let refuses = |text: &str| ChatEvent::Refusal { choice: 0, text: text.into() };
        for (events, want) in [
            (vec![says(""), refuses("I "), refuses("will not.")], true),
            (vec![says("I "), refuses("will not.")], false),
            (vec![refuses(""), says("I will not.")], false),
        ] {
            let mut reply = Reply::default();
            events.into_iter().for_each(|event| reply.take(event));
            assert_eq!((reply.refuses, reply.text.as_str()), (want, "I will not."));
        }
    }

    #[test]
    fn all_that_is_said_counts_and_what_comes_again_with_every_piece_counts_once() {
        let (mut reply, half) = (Reply::default(), "x".repeat(MOST_SAID / 2));
        reply.take(ChatEvent::Text { choice: 0, text: half.clone() });
        reply.take(ChatEvent::Reasoning { choice: 0, text: half });
        assert_eq!(reply.too_long(), None);
        reply.take(piece(0, "", "", ""));
        assert_eq!(reply.too_long().map(|error| error.code).as_deref(), Some("answer_too_long"));

        let mut reply = Reply::default();
        let (id, name) = ("c".repeat(MOST_SAID / 100), "n".repeat(MOST_SAID / 100));
        for _ in 0..100 {
            reply.take(piece(0, &id, &name, "x"));
        }
        assert_eq!(reply.too_long(), None);
        reply.take(piece(0, "", "", &"x".repeat(MOST_SAID)));
        assert!(reply.too_long().is_some());
    }

    #[test]
    fn missing_and_repeated_ids_are_replaced() {
        let pieces = vec![
            piece(0, "a", "look", "1"),
            piece(1, "a", "look", "2"),
            piece(2, "", "look", "3"),
            piece(3, "old", "look", "4"),
        ];
        let calls = calls(pieces, &["old"]);
        assert_eq!(calls[0].0, "a");
        let ids: HashSet<&str> = calls.iter().map(|c| c.0.as_str()).collect();
        assert_eq!(ids.len(), 4, "{ids:?}");
        assert!(!ids.contains("old"));
        assert_eq!(calls.iter().map(|c| c.2.as_str()).collect::<Vec<_>>(), ["1", "2", "3", "4"]);
    }
}
