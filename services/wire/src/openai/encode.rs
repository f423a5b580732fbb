//! Events of a provider that speaks another dialect, written as OpenAI's answer: whole, or chunk by chunk.
//!
//! Invariant: what is written here, `answer.rs` reads back as the same events, with usage last and once.
//! Source of the shapes: OpenAI's API reference, "The chat completion object" and "… chunk object";
//! `reasoning_content` as DeepSeek, vLLM and llama.cpp write it.

use std::collections::BTreeMap;

use bytes::Bytes;
use frontdesk_api::{
    ChatEvent, Error,
    chat::{Dialect, FinishReason, Usage},
};
use serde_json::{Map, Value, json};

use crate::{Writes, sse, status};

/// What an answer says of itself where its provider does not.
#[derive(Debug, Clone)]
pub struct Head {
    pub id: String,
    pub model: String,
    /// Unix seconds.
    pub created: i64,
}

impl Head {
    /// The provider's own words win.
    pub(super) fn learn(&mut self, id: &str, model: &str, created: i64) {
        if !id.is_empty() {
            id.clone_into(&mut self.id);
        }
        if !model.is_empty() {
            model.clone_into(&mut self.model);
        }
        if created != 0 {
            self.created = created;
        }
    }

    pub(super) fn object(&self, kind: &str, choices: Vec<Value>) -> Map<String, Value> {
        Map::from_iter([
            ("id".to_owned(), json!(self.id)),
            ("object".to_owned(), json!(kind)),
            ("created".to_owned(), json!(self.created)),
            ("model".to_owned(), json!(self.model)),
            ("choices".to_owned(), choices.into()),
        ])
    }
}

/// Writes one chat completion.
#[derive(Debug)]
pub struct Chunks {
    head: Head,
    wants_usage: bool,
    /// Choices that have had their first chunk, which names the role.
    begun: Vec<u32>,
    usage: Option<Usage>,
    /// Members for the next chunk or the usage: a chunk of their own, without a choice, would surprise clients.
    extra: Map<String, Value>,
}

impl Chunks {
    /// `wants_usage`: whether the client asked for the usage chunk (`stream_options.include_usage`).
    #[must_use]
    pub fn new(head: Head, wants_usage: bool) -> Self {
        Self { head, wants_usage, begun: vec![], usage: None, extra: Map::new() }
    }

    fn chunk(&mut self, choice: u32, delta: Value, out: &mut String) {
        self.write(choice, delta, Value::Null, None, out);
    }

    fn write(
        &mut self,
        choice: u32,
        mut delta: Value,
        logprobs: Value,
        finish: Option<&FinishReason>,
        out: &mut String,
    ) {
        if !self.begun.contains(&choice) {
            self.begun.push(choice);
            delta["role"] = "assistant".into();
        }
        let mut choice = json!({ "index": choice, "delta": delta, "logprobs": logprobs });
        finished(&mut choice, finish);
        let mut chunk = self.head.object(CHUNK, vec![choice]);
        if self.wants_usage {
            chunk.insert("usage".into(), Value::Null);
        }
        for (name, value) in std::mem::take(&mut self.extra) {
            chunk.entry(name).or_insert(value);
        }
        out.push_str("data: ");
        out.push_str(&Value::Object(chunk).to_string());
        out.push_str("\n\n");
    }
}

impl Writes for Chunks {
    const DIALECT: Dialect = Dialect::OpenaiChat;

    fn push(&mut self, events: Vec<ChatEvent>) -> Bytes {
        let mut out = String::new();
        for event in events {
            match event {
                ChatEvent::Start { id, model, created } => {
                    self.head.learn(&id, &model, created);
                    if !self.begun.contains(&0) {
                        self.chunk(0, json!({ "content": "" }), &mut out);
                    }
                }
                ChatEvent::Text { choice, text } => self.chunk(choice, json!({ "content": text }), &mut out),
                ChatEvent::Reasoning { choice, text } => {
                    self.chunk(choice, json!({ "reasoning_content": text }), &mut out);
                }
                ChatEvent::Refusal { choice, text } => self.chunk(choice, json!({ "refusal": text }), &mut out),
                ChatEvent::ToolCall { choice, index, id, name, arguments } => {
                    let mut call = json!({ "index": index, "function": { "arguments": arguments } });
                    if let Some(id) = id {
                        call["id"] = id.into();
                        call["type"] = "function".into();
                    }
                    if let Some(name) = name {
                        call["function"]["name"] = name.into();
                    }
                    self.chunk(choice, json!({ "tool_calls": [call] }), &mut out);
                }
                ChatEvent::Annotations { choice, value } => {
                    self.chunk(choice, json!({ "annotations": value }), &mut out);
                }
                ChatEvent::Logprobs { choice, value } => self.write(choice, json!({}), value, None, &mut out),
                ChatEvent::Finish { choice, reason } => {
                    self.write(choice, json!({}), Value::Null, Some(&reason), &mut out);
                }
                ChatEvent::Usage(usage) => self.usage = Some(usage),
                // It rides in the id of its call.
                ChatEvent::Signed { .. } => {}
                ChatEvent::Extra(members) => self.extra.extend(members),
            }
        }
        Bytes::from(out)
    }

