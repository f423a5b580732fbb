//! Decodes an answer of Converse, whole, or of ConverseStream, event by event, into chat events.
//!
//! One [`Answer`] reads one answer: the calls are counted, and signed thoughts ride in the id of the call that they led
//! to (`thoughts.rs`). Blocks of the server's own tools, citations and pictures are not events; the text that a citation
//! stands behind is.

use frontdesk_api::{
    ChatEvent,
    chat::{FinishReason, Usage},
};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use crate::thoughts::{self, Thought};

/// An answer that is being read.
#[derive(Debug, Default)]
pub struct Answer {
    /// The calls begun so far, in the order of their indexes.
    calls: Vec<Call>,
    /// Thoughts since the last call, and the block of the last.
    thoughts: Vec<Thought>,
    thinking: Option<u64>,
}

#[derive(Debug)]
struct Call {
    /// Index of its block.
    block: u64,
    /// Whether a piece of its arguments has come.
    begun: bool,
}

impl Answer {
    /// Reads a whole body.
    ///
    /// # Errors
    /// The JSON error, when the text is no answer of Converse.
    pub fn whole(&mut self, json: &[u8]) -> serde_json::Result<Vec<ChatEvent>> {
        let whole: Whole<'_> = serde_json::from_slice(json)?;
        let mut events = vec![start()];
        for block in whole.output.message.map(|m| m.content).unwrap_or_default() {
            self.block(block, &mut events);
        }
        let more = [
            ("additionalModelResponseFields", whole.additional_model_response_fields),
            ("trace", whole.trace),
            ("performanceConfig", whole.performance_config),
            ("serviceTier", whole.service_tier),
        ];
        events.extend(extra(more));
        events.push(finish(&whole.stop_reason));
        events.push(ChatEvent::Usage(whole.usage.shown()));
        Ok(events)
    }

    /// Reads one event of a stream. `kind`: its `:event-type`.
    ///
    /// # Errors
    /// The JSON error, when the text is no event of that kind.
    pub fn event(&mut self, kind: &str, json: &[u8]) -> serde_json::Result<Vec<ChatEvent>> {
        Ok(match kind {
            "messageStart" => vec![start()],
            "contentBlockStart" => self.begin(serde_json::from_slice(json)?).into_iter().collect(),
            "contentBlockDelta" => self.delta(serde_json::from_slice(json)?).into_iter().collect(),
            "contentBlockStop" => self.end(serde_json::from_slice::<End>(json)?.block).into_iter().collect(),
            "messageStop" => {
                let stop: Stop = serde_json::from_slice(json)?;
                let more = extra([("additionalModelResponseFields", stop.additional_model_response_fields)]);
                more.into_iter().chain([finish(&stop.stop_reason)]).collect()
            }
            "metadata" => {
                let about: Metadata = serde_json::from_slice(json)?;
                let more = extra([
                    ("trace", about.trace),
                    ("performanceConfig", about.performance_config),
                    ("serviceTier", about.service_tier),
                ]);
                more.into_iter().chain([ChatEvent::Usage(about.usage.shown())]).collect()
            }
            // What the API may add one day.
            _ => vec![],
        })
    }

    /// A block of a whole answer.
    fn block(&mut self, block: Block<'_>, events: &mut Vec<ChatEvent>) {
        let cited = block.citations_content.into_iter().flat_map(|c| c.content).filter_map(|c| c.text);
        events.extend(block.text.into_iter().chain(cited).filter_map(said));
        if let Some(reasoning) = block.reasoning_content {
            if let Some(data) = reasoning.redacted_content.map(Thought::Redacted) {
                events.extend(data.event());
                self.thoughts.push(data);
            }
            if let Some(said) = reasoning.reasoning_text {
                let signature = said.signature.unwrap_or_default();
                let signed = Thought::Signed { text: said.text.clone(), signature };
                events.extend(thought(said.text));
                events.extend(signed.event());
                self.thoughts.push(signed);
            }
        }
        if let Some(call) = block.tool_use.filter(|call| call.kind.is_none()) {
            let arguments = call.input.map_or("{}", RawValue::get).to_owned();
            events.push(self.call(0, call.id, call.name, arguments));
        }
    }

    /// Text and thoughts begin with their first piece, calls with an event.
    fn begin(&mut self, begin: Begin<'_>) -> Option<ChatEvent> {
        // A call with a kind is one of the server's own tools.
        let call = begin.start.tool_use.filter(|call| call.kind.is_none())?;
        Some(self.call(begin.block, call.id, call.name, String::new()))
    }

