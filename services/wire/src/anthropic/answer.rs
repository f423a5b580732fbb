//! A chat's events put together as a Messages answer, for a provider that answers in another dialect.
//!
//! Anthropic's content is a row of blocks, one after the other; the events of other APIs have no blocks, and pieces
//! of two tool calls may come mixed. Here they are sorted into blocks; `stream` shows them as they grow, `whole` at
//! once. Only candidate 0 is read: this API has one. What it has no member for (logprobs, annotations) is left out.
//! Source of the shapes: Anthropic's API reference, "Messages", and the types of the official SDK.

use std::collections::VecDeque;

use frontdesk_api::{
    ChatEvent,
    chat::{FinishReason, Usage},
};
use serde_json::{Map, Value, json};

use crate::openai::answer::STOP_SEQUENCE;

/// An answer as far as it has come.
#[derive(Debug)]
pub struct Answer {
    pub(super) id: String,
    pub(super) model: String,
    /// Those that were not shown to their end; all of them where nothing is streamed.
    pub(super) blocks: VecDeque<Block>,
    pub(super) usage: Usage,
    finish: Option<FinishReason>,
    stop_sequence: Option<String>,
    /// What the house says beside the answer, which has no member in this API.
    beside: Option<Value>,
    called: bool,
    refused: bool,
}

#[derive(Debug)]
pub(super) struct Block {
    pub(super) kind: Kind,
    /// The words so far; of a call its arguments, as the model wrote them.
    pub(super) text: String,
}

#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    Text,
    Thinking,
    Call { index: u32, id: Option<String>, name: String },
}

impl Answer {
    /// `id` and `model` stand in where the provider names none.
    #[must_use]
    pub fn new(id: String, model: String) -> Self {
        Self {
            id,
            model,
            blocks: VecDeque::new(),
            usage: Usage::default(),
            finish: None,
            stop_sequence: None,
            beside: None,
            called: false,
            refused: false,
        }
    }

    /// Takes the next event.
    pub fn push(&mut self, event: ChatEvent) {
        match event {
            ChatEvent::Start { id, model, .. } => {
                let named = |given: String, own: &mut String| {
                    if !given.is_empty() {
                        *own = given;
                    }
                };
                named(id, &mut self.id);
                named(model, &mut self.model);
            }
            ChatEvent::Text { choice: 0, text } => self.words(Kind::Text, &text),
            ChatEvent::Reasoning { choice: 0, text } => self.words(Kind::Thinking, &text),
            ChatEvent::Refusal { choice: 0, text } => {
                self.refused = true;
                self.words(Kind::Text, &text);
            }
            ChatEvent::ToolCall { choice: 0, index, id, name, arguments } => self.call(index, id, name, &arguments),
            ChatEvent::Finish { choice: 0, reason } => self.finish = Some(reason),
            // Counts are totals so far: the last one stands.
            ChatEvent::Usage(usage) => self.usage = usage,
            ChatEvent::Extra(mut more) => {
                if let Some(Value::String(stop)) = more.remove(STOP_SEQUENCE) {
                    self.stop_sequence = Some(stop);
                }
                self.beside = more.remove(BESIDE).or(self.beside.take());
            }
            _ => {}
        }
    }

    fn words(&mut self, kind: Kind, text: &str) {
        match self.blocks.back_mut() {
            Some(last) if last.kind == kind => last.text.push_str(text),
            _ => self.blocks.push_back(Block { kind, text: text.to_owned() }),
        }
    }

    fn call(&mut self, of: u32, given: Option<String>, called: Option<String>, arguments: &str) {
        self.called = true;
        let found = self.blocks.iter_mut().rev().find_map(|block| match &mut block.kind {
            // Another id under the same index is another call.
            Kind::Call { index, id, name } if *index == of && (id.is_none() || given.is_none() || *id == given) => {
                Some((id, name, &mut block.text))
            }
            _ => None,
        });
        match found {
            Some((id, name, text)) => {
                if id.is_none() {
                    *id = given;
                }
                if name.is_empty() {
                    *name = called.unwrap_or_default();
                }
                text.push_str(arguments);
            }
            // The rest of a call that was complete and shown: nothing can be added to it.
            None if given.is_none() && called.is_none() => {}
            None => {
                let kind = Kind::Call { index: of, id: given, name: called.unwrap_or_default() };
                self.blocks.push_back(Block { kind, text: arguments.to_owned() });
            }
        }
    }