    /// The usage, where it was asked for and is known, and `[DONE]`.
    fn end(self) -> Bytes {
        let Some(usage) = self.usage.filter(|_| self.wants_usage) else { return sse::DONE };
        let mut chunk = self.head.object(CHUNK, vec![]);
        chunk.insert("usage".into(), self::usage(usage));
        // What a provider says only at the very end.
        for (name, value) in self.extra {
            chunk.entry(name).or_insert(value);
        }
        let mut out = sse::encode(None, None, &Value::Object(chunk).to_string()).to_vec();
        out.extend_from_slice(&sse::DONE);
        Bytes::from(out)
    }

    fn whole(self, events: Vec<ChatEvent>) -> Bytes {
        whole(self.head, events).into()
    }

    fn broken(error: &Error, request_id: &str) -> Bytes {
        sse::encode(None, None, &status::openai_body(error, request_id).to_string())
    }
}

const CHUNK: &str = "chat.completion.chunk";

/// An annotation of a message: these words, in characters of its content, rest on that page.
pub(crate) fn url_citation(start: usize, end: usize, url: &str, title: &str) -> Value {
    let citation = json!({ "start_index": start, "end_index": end, "url": url, "title": title });
    json!({ "type": "url_citation", "url_citation": citation })
}

fn whole(mut head: Head, events: impl IntoIterator<Item = ChatEvent>) -> Vec<u8> {
    let mut choices = BTreeMap::<u32, Choice>::from([(0, Choice::default())]);
    let (mut usage, mut extra) = (None, Map::new());
    for event in events {
        match event {
            ChatEvent::Start { id, model, created } => head.learn(&id, &model, created),
            ChatEvent::Text { choice, text } => add(&mut choices.entry(choice).or_default().text, &text),
            ChatEvent::Reasoning { choice, text } => add(&mut choices.entry(choice).or_default().reasoning, &text),
            ChatEvent::Refusal { choice, text } => add(&mut choices.entry(choice).or_default().refusal, &text),
            ChatEvent::ToolCall { choice, index, id, name, arguments } => {
                let call = choices.entry(choice).or_default().calls.entry(index).or_default();
                call.id = id.or(call.id.take());
                call.name = name.or(call.name.take());
                call.arguments.push_str(&arguments);
            }
            ChatEvent::Logprobs { choice, value } => append(&mut choices.entry(choice).or_default().logprobs, value),
            ChatEvent::Annotations { choice, value } => {
                append(&mut choices.entry(choice).or_default().annotations, value)
            }
            ChatEvent::Finish { choice, reason } => choices.entry(choice).or_default().finish = Some(reason),
            ChatEvent::Usage(counts) => usage = Some(counts),
            ChatEvent::Signed { .. } => {}
            ChatEvent::Extra(members) => extra.extend(members),
        }
    }
    let choices = choices.into_iter().map(|(index, choice)| choice.shown(index)).collect();
    let mut out = head.object("chat.completion", choices);
    if let Some(usage) = usage {
        out.insert("usage".into(), self::usage(usage));
    }
    for (name, value) in extra {
        out.entry(name).or_insert(value);
    }
    Value::Object(out).to_string().into_bytes()
}

/// One candidate, put together.
#[derive(Default)]
struct Choice {
    text: Option<String>,
    reasoning: Option<String>,
    refusal: Option<String>,
    calls: BTreeMap<u32, Call>,
    annotations: Value,
    logprobs: Value,
    finish: Option<FinishReason>,
}

#[derive(Default)]
struct Call {
    id: Option<String>,
    name: Option<String>,
    arguments: String,
}

