//! Answers of Llama Stack's own inference routes, whole or as its event streams.
//!
//! Only candidate 0 is read: the protocol has one. Thoughts are left out, a refusal is told as text. Invariant: a
//! stream begins with `start`, ends with `complete`, and a call is shown whole (`succeeded`) once all of it is there.

use std::collections::BTreeMap;

use bytes::Bytes;
use frontdesk_api::{
    ChatEvent, Error,
    chat::{Dialect, FinishReason, ToolCall as Call, Usage},
};
use serde_json::{Map, Value, json};

use super::{
    message::{CompletionMessage, StopReason},
    tool::ToolCall,
};
use crate::{Writes, openai::encode::Chunks, sse};

/// Writes the answer of `chat-completion`.
#[derive(Debug, Default)]
pub struct ChatWriter {
    begun: bool,
    answer: Answer,
}

/// Writes the answer of `completion`.
#[derive(Debug, Default)]
pub struct CompletionWriter {
    answer: Answer,
}

/// An answer as far as it has come.
#[derive(Debug, Default)]
struct Answer {
    text: String,
    calls: BTreeMap<u32, Call>,
    logprobs: Vec<Value>,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
}

/// What of an event is shown.
enum Piece {
    Text(String),
    /// A piece of arguments; the first one of its call where `begins`.
    Arguments {
        text: String,
        begins: bool,
    },
    Logprobs(Vec<Value>),
}

impl Answer {
    fn take(&mut self, event: ChatEvent) -> Option<Piece> {
        match event {
            ChatEvent::Text { choice: 0, text } | ChatEvent::Refusal { choice: 0, text } => {
                self.text.push_str(&text);
                Some(Piece::Text(text))
            }
            ChatEvent::ToolCall { choice: 0, index, id, name, arguments } => {
                let begins = !self.calls.contains_key(&index);
                let call = self.calls.entry(index).or_default();
                call.id = id.unwrap_or_else(|| std::mem::take(&mut call.id));
                call.name = name.unwrap_or_else(|| std::mem::take(&mut call.name));
                call.arguments.push_str(&arguments);
                Some(Piece::Arguments { text: arguments, begins })
            }
            ChatEvent::Logprobs { choice: 0, value } => {
                let tokens = by_token(&value);
                self.logprobs.extend(tokens.iter().cloned());
                Some(Piece::Logprobs(tokens))
            }
            ChatEvent::Finish { choice: 0, reason } => {
                self.finish = Some(reason);
                None
            }
            ChatEvent::Usage(usage) => {
                self.usage = Some(usage);
                None
            }
            _ => None,
        }
    }

    fn all(&mut self, events: Vec<ChatEvent>) {
        for event in events {
            let _ = self.take(event);
        }
    }

    fn stop_reason(&self) -> StopReason {
        match self.finish {
            Some(FinishReason::Length) => StopReason::OutOfTokens,
            _ => StopReason::EndOfTurn,
        }
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.values().cloned().collect()
    }

    /// The counts under the names that Llama Stack's server gives them.
    fn metrics(&self) -> Option<Value> {
        let usage = self.usage?;
        let metric = |name: &str, value: u64| json!({ "metric": name, "value": value, "unit": "tokens" });
        Some(json!([
            metric("prompt_tokens", usage.input_tokens),
            metric("completion_tokens", usage.output_tokens),
            metric("total_tokens", usage.input_tokens.saturating_add(usage.output_tokens)),
        ]))
    }

    fn logprobs(&self) -> Option<Value> {
        (!self.logprobs.is_empty()).then(|| json!(self.logprobs))
    }
}