    fn call(&mut self, block: u64, id: String, name: String, arguments: String) -> ChatEvent {
        let index = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        self.calls.push(Call { block, begun: !arguments.is_empty() });
        // A thought without a signature proves nothing and is refused.
        let signed = |thought: &Thought| !matches!(thought, Thought::Signed { signature, .. } if signature.is_empty());
        self.thoughts.retain(signed);
        let id = thoughts::join(id, &std::mem::take(&mut self.thoughts));
        ChatEvent::ToolCall { choice: 0, index, id: Some(id), name: Some(name), arguments }
    }

    fn delta(&mut self, delta: Delta) -> Option<ChatEvent> {
        let new = delta.delta;
        if let Some(piece) = new.tool_use {
            return self.piece(delta.block, piece.input);
        }
        new.text.and_then(said).or_else(|| self.think(delta.block, new.reasoning_content?))
    }

    /// Text and signature of a thought come in pieces, a redacted one at once.
    fn think(&mut self, block: u64, new: NewThought) -> Option<ChatEvent> {
        if let Some(data) = new.redacted_content {
            let redacted = Thought::Redacted(data);
            let event = redacted.event();
            self.thoughts.push(redacted);
            return event;
        }
        if self.thinking.replace(block) != Some(block) || !matches!(self.thoughts.last(), Some(Thought::Signed { .. }))
        {
            self.thoughts.push(Thought::Signed { text: String::new(), signature: String::new() });
        }
        if let Some(Thought::Signed { text, signature }) = self.thoughts.last_mut() {
            text.push_str(new.text.as_deref().unwrap_or_default());
            signature.push_str(new.signature.as_deref().unwrap_or_default());
        }
        new.text.and_then(thought)
    }

    /// A call without arguments has no pieces; what has none is still an object.
    fn end(&mut self, block: u64) -> Option<ChatEvent> {
        if self.thinking == Some(block) {
            return self.thoughts.iter().rfind(|thought| matches!(thought, Thought::Signed { .. }))?.event();
        }
        let call = self.calls.iter().rev().find(|call| call.block == block)?;
        if call.begun { None } else { self.piece(block, "{}".into()) }
    }

    fn piece(&mut self, block: u64, arguments: String) -> Option<ChatEvent> {
        let index = self.calls.iter().rposition(|call| call.block == block)?;
        if arguments.is_empty() {
            return None;
        }
        self.calls[index].begun = true;
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        Some(ChatEvent::ToolCall { choice: 0, index, id: None, name: None, arguments })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Whole<'a> {
    #[serde(borrow)]
    output: Output<'a>,
    stop_reason: String,
    #[serde(default)]
    usage: Counts,
    #[serde(default)]
    additional_model_response_fields: Option<Value>,
    #[serde(default)]
    trace: Option<Value>,
    #[serde(default)]
    performance_config: Option<Value>,
    #[serde(default)]
    service_tier: Option<Value>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow, default)]
    message: Option<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Vec<Block<'a>>,
}

/// One member says what the block is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    #[serde(default)]
    text: Option<String>,
    #[serde(borrow, default)]
    tool_use: Option<ToolUse<'a>>,
    #[serde(default)]
    reasoning_content: Option<Reasoning>,
    #[serde(default)]
    citations_content: Option<Cited>,
}

#[derive(Deserialize)]
struct ToolUse<'a> {
    #[serde(rename = "toolUseId")]
    id: String,
    name: String,
    /// Kept as it was written: numbers lose nothing.
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(rename = "type", default)]
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reasoning {
    #[serde(default)]
    reasoning_text: Option<ReasoningText>,
    #[serde(default)]
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
struct ReasoningText {
    text: String,
    #[serde(default)]
    signature: Option<String>,
}

#[derive(Deserialize)]
struct Cited {
    #[serde(default)]
    content: Vec<CitedText>,
}

#[derive(Deserialize)]
struct CitedText {
    #[serde(default)]
    text: Option<String>,
}

#[derive(Deserialize)]
struct Begin<'a> {
    #[serde(rename = "contentBlockIndex")]
    block: u64,
    #[serde(borrow)]
    start: Started<'a>,
}

#[derive(Deserialize)]
struct Started<'a> {
    #[serde(rename = "toolUse", borrow, default)]
    tool_use: Option<ToolUse<'a>>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(rename = "contentBlockIndex")]
    block: u64,
    delta: New,
}

/// What is new in a block.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct New {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    tool_use: Option<Piece>,
    #[serde(default)]
    reasoning_content: Option<NewThought>,
}