    /// The `Message` object, as JSON.
    #[must_use]
    pub fn whole(self) -> Vec<u8> {
        let content: Vec<Value> = self.blocks.iter().map(|block| block.whole(&self.id)).collect();
        let mut message = json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": self.stop_reason(),
            "stop_sequence": self.stop_sequence,
            "usage": usage(&self.usage),
        });
        self.stand_beside(&mut message);
        message.to_string().into_bytes()
    }

    /// Puts what the house says beside the answer into an object of the wire.
    pub(super) fn stand_beside(&self, object: &mut Value) {
        if let Some(beside) = &self.beside {
            object[BESIDE] = beside.clone();
        }
    }

    /// Why the answer ended, in Anthropic's words.
    pub(super) fn stop_reason(&self) -> &str {
        match &self.finish {
            _ if self.refused => "refusal",
            Some(FinishReason::ContentFilter) => "refusal",
            Some(FinishReason::Length) => "max_tokens",
            Some(FinishReason::Other(own)) if OWN.contains(&own.as_str()) => own,
            // Some servers say "stop" behind a call; a client looks here for whether to run its tools.
            _ if self.called => "tool_use",
            _ if self.stop_sequence.is_some() => "stop_sequence",
            _ => "end_turn",
        }
    }

    pub(super) fn stop_sequence(&self) -> Option<&str> {
        self.stop_sequence.as_deref()
    }
}

/// The member for what an agent's answer has beyond any model's.
const BESIDE: &str = "frontdesk";

/// Stop reasons of Anthropic's that the house has no word for; a provider may pass them on.
const OWN: [&str; 2] = ["pause_turn", "model_context_window_exceeded"];

impl Block {
    /// As it begins in a stream: without its words.
    pub(super) fn empty(&self, message: &str) -> Value {
        match &self.kind {
            Kind::Text => json!({ "type": "text", "text": "" }),
            // Nothing is signed here: a signature proves that Anthropic's model wrote the thought.
            Kind::Thinking => json!({ "type": "thinking", "thinking": "", "signature": "" }),
            Kind::Call { index, id, name } => {
                let id = id.clone().unwrap_or_else(|| call_id(message, *index));
                json!({ "type": "tool_use", "id": id, "name": name, "input": {} })
            }
        }
    }

    fn whole(&self, message: &str) -> Value {
        let mut out = self.empty(message);
        match &self.kind {
            Kind::Text => out["text"] = self.text.as_str().into(),
            Kind::Thinking => out["thinking"] = self.text.as_str().into(),
            Kind::Call { .. } => out["input"] = input(&self.text),
        }
        out
    }

    /// Whether nothing can come for it any more once another block was begun.
    pub(super) fn complete(&self) -> bool {
        match self.kind {
            Kind::Text | Kind::Thinking => true,
            Kind::Call { .. } => serde_json::from_str::<serde::de::IgnoredAny>(&self.text).is_ok(),
        }
    }
}

/// An id for a call that came without one; results are matched by it. `^[a-zA-Z0-9_-]+$`, as the API wants.
fn call_id(message: &str, index: u32) -> String {
    let letters: String = message.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect();
    format!("toolu_{letters}_{index}")
}

/// The arguments as an object. What is none is kept as text under the name that Anthropic's documentation gives it
/// ("Fine-grained tool streaming").
fn input(arguments: &str) -> Value {
    match serde_json::from_str(arguments) {
        Ok(Value::Object(input)) => Value::Object(input),
        Ok(Value::Null) => Value::Object(Map::new()),
        _ if arguments.trim().is_empty() => Value::Object(Map::new()),
        _ => json!({ "INVALID_JSON": arguments }),
    }
}