/// A chat's log probabilities as a list of what each token could have been.
fn by_token(chat: &Value) -> Vec<Value> {
    let content = chat.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let pair = |token: &Value| Some((token.get("token")?.as_str()?.to_owned(), token.get("logprob")?.clone()));
    let one = |token: &Value| {
        let others = token.get("top_logprobs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let all: Map<String, Value> = others.iter().chain([token]).filter_map(pair).collect();
        json!({ "logprobs_by_token": all })
    };
    content.iter().map(one).collect()
}

fn event(chunk: &Value) -> Bytes {
    sse::encode(None, None, &chunk.to_string())
}

impl ChatWriter {
    fn show(
        &mut self,
        kind: &str,
        delta: &Value,
        more: impl IntoIterator<Item = (&'static str, Value)>,
        out: &mut Vec<u8>,
    ) {
        let mut shown = json!({ "event_type": kind, "delta": delta });
        for (name, value) in more {
            shown[name] = value;
        }
        out.extend_from_slice(&event(&json!({ "event": shown })));
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            self.show("start", &text(""), [], out);
        }
    }
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn call(status: &str, call: Value) -> Value {
    json!({ "type": "tool_call", "parse_status": status, "tool_call": call })
}

impl Writes for ChatWriter {
    const DIALECT: Dialect = Dialect::LlamaStack;

    fn push(&mut self, events: Vec<ChatEvent>) -> Bytes {
        let mut out = vec![];
        for event in events {
            let Some(piece) = self.answer.take(event) else { continue };
            self.begin(&mut out);
            match piece {
                Piece::Text(words) => self.show("progress", &text(&words), [], &mut out),
                Piece::Arguments { text, begins } => {
                    let status = if begins { "started" } else { "in_progress" };
                    self.show("progress", &call(status, text.into()), [], &mut out);
                }
                Piece::Logprobs(tokens) => {
                    self.show("progress", &text(""), [("logprobs", json!(tokens))], &mut out);
                }
            }
        }
        Bytes::from(out)
    }

    fn end(mut self) -> Bytes {
        let mut out = vec![];
        self.begin(&mut out);
        for own in self.answer.calls() {
            self.show("progress", &call("succeeded", json!(ToolCall::from(&own))), [], &mut out);
        }
        let mut last = json!({ "event": {
            "event_type": "complete", "delta": text(""), "stop_reason": self.answer.stop_reason(),
        } });
        if let Some(metrics) = self.answer.metrics() {
            last["metrics"] = metrics;
        }
        out.extend_from_slice(&event(&last));
        Bytes::from(out)
    }

    fn whole(mut self, events: Vec<ChatEvent>) -> Bytes {
        self.answer.all(events);
        let own = &self.answer;
        let message = CompletionMessage::new(&own.text, own.stop_reason(), &own.calls());
        let answer = json!({ "completion_message": message, "logprobs": own.logprobs(), "metrics": own.metrics() });
        Bytes::from(answer.to_string())
    }

    fn broken(error: &Error, request_id: &str) -> Bytes {
        Chunks::broken(error, request_id)
    }
}

impl CompletionWriter {
    /// `delta` is the protocol's name in a stream; `content` is what the client's type asks for.
    fn piece(words: &str, more: impl IntoIterator<Item = (&'static str, Value)>) -> Bytes {
        let mut piece = json!({ "delta": words, "content": words, "stop_reason": null });
        for (name, value) in more {
            piece[name] = value;
        }
        event(&piece)
    }
}

impl Writes for CompletionWriter {
    const DIALECT: Dialect = Dialect::LlamaStack;

    fn push(&mut self, events: Vec<ChatEvent>) -> Bytes {
        let mut out = vec![];
        for event in events {
            match self.answer.take(event) {
                Some(Piece::Text(words)) => out.extend_from_slice(&Self::piece(&words, [])),
                Some(Piece::Logprobs(tokens)) => out.extend_from_slice(&Self::piece("", [("logprobs", json!(tokens))])),
                Some(Piece::Arguments { .. }) | None => {}
            }
        }
        Bytes::from(out)
    }

    fn end(self) -> Bytes {
        let stop = ("stop_reason", json!(self.answer.stop_reason()));
        let metrics = self.answer.metrics().map(|metrics| ("metrics", metrics));
        Self::piece("", [stop].into_iter().chain(metrics))
    }

    fn whole(mut self, events: Vec<ChatEvent>) -> Bytes {
        self.answer.all(events);
        let own = &self.answer;
        let answer = json!({
            "content": own.text, "stop_reason": own.stop_reason(),
            "logprobs": own.logprobs(), "metrics": own.metrics(),
        });
        Bytes::from(answer.to_string())
    }

    fn broken(error: &Error, request_id: &str) -> Bytes {
        Chunks::broken(error, request_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> Vec<ChatEvent> {
        let words = |text: &str| ChatEvent::Text { choice: 0, text: text.into() };
        let piece = |id: Option<&str>, arguments: &str| ChatEvent::ToolCall {
            choice: 0,
            index: 0,
            id: id.map(str::to_owned),
            name: id.map(|_| "look".to_owned()),
            arguments: arguments.into(),
        };
        let logprobs = json!({ "content": [{ "token": "hi", "logprob": -0.5, "top_logprobs": [{ "token": "ho", "logprob": -2 }] }] });
        vec![
            ChatEvent::Start { id: "c".into(), model: "m".into(), created: 1 },
            ChatEvent::Reasoning { choice: 0, text: "hm".into() },
            words("hi"),
            ChatEvent::Logprobs { choice: 0, value: logprobs },
            piece(Some("c1"), ""),
            piece(None, "{\"id\":7}"),
            ChatEvent::Finish { choice: 0, reason: FinishReason::ToolCalls },
            ChatEvent::Usage(Usage { input_tokens: 5, output_tokens: 2, ..Usage::default() }),
        ]
    }

    fn data(bytes: &[u8]) -> Vec<Value> {
        let text = std::str::from_utf8(bytes).expect("text");
        let data = text.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").expect("data"));
        data.map(|data| serde_json::from_str(data).expect("JSON")).collect()
    }

    fn metrics() -> Value {
        let metric = |name: &str, value: u64| json!({ "metric": name, "value": value, "unit": "tokens" });
        json!([metric("prompt_tokens", 5), metric("completion_tokens", 2), metric("total_tokens", 7)])
    }

    // Oracle: the types of llama-stack-client 0.2.12 (`ChatCompletionResponseStreamChunk`, `ToolCallDelta`).
    #[test]
    fn a_chats_stream_begins_progresses_and_completes() {
        let mut writer = ChatWriter::default();
        let mut seen: Vec<Value> = events().into_iter().flat_map(|event| data(&writer.push(vec![event]))).collect();
        seen.extend(data(&writer.end()));
        let shown: Vec<_> = seen
            .iter()
            .map(|chunk| {
                let event = &chunk["event"];
                (event["event_type"].as_str().expect("a kind"), event["delta"].clone())
            })
            .collect();
        let whole =
            json!({ "call_id": "c1", "tool_name": "look", "arguments": { "id": 7 }, "arguments_json": "{\"id\":7}" });
        let want = [
            ("start", text("")),
            ("progress", text("hi")),
            ("progress", text("")),
            ("progress", call("started", "".into())),
            ("progress", call("in_progress", "{\"id\":7}".into())),
            ("progress", call("succeeded", whole)),
            ("complete", text("")),
        ];
        assert_eq!(shown, want);
        assert_eq!(seen[2]["event"]["logprobs"], json!([{ "logprobs_by_token": { "hi": -0.5, "ho": -2 } }]));
        assert_eq!((&seen[6]["event"]["stop_reason"], &seen[6]["metrics"]), (&json!("end_of_turn"), &metrics()));
    }

    #[test]
    fn a_whole_chat_puts_the_pieces_together() {
        let written: Value = serde_json::from_slice(&ChatWriter::default().whole(events())).expect("JSON");
        let call =
            json!({ "call_id": "c1", "tool_name": "look", "arguments": { "id": 7 }, "arguments_json": "{\"id\":7}" });
        let want = json!({
            "completion_message": { "role": "assistant", "content": "hi", "stop_reason": "end_of_turn", "tool_calls": [call] },
            "logprobs": [{ "logprobs_by_token": { "hi": -0.5, "ho": -2 } }], "metrics": metrics(),
        });
        assert_eq!(written, want);
    }

    #[test]
    fn a_completion_streams_its_words_and_says_why_it_ended() {
        let mut events = events();
        events[6] = ChatEvent::Finish { choice: 0, reason: FinishReason::Length };
        let mut writer = CompletionWriter::default();
        let mut seen = data(&writer.push(events.clone()));
        seen.extend(data(&writer.end()));
        let words: String = seen.iter().filter_map(|piece| piece["delta"].as_str()).collect();
        assert_eq!((words.as_str(), seen.len()), ("hi", 3));
        assert_eq!(seen[0]["stop_reason"], Value::Null);
        assert_eq!((&seen[2]["stop_reason"], &seen[2]["metrics"]), (&json!("out_of_tokens"), &metrics()));
        let whole: Value = serde_json::from_slice(&CompletionWriter::default().whole(events)).expect("JSON");
        assert_eq!((&whole["content"], &whole["stop_reason"]), (&json!("hi"), &json!("out_of_tokens")));
    }

    #[test]
    fn an_answer_of_nothing_still_begins_and_ends() {
        let seen = data(&ChatWriter::default().end());
        let kinds: Vec<_> = seen.iter().map(|chunk| chunk["event"]["event_type"].as_str()).collect();
        assert_eq!(kinds, [Some("start"), Some("complete")]);
    }
}