#[derive(Deserialize)]
struct Piece {
    input: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewThought {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    signature: Option<String>,
    #[serde(default)]
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
struct End {
    #[serde(rename = "contentBlockIndex")]
    block: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stop {
    stop_reason: String,
    #[serde(default)]
    additional_model_response_fields: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    usage: Counts,
    #[serde(default)]
    trace: Option<Value>,
    #[serde(default)]
    performance_config: Option<Value>,
    #[serde(default)]
    service_tier: Option<Value>,
}

/// Bedrock's `inputTokens` are those that no cache was involved in (user guide, "Prompt caching").
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Counts {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_input_tokens: u64,
    cache_write_input_tokens: u64,
    cache_details: Vec<Written>,
}

/// Tokens written into the cache, by how long they are kept.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    ttl: String,
    input_tokens: u64,
}

impl Counts {
    fn shown(&self) -> Usage {
        let cached = self.cache_read_input_tokens.saturating_add(self.cache_write_input_tokens);
        let long = self.cache_details.iter().filter(|w| w.ttl == "1h").map(|w| w.input_tokens);
        Usage {
            input_tokens: self.input_tokens.saturating_add(cached),
            output_tokens: self.output_tokens,
            cached_input_tokens: self.cache_read_input_tokens,
            cache_write_tokens: self.cache_write_input_tokens,
            long_cache_write_tokens: long.fold(0, u64::saturating_add),
            reasoning_tokens: 0,
        }
    }
}

/// Bedrock names neither the answer nor the model in it, and does not say when it was made.
fn start() -> ChatEvent {
    ChatEvent::Start { id: String::new(), model: String::new(), created: 0 }
}

fn said(text: String) -> Option<ChatEvent> {
    (!text.is_empty()).then_some(ChatEvent::Text { choice: 0, text })
}

fn thought(text: String) -> Option<ChatEvent> {
    (!text.is_empty()).then_some(ChatEvent::Reasoning { choice: 0, text })
}

fn extra<const N: usize>(members: [(&str, Option<Value>); N]) -> Option<ChatEvent> {
    let there = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let members: Map<String, Value> = there.collect();
    (!members.is_empty()).then_some(ChatEvent::Extra(members))
}

fn finish(reason: &str) -> ChatEvent {
    let reason = match reason {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    };
    ChatEvent::Finish { choice: 0, reason }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn signed(block: Value) -> ChatEvent {
        ChatEvent::Signed { choice: 0, block }
    }

    fn call(index: u32, id: Option<&str>, arguments: &str) -> ChatEvent {
        let name = id.map(|_| "f".to_owned());
        ChatEvent::ToolCall { choice: 0, index, id: id.map(str::to_owned), name, arguments: arguments.to_owned() }
    }

    fn counted() -> ChatEvent {
        ChatEvent::Usage(Usage {
            input_tokens: 125,
            output_tokens: 9,
            cached_input_tokens: 100,
            cache_write_tokens: 5,
            long_cache_write_tokens: 2,
            reasoning_tokens: 0,
        })
    }

    fn read(events: &[(&str, Value)]) -> Vec<ChatEvent> {
        let mut answer = Answer::default();
        events
            .iter()
            .flat_map(|(kind, json)| answer.event(kind, json.to_string().as_bytes()).expect("an event"))
            .collect()
    }

    fn usage() -> Value {
        json!({ "inputTokens": 20, "outputTokens": 9, "totalTokens": 134, "cacheReadInputTokens": 100,
            "cacheWriteInputTokens": 5, "cacheDetails": [{ "ttl": "1h", "inputTokens": 2 }, { "ttl": "5m", "inputTokens": 3 }] })
    }

    // Oracle: the events of the API reference's page "ConverseStream"; tests/conformance reads the same with botocore.
    #[test]
    fn a_stream_of_thought_words_and_calls() {
        let begin = |block: u64, call: Value| {
            ("contentBlockStart", json!({ "contentBlockIndex": block, "start": { "toolUse": call } }))
        };
        let delta = |block: u64, new: Value| {
            ("contentBlockDelta", json!({ "contentBlockIndex": block, "delta": new, "p": "abc" }))
        };
        let end = |block: u64| ("contentBlockStop", json!({ "contentBlockIndex": block }));
        let got = read(&[
            ("messageStart", json!({ "role": "assistant" })),
            delta(0, json!({ "reasoningContent": { "text": "hm" } })),
            delta(0, json!({ "reasoningContent": { "signature": "Eq" } })),
            delta(0, json!({ "reasoningContent": { "redactedContent": "eA==" } })),
            end(0),
            delta(1, json!({ "text": "Hello" })),
            delta(1, json!({ "text": "" })),
            delta(1, json!({ "citation": { "title": "t" } })),
            end(1),
            begin(2, json!({ "toolUseId": "s", "name": "web", "type": "server_tool_use" })),
            delta(2, json!({ "toolUse": { "input": "{}" } })),
            end(2),
            begin(3, json!({ "toolUseId": "t1", "name": "f" })),
            begin(4, json!({ "toolUseId": "t2", "name": "f" })),
            delta(3, json!({ "toolUse": { "input": "{\"a\":" } })),
            delta(4, json!({ "toolUse": { "input": "" } })),
            delta(3, json!({ "toolUse": { "input": "1}" } })),
            end(4),
            end(3),
            ("messageStop", json!({ "stopReason": "tool_use", "additionalModelResponseFields": { "/x": 1 } })),
            ("metadata", json!({ "usage": usage(), "metrics": { "latencyMs": 1 }, "trace": { "guardrail": {} } })),
            ("anEventOfTomorrow", json!([])),
        ]);
        let extra = |name: &str, value: Value| ChatEvent::Extra(Map::from_iter([(name.to_owned(), value)]));
        let want = [
            start(),
            ChatEvent::Reasoning { choice: 0, text: "hm".into() },
            signed(json!({ "type": "redacted_thinking", "data": "eA==" })),
            signed(json!({ "type": "thinking", "thinking": "hm", "signature": "Eq" })),
            ChatEvent::Text { choice: 0, text: "Hello".into() },
            call(0, Some("t1__thinking__W1siaG0iLCJFcSJdLFsiZUE9PSJdXQ"), ""),
            call(1, Some("t2"), ""),
            call(0, None, "{\"a\":"),
            call(0, None, "1}"),
            call(1, None, "{}"),
            extra("additionalModelResponseFields", json!({ "/x": 1 })),
            ChatEvent::Finish { choice: 0, reason: FinishReason::ToolCalls },
            extra("trace", json!({ "guardrail": {} })),
            counted(),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn a_whole_answer_says_the_same() {
        let body = json!({ "output": { "message": { "role": "assistant", "content": [
            { "reasoningContent": { "reasoningText": { "text": "hm", "signature": "Eq" } } },
            { "reasoningContent": { "redactedContent": "eA==" } },
            { "text": "Hel" }, { "citationsContent": { "content": [{ "text": "lo" }], "citations": [{}] } },
            { "toolUse": { "toolUseId": "s", "name": "web", "input": {}, "type": "server_tool_use" } },
            { "image": { "format": "png", "source": { "bytes": "aGk=" } } } ] } },
            "stopReason": "tool_use", "usage": usage(), "metrics": { "latencyMs": 1 }, "trace": { "promptRouter": {} } });
        // Numbers keep their digits.
        let calls = r#"{"toolUse":{"toolUseId":"t1","name":"f","input":{"a":1.50}}},{"toolUse":{"toolUseId":"t2","name":"f","input":{}}},{"text":"Hel""#;
        let body = body.to_string().replacen(r#"{"text":"Hel""#, calls, 1);
        let got = Answer::default().whole(body.as_bytes()).expect("an answer");
        let want = [
            start(),
            ChatEvent::Reasoning { choice: 0, text: "hm".into() },
            signed(json!({ "type": "thinking", "thinking": "hm", "signature": "Eq" })),
            signed(json!({ "type": "redacted_thinking", "data": "eA==" })),
            call(0, Some("t1__thinking__W1siaG0iLCJFcSJdLFsiZUE9PSJdXQ"), r#"{"a":1.50}"#),
            call(1, Some("t2"), "{}"),
            ChatEvent::Text { choice: 0, text: "Hel".into() },
            ChatEvent::Text { choice: 0, text: "lo".into() },
            ChatEvent::Extra(Map::from_iter([("trace".to_owned(), json!({ "promptRouter": {} }))])),
            ChatEvent::Finish { choice: 0, reason: FinishReason::ToolCalls },
            counted(),
        ];
        assert_eq!(got, want);
        for bad in ["", "<html>", r#"{"message":"no"}"#] {
            assert!(Answer::default().whole(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_reason_to_stop_has_its_meaning() {
        for (reason, want) in [
            ("end_turn", FinishReason::Stop),
            ("stop_sequence", FinishReason::Stop),
            ("max_tokens", FinishReason::Length),
            ("model_context_window_exceeded", FinishReason::Length),
            ("tool_use", FinishReason::ToolCalls),
            ("guardrail_intervened", FinishReason::ContentFilter),
            ("content_filtered", FinishReason::ContentFilter),
            ("malformed_tool_use", FinishReason::Other("malformed_tool_use".into())),
            ("a_reason_of_tomorrow", FinishReason::Other("a_reason_of_tomorrow".into())),
        ] {
            let got = read(&[("messageStop", json!({ "stopReason": reason }))]);
            assert_eq!(got, [ChatEvent::Finish { choice: 0, reason: want }]);
        }
    }
}