/// Anthropic counts input beside what was read from the cache or written into it, the house counts it with it. Zeros where the provider
/// reports nothing: the members are required.
pub(super) fn usage(usage: &Usage) -> Value {
    let mut out = json!({
        "input_tokens": usage.input_tokens.saturating_sub(usage.cached_input_tokens).saturating_sub(usage.cache_write_tokens),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
    });
    if usage.reasoning_tokens > 0 {
        out["output_tokens_details"] = json!({ "thinking_tokens": usage.reasoning_tokens });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(index: u32, id: Option<&str>, name: Option<&str>, arguments: &str) -> ChatEvent {
        let own = |text: Option<&str>| text.map(str::to_owned);
        ChatEvent::ToolCall { choice: 0, index, id: own(id), name: own(name), arguments: arguments.into() }
    }

    fn finish(reason: FinishReason) -> ChatEvent {
        ChatEvent::Finish { choice: 0, reason }
    }

    fn whole(events: Vec<ChatEvent>) -> Value {
        let mut answer = Answer::new("msg_1".into(), "up/m".into());
        events.into_iter().for_each(|event| answer.push(event));
        serde_json::from_slice(&answer.whole()).expect("JSON")
    }

    #[test]
    fn a_whole_answer_has_its_blocks_in_order() {
        let events = vec![
            ChatEvent::Start { id: "c-1".into(), model: "m".into(), created: 3 },
            ChatEvent::Reasoning { choice: 0, text: "Two ".into() },
            ChatEvent::Reasoning { choice: 0, text: "calls.".into() },
            ChatEvent::Text { choice: 0, text: "I look.".into() },
            ChatEvent::Text { choice: 1, text: "not this one".into() },
            call(0, Some("a"), Some("f"), r#"{"x":1}"#),
            call(1, None, Some("g"), ""),
            finish(FinishReason::ToolCalls),
            ChatEvent::Usage(Usage {
                input_tokens: 9,
                output_tokens: 5,
                cached_input_tokens: 4,
                cache_write_tokens: 3,
                reasoning_tokens: 2,
                ..Usage::default()
            }),
        ];
        let want = json!({
            "id": "c-1", "type": "message", "role": "assistant", "model": "m",
            "content": [
                { "type": "thinking", "thinking": "Two calls.", "signature": "" },
                { "type": "text", "text": "I look." },
                { "type": "tool_use", "id": "a", "name": "f", "input": { "x": 1 } },
                { "type": "tool_use", "id": "toolu_c-1_1", "name": "g", "input": {} },
            ],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {
                "input_tokens": 2, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 5,
                "output_tokens_details": { "thinking_tokens": 2 },
            },
        });
        assert_eq!(whole(events), want);
    }

    #[test]
    fn pieces_of_calls_that_come_mixed_are_sorted() {
        let events = vec![
            call(0, Some("a"), Some("f"), ""),
            call(1, Some("b"), Some("g"), r#"{"y""#),
            call(0, None, None, r#"{"x":"#),
            call(1, None, None, ":2}"),
            call(0, None, None, "1}"),
            call(1, Some("c"), Some("g"), "nonsense"),
        ];
        let content = whole(events)["content"].clone();
        assert_eq!((&content[0]["id"], &content[0]["input"]), (&json!("a"), &json!({ "x": 1 })));
        assert_eq!((&content[1]["id"], &content[1]["input"]), (&json!("b"), &json!({ "y": 2 })));
        assert_eq!((&content[2]["id"], &content[2]["input"]), (&json!("c"), &json!({ "INVALID_JSON": "nonsense" })));
    }

    #[test]
    fn every_end_has_its_stop_reason() {
        let text = || ChatEvent::Text { choice: 0, text: "x".into() };
        let stopped = || ChatEvent::Extra([(STOP_SEQUENCE.to_owned(), json!("END"))].into_iter().collect());
        for (events, reason) in [
            (vec![text(), finish(FinishReason::Stop)], "end_turn"),
            (vec![text(), stopped(), finish(FinishReason::Stop)], "stop_sequence"),
            (vec![text(), finish(FinishReason::Length)], "max_tokens"),
            (vec![call(0, Some("a"), Some("f"), "{}"), finish(FinishReason::Stop)], "tool_use"),
            (vec![call(0, Some("a"), Some("f"), "{"), finish(FinishReason::Length)], "max_tokens"),
            (vec![finish(FinishReason::ContentFilter)], "refusal"),
            (vec![ChatEvent::Refusal { choice: 0, text: "no".into() }, finish(FinishReason::Stop)], "refusal"),
            (vec![text(), finish(FinishReason::Other("pause_turn".into()))], "pause_turn"),
            (vec![text(), finish(FinishReason::Other("eos_token".into()))], "end_turn"),
            (vec![text()], "end_turn"),
        ] {
            let said = whole(events.clone());
            assert_eq!(said["stop_reason"], reason, "{events:?}");
            assert_eq!(said["stop_sequence"], if reason == "stop_sequence" { json!("END") } else { Value::Null });
        }
    }

    #[test]
    fn what_an_agent_says_beside_its_answer_is_a_member_of_its_own() {
        let mut answer = Answer::new("msg_1".into(), "agent/shop".into());
        let more = json!({ "frontdesk": { "hand_off": { "reason": "customer_request" } }, "x": 1 });
        let Value::Object(more) = more else { panic!("an object") };
        answer.push(ChatEvent::Extra(more));
        let message: Value = serde_json::from_slice(&answer.whole()).expect("JSON");
        assert_eq!(message["frontdesk"]["hand_off"]["reason"], "customer_request");
        assert!(message.get("x").is_none());
    }
}