impl Choice {
    fn shown(self, index: u32) -> Value {
        let mut message = json!({ "role": "assistant", "content": self.text, "refusal": self.refusal });
        if let Some(reasoning) = self.reasoning {
            message["reasoning_content"] = reasoning.into();
        }
        if !self.annotations.is_null() {
            message["annotations"] = self.annotations;
        }
        if !self.calls.is_empty() {
            let call = |call: Call| {
                let function = json!({ "name": call.name, "arguments": call.arguments });
                json!({ "id": call.id, "type": "function", "function": function })
            };
            message["tool_calls"] = self.calls.into_values().map(call).collect();
        }
        // The member is never null in a whole answer.
        let finish = self.finish.unwrap_or(FinishReason::Stop);
        let mut choice = json!({ "index": index, "message": message, "logprobs": self.logprobs });
        finished(&mut choice, Some(&finish));
        choice
    }
}

/// Puts what a further piece of an answer brought behind what there is: lists grow, in objects member by member.
pub(super) fn append(whole: &mut Value, piece: Value) {
    match (whole, piece) {
        (Value::Array(whole), Value::Array(piece)) => whole.extend(piece),
        (Value::Object(whole), Value::Object(piece)) => {
            for (name, value) in piece {
                append(whole.entry(name).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (whole, piece) => *whole = piece,
    }
}

/// Why a choice ended, by OpenAI's names, since typed clients take no other; a reason beside them has its own name in
/// `native_finish_reason`, as OpenRouter tells it.
fn finished(choice: &mut Value, reason: Option<&FinishReason>) {
    choice["finish_reason"] = match reason {
        Some(FinishReason::Other(own)) => {
            choice["native_finish_reason"] = own.as_str().into();
            json!(FinishReason::Stop)
        }
        known => json!(known),
    };
}

fn add(words: &mut Option<String>, more: &str) {
    words.get_or_insert_default().push_str(more);
}

/// The counts, as every OpenAI answer shows them.
pub(super) fn usage(usage: Usage) -> Value {
    let mut shown = json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens.saturating_add(usage.output_tokens),
        "prompt_tokens_details": { "cached_tokens": usage.cached_input_tokens },
        "completion_tokens_details": { "reasoning_tokens": usage.reasoning_tokens },
    });
    if usage.cache_write_tokens > 0 {
        shown["prompt_tokens_details"]["cache_write_tokens"] = usage.cache_write_tokens.into();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::answer::decode;

    #[test]
    fn what_came_piece_by_piece_is_whole() {
        let piece = |token: &str| {
            let value = json!({ "content": [{ "token": token, "logprob": -0.5 }], "refusal": null });
            ChatEvent::Logprobs { choice: 0, value }
        };
        let cited =
            |url: &str| ChatEvent::Annotations { choice: 0, value: json!([{ "type": "url_citation", "url": url }]) };
        let text = |text: &str| ChatEvent::Text { choice: 0, text: text.into() };
        let events = vec![text("a"), piece("a"), cited("1"), text("b"), piece("b"), cited("2")];
        let told: Value = serde_json::from_slice(&whole(head(), events)).expect("JSON");
        let choice = &told["choices"][0];
        assert_eq!(choice["logprobs"]["content"].as_array().map(Vec::len), Some(2), "{told}");
        assert_eq!(choice["logprobs"]["refusal"], Value::Null);
        assert_eq!(choice["message"]["annotations"][1]["url"], "2", "{told}");
    }

    fn head() -> Head {
        Head { id: "chatcmpl-1".into(), model: "asked".into(), created: 7 }
    }

    fn events() -> Vec<ChatEvent> {
        let call = |index, id: Option<&str>, arguments: &str| ChatEvent::ToolCall {
            choice: 0,
            index,
            id: id.map(str::to_owned),
            name: id.map(|_| "f".to_owned()),
            arguments: arguments.to_owned(),
        };
        let usage = |output| {
            ChatEvent::Usage(Usage {
                input_tokens: 6,
                output_tokens: output,
                cached_input_tokens: 4,
                cache_write_tokens: 1,
                reasoning_tokens: 1,
                ..Usage::default()
            })
        };
        vec![
            ChatEvent::Start { id: "msg_1".into(), model: "claude".into(), created: 0 },
            usage(0),
            ChatEvent::Reasoning { choice: 0, text: "hm".into() },
            ChatEvent::Text { choice: 0, text: "hi".into() },
            call(0, Some("c1"), ""),
            call(0, None, "{\"a\":1}"),
            call(1, Some("c2"), "{}"),
            ChatEvent::Finish { choice: 0, reason: FinishReason::ToolCalls },
            usage(2),
        ]
    }

    fn data(bytes: &Bytes) -> Vec<String> {
        let text = std::str::from_utf8(bytes).expect("text");
        text.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").expect("data").to_owned()).collect()
    }

    #[test]
    fn chunks_read_back_as_the_events_they_were_made_of() {
        let mut chunks = Chunks::new(head(), true);
        let mut written: Vec<String> = events().into_iter().flat_map(|e| data(&chunks.push(vec![e]))).collect();
        written.extend(data(&chunks.end()));
        assert_eq!(written.pop().as_deref(), Some("[DONE]"));
        let read = written.iter().enumerate().map(|(i, json)| decode(json.as_bytes(), i == 0).expect("a chunk"));
        let read: Vec<ChatEvent> = read.flat_map(|d| d.events).collect();
        let mut want = events();
        want.remove(1);
        want[0] = ChatEvent::Start { id: "msg_1".into(), model: "claude".into(), created: 7 };
        assert_eq!(read, want);
    }

    // Oracle: the streams of OpenAI's API reference, "Chat completion chunk".
    #[test]
    fn the_first_chunk_names_the_role_and_usage_is_null_until_the_last() {
        let mut chunks = Chunks::new(head(), true);
        let first = data(&chunks.push(vec![events().remove(0)])).remove(0);
        let want = json!({
            "id": "msg_1", "object": "chat.completion.chunk", "created": 7, "model": "claude", "usage": null,
            "choices": [{ "index": 0, "delta": { "role": "assistant", "content": "" }, "logprobs": null, "finish_reason": null }]
        });
        assert_eq!(serde_json::from_str::<Value>(&first).expect("JSON"), want);
        assert_eq!(chunks.end(), sse::DONE, "no usage is known");
    }

    // Oracle: `finish_reason` in OpenAI's API reference, "The chat completion object".
    #[test]
    fn a_reason_that_openai_has_no_name_for_stands_beside() {
        let end = || ChatEvent::Finish { choice: 0, reason: FinishReason::Other("pause_turn".into()) };
        let streamed = data(&Chunks::new(head(), false).push(vec![end()])).remove(0);
        for written in [
            serde_json::from_str(&streamed).expect("JSON"),
            serde_json::from_slice(&whole(head(), [end()])).expect("JSON"),
        ] {
            let written: Value = written;
            let choice = &written["choices"][0];
            assert_eq!(
                (&choice["finish_reason"], &choice["native_finish_reason"]),
                (&json!("stop"), &json!("pause_turn"))
            );
        }
    }

    #[test]
    fn usage_is_only_for_who_asked() {
        let mut chunks = Chunks::new(head(), false);
        let written = chunks.push(events());
        assert!(!String::from_utf8_lossy(&written).contains("usage"));
        assert_eq!(chunks.end(), sse::DONE);
    }

    #[test]
    fn an_answer_without_a_start_still_names_its_role() {
        let mut chunks = Chunks::new(head(), false);
        let text = |choice| ChatEvent::Text { choice, text: "hi".into() };
        let more = ChatEvent::Extra(Map::from_iter([("vendor".to_owned(), json!(1)), ("id".to_owned(), json!("x"))]));
        let written = data(&chunks.push(vec![more, text(0), text(1), text(0)]));
        let seen: Vec<Value> = written.iter().map(|json| serde_json::from_str(json).expect("JSON")).collect();
        let roles: Vec<bool> = seen.iter().map(|c| c["choices"][0]["delta"].get("role").is_some()).collect();
        assert_eq!(roles, [true, true, false]);
        assert_eq!((&seen[0]["vendor"], &seen[0]["id"]), (&json!(1), &json!("chatcmpl-1")));
        assert_eq!(seen[1].get("vendor"), None);
    }

    #[test]
    fn a_whole_answer_puts_the_pieces_together() {
        let written: Value = serde_json::from_slice(&whole(head(), events())).expect("JSON");
        let call = |id: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": arguments } });
        let want = json!({
            "id": "msg_1", "object": "chat.completion", "created": 7, "model": "claude",
            "choices": [{
                "index": 0, "logprobs": null, "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant", "content": "hi", "refusal": null, "reasoning_content": "hm",
                    "tool_calls": [call("c1", "{\"a\":1}"), call("c2", "{}")]
                }
            }],
            "usage": {
                "prompt_tokens": 6, "completion_tokens": 2, "total_tokens": 8,
                "prompt_tokens_details": { "cached_tokens": 4, "cache_write_tokens": 1 }, "completion_tokens_details": { "reasoning_tokens": 1 }
            }
        });
        assert_eq!(written, want);
    }
}
