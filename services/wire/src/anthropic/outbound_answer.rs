//! Decodes a Message, whole or as its stream of events, into chat events; finds usage without decoding the rest.
//!
//! One [`Answer`] reads one answer: calls are counted and usage is added up across its events. Invariant: every
//! `ChatEvent::Usage` is the whole count so far, so the last one is the answer's.
//! Signed thoughts ride in the id of the call that they led to (`thoughts.rs`). Blocks of the server's own tools are no
//! events, and of citations only those of pages (`citations.rs`); a passthrough forwards all as they are.

use frontdesk_api::{
    ChatEvent,
    chat::{FinishReason, Usage},
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::citations::Cited;
use crate::thoughts::{self, Thought};

/// One decoded piece of an answer.
#[derive(Debug, Default, PartialEq)]
pub struct Decoded {
    pub events: Vec<ChatEvent>,
    /// The server reports a fault inside its answer: `{"type": …, "message": …}`.
    pub error: Option<Value>,
}

/// An answer that is being read.
#[derive(Debug, Default)]
pub struct Answer {
    usage: Counts,
    /// Calls begun so far.
    calls: u32,
    /// Inside the block of a call: whether a piece of its arguments has come. Blocks never overlap.
    call: Option<bool>,
    /// Thoughts since the last call.
    thoughts: Vec<Thought>,
    /// Inside the block of a thought, the last of them.
    thinks: bool,
    cited: Cited,
}

impl Answer {
    /// Reads a whole body. Without `wants_events` the usage alone.
    ///
    /// # Errors
    /// The JSON error, when the text is not a Message.
    pub fn whole(&mut self, json: &[u8], wants_events: bool) -> serde_json::Result<Decoded> {
        if !wants_events {
            let report: Report = serde_json::from_slice(json)?;
            return Ok(self.reported(report));
        }
        let message: Message<'_> = serde_json::from_slice(json)?;
        if let Some(error) = message.error {
            return Ok(Decoded { events: vec![], error: Some(error) });
        }
        let mut events = vec![start(message.id, message.model)];
        for block in message.content {
            self.begin(block, &mut events);
            events.extend(self.end());
        }
        events.extend(self.cited.take());
        finish(message.stop_reason.as_deref(), message.stop_details, &mut events);
        events.extend(self.counted(message.usage));
        Ok(Decoded { events, error: None })
    }

    /// Reads one event's data. Without `wants_events` the usage alone.
    ///
    /// # Errors
    /// The JSON error, when the text is not an event of a Message.
    pub fn event(&mut self, json: &[u8], wants_events: bool) -> serde_json::Result<Decoded> {
        if !wants_events {
            let report: Report = serde_json::from_slice(json)?;
            return Ok(self.reported(report));
        }
        let event: Event<'_> = serde_json::from_slice(json)?;
        let mut events = vec![];
        match event.kind.as_str() {
            "error" => return Ok(Decoded { events, error: event.error.or(Some(Value::Null)) }),
            "message_start" => {
                let message = event.message.unwrap_or_default();
                events.push(start(message.id, message.model));
                events.extend(self.counted(message.usage));
            }
            "content_block_start" => {
                if let Some(block) = event.content_block {
                    self.begin(block, &mut events);
                }
            }
            "content_block_delta" => events.extend(self.delta(event.delta.unwrap_or_default())),
            "content_block_stop" => events.extend(self.end()),
            "message_delta" => {
                let delta = event.delta.unwrap_or_default();
                events.extend(self.cited.take());
                finish(delta.stop_reason.as_deref(), delta.stop_details, &mut events);
                events.extend(self.counted(event.usage));
            }
            // `ping`, `message_stop`, and what the API may add one day.
            _ => {}
        }
        Ok(Decoded { events, error: None })
    }

    /// A block as it begins: whole in a body, empty or with its first words in a stream.
    fn begin(&mut self, block: Block<'_>, events: &mut Vec<ChatEvent>) {
        self.cited.begin_block();
        match block.kind.as_str() {
            "text" => {
                block.citations.as_array().into_iter().flatten().for_each(|citation| self.cited.cite(citation));
                events.extend(self.text(block.text));
            }
            "thinking" => {
                let (text, signature) = (block.thinking.unwrap_or_default(), block.signature.unwrap_or_default());
                self.thoughts.push(Thought::Signed { text: text.clone(), signature });
                self.thinks = true;
                events.extend(said(Some(text), |text| ChatEvent::Reasoning { choice: 0, text }));
            }
            "redacted_thinking" => {
                self.thinks = block.data.is_some();
                self.thoughts.extend(block.data.map(Thought::Redacted));
            }
            "tool_use" => {
                // A thought without a signature proves nothing and is refused.
                let signed =
                    |thought: &Thought| !matches!(thought, Thought::Signed { signature, .. } if signature.is_empty());
                self.thoughts.retain(signed);
                let id = thoughts::join(block.id, &std::mem::take(&mut self.thoughts));
                let arguments = block.input.map(RawValue::get).filter(|input| *input != "{}").unwrap_or_default();
                events.push(ChatEvent::ToolCall {
                    choice: 0,
                    index: self.calls,
                    id: Some(id),
                    name: Some(block.name),
                    arguments: arguments.to_owned(),
                });
                self.calls += 1;
                self.call = Some(!arguments.is_empty());
            }
            _ => {}
        }
    }

    /// The end of a block.
    fn end(&mut self) -> Option<ChatEvent> {
        self.cited.end_block();
        if std::mem::take(&mut self.thinks) {
            return self.thoughts.last().and_then(Thought::event);
        }
        // A call without arguments has no pieces; what has none is still an object.
        (self.call.take() == Some(false)).then(|| self.piece("{}".into())).flatten()
    }

    fn delta(&mut self, delta: Delta) -> Option<ChatEvent> {
        match delta.kind.as_deref()? {
            "text_delta" => self.text(delta.text),
            "citations_delta" => {
                self.cited.cite(&delta.citation);
                None
            }
            "thinking_delta" => {
                if let (Some(Thought::Signed { text, .. }), Some(more)) = (self.thoughts.last_mut(), &delta.thinking) {
                    text.push_str(more);
                }
                said(delta.thinking, |text| ChatEvent::Reasoning { choice: 0, text })
            }
            "signature_delta" => {
                if let (Some(Thought::Signed { signature, .. }), Some(more)) =
                    (self.thoughts.last_mut(), delta.signature)
                {
                    signature.push_str(&more);
                }
                None
            }
            "input_json_delta" => {
                // The server's own tools have such pieces too.
                let seen = self.call.as_mut()?;
                let piece = delta.partial_json.filter(|piece| !piece.is_empty())?;
                *seen = true;
                self.piece(piece)
            }
            _ => None,
        }
    }

    /// Words of the answer.
    fn text(&mut self, words: Option<String>) -> Option<ChatEvent> {
        self.cited.say(words.as_deref().unwrap_or_default());
        said(words, |text| ChatEvent::Text { choice: 0, text })
    }

    /// A piece of the last call's arguments.
    fn piece(&self, arguments: String) -> Option<ChatEvent> {
        let index = self.calls.checked_sub(1)?;
        Some(ChatEvent::ToolCall { choice: 0, index, id: None, name: None, arguments })
    }

    fn reported(&mut self, report: Report) -> Decoded {
        let usage = report.usage.or(report.message.and_then(|m| m.usage));
        Decoded { events: self.counted(usage).into_iter().collect(), error: report.error.filter(|e| !e.is_null()) }
    }

    /// The count so far: a member that is absent or null stands as it was.
    fn counted(&mut self, wire: Option<Counts>) -> Option<ChatEvent> {
        self.usage.take(wire?);
        Some(ChatEvent::Usage(self.usage.shown()))
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default)]
    id: String,
    #[serde(default)]
    model: String,
    #[serde(borrow, default)]
    content: Vec<Block<'a>>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    stop_details: Option<StopDetails>,
    #[serde(default)]
    usage: Option<Counts>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    message: Option<Head>,
    #[serde(borrow, default)]
    content_block: Option<Block<'a>>,
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    usage: Option<Counts>,
    #[serde(default)]
    error: Option<Value>,
}

/// The message of a `message_start`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Head {
    id: String,
    model: String,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    citations: Value,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    signature: Option<String>,
    /// Of a redacted thought.
    #[serde(default)]
    data: Option<String>,
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    /// Kept as it was written: numbers lose nothing.
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
}

/// What is new in a block, or in the message.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Delta {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
    citation: Value,
    thinking: Option<String>,
    signature: Option<String>,
    partial_json: Option<String>,
    stop_reason: Option<String>,
    stop_details: Option<StopDetails>,
}

#[derive(Deserialize)]
struct StopDetails {
    #[serde(default)]
    explanation: Option<String>,
}

/// What an answer reports beside its words.
#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    message: Option<Head>,
    #[serde(default)]
    usage: Option<Counts>,
    #[serde(default)]
    error: Option<Value>,
}

/// Cumulative counts. Anthropic's `input_tokens` are those that no cache was involved in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<Creation>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<Details>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct Details {
    thinking_tokens: Option<u64>,
}

/// The written tokens by how long they are kept.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct Creation {
    ephemeral_1h_input_tokens: Option<u64>,
}

impl Counts {
    fn take(&mut self, new: Self) {
        self.input_tokens = new.input_tokens.or(self.input_tokens);
        self.cache_creation_input_tokens = new.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_creation = new.cache_creation.or(self.cache_creation);
        self.cache_read_input_tokens = new.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.output_tokens = new.output_tokens.or(self.output_tokens);
        self.output_tokens_details = new.output_tokens_details.or(self.output_tokens_details);
    }

    fn shown(&self) -> Usage {
        let (cached, written) =
            (self.cache_read_input_tokens.unwrap_or(0), self.cache_creation_input_tokens.unwrap_or(0));
        Usage {
            input_tokens: self.input_tokens.unwrap_or(0).saturating_add(written).saturating_add(cached),
            output_tokens: self.output_tokens.unwrap_or(0),
            cached_input_tokens: cached,
            cache_write_tokens: written,
            long_cache_write_tokens: self.cache_creation.and_then(|c| c.ephemeral_1h_input_tokens).unwrap_or(0),
            reasoning_tokens: self.output_tokens_details.and_then(|d| d.thinking_tokens).unwrap_or(0),
        }
    }
}

/// Whether an event ends its message, as a fault in the server's own words does too. Cheap: a search, no parse; a quotation
/// mark inside a string is escaped.
#[must_use]
pub fn mentions_stop(json: &[u8]) -> bool {
    let holds = |word: &[u8]| memchr::memmem::find(json, word).is_some();
    holds(b"\"message_stop\"") || holds(b"\"error\"")
}

/// Whether an event holds nothing of the answer itself: its begin, a ping, a block of text or thought that opens empty.
/// A block of any other kind is content at once: a call, or work of the server's own tools.
#[must_use]
pub fn is_preamble(json: &[u8]) -> bool {
    let Ok(event) = serde_json::from_slice::<Event<'_>>(json) else { return false };
    match event.kind.as_str() {
        "message_start" | "ping" => true,
        "content_block_start" => event.content_block.is_some_and(|block| match block.kind.as_str() {
            "text" => block.text.is_none_or(|text| text.is_empty()),
            "thinking" => block.thinking.is_none_or(|text| text.is_empty()),
            _ => false,
        }),
        _ => false,
    }
}

/// The tokens in an answer to "Count tokens"; None: it is none.
#[must_use]
pub fn counted(json: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Counted {
        input_tokens: u64,
    }
    serde_json::from_slice::<Counted>(json).ok().map(|counted| counted.input_tokens)
}

/// Anthropic does not say when a message was made.
fn start(id: String, model: String) -> ChatEvent {
    ChatEvent::Start { id, model, created: 0 }
}

fn said(words: Option<String>, event: impl FnOnce(String) -> ChatEvent) -> Option<ChatEvent> {
    words.filter(|words| !words.is_empty()).map(event)
}

fn finish(reason: Option<&str>, details: Option<StopDetails>, events: &mut Vec<ChatEvent>) {
    let Some(reason) = reason else { return };
    let reason = match reason {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    };
    events.extend(said(details.and_then(|d| d.explanation), |text| ChatEvent::Refusal { choice: 0, text }));
    events.push(ChatEvent::Finish { choice: 0, reason });
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

    fn counts(input: u64, output: u64) -> ChatEvent {
        ChatEvent::Usage(Usage {
            input_tokens: input,
            output_tokens: output,
            cached_input_tokens: 30,
            cache_write_tokens: 2,
            long_cache_write_tokens: 1,
            reasoning_tokens: 0,
        })
    }

    fn read(events: &[&str]) -> Vec<ChatEvent> {
        let mut answer = Answer::default();
        events.iter().flat_map(|e| answer.event(e.as_bytes(), true).expect("an event").events).collect()
    }

    const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],
        "stop_reason":null,"usage":{"input_tokens":5,"cache_creation_input_tokens":2,"cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":1},"cache_read_input_tokens":30,"output_tokens":1}}}"#;

    #[test]
    fn an_answer_begins_with_its_first_words_or_block() {
        for (event, preamble) in [
            (START, true),
            (r#"{"type":"ping"}"#, true),
            (r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#, true),
            (r#"{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"t"}}"#, false),
            (r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#, false),
            (r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#, false),
            ("<html>", false),
        ] {
            assert_eq!(is_preamble(event.as_bytes()), preamble, "{event}");
        }
    }

    // Oracle: the streams of Anthropic's page "Streaming messages".
    #[test]
    fn a_stream_of_thought_words_and_calls() {
        let got = read(&[
            START,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"Eq"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hello"}}"#,
            r#"{"type":"content_block_stop","index":1}"#,
            r#"{"type":"content_block_start","index":2,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}"#,
            r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
            r#"{"type":"content_block_stop","index":2}"#,
            r#"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"t1","name":"f","input":{}}}"#,
            r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":""}}"#,
            r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}"#,
            r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"1}"}}"#,
            r#"{"type":"content_block_stop","index":3}"#,
            r#"{"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"t2","name":"f","input":{}}}"#,
            r#"{"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":""}}"#,
            r#"{"type":"content_block_stop","index":4}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":9}}"#,
            r#"{"type":"message_stop"}"#,
            r#"{"type":"an_event_of_tomorrow"}"#,
        ]);
        let want = [
            ChatEvent::Start { id: "msg_1".into(), model: "claude".into(), created: 0 },
            counts(37, 1),
            ChatEvent::Reasoning { choice: 0, text: "hm".into() },
            signed(json!({ "type": "thinking", "thinking": "hm", "signature": "Eq" })),
            ChatEvent::Text { choice: 0, text: "Hello".into() },
            call(0, Some("t1__thinking__W1siaG0iLCJFcSJdXQ"), ""),
            call(0, None, "{\"a\":"),
            call(0, None, "1}"),
            call(1, Some("t2"), ""),
            call(1, None, "{}"),
            ChatEvent::Finish { choice: 0, reason: FinishReason::ToolCalls },
            counts(37, 9),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn a_whole_message_says_the_same() {
        let body = br#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[
            {"type":"redacted_thinking","data":"x"},{"type":"thinking","thinking":"hm","signature":"Eq"},{"type":"text","text":"Hello","citations":null},
            {"type":"tool_use","id":"t1","name":"f","input":{"a": 1.50}},{"type":"tool_use","id":"t2","name":"f","input":{}}],
            "stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":5,"cache_creation_input_tokens":2,"cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":1},"cache_read_input_tokens":30,"output_tokens":9}}"#;
        let want = [
            ChatEvent::Start { id: "msg_1".into(), model: "claude".into(), created: 0 },
            signed(json!({ "type": "redacted_thinking", "data": "x" })),
            ChatEvent::Reasoning { choice: 0, text: "hm".into() },
            signed(json!({ "type": "thinking", "thinking": "hm", "signature": "Eq" })),
            ChatEvent::Text { choice: 0, text: "Hello".into() },
            call(0, Some("t1__thinking__W1sieCJdLFsiaG0iLCJFcSJdXQ"), r#"{"a": 1.50}"#),
            call(1, Some("t2"), ""),
            call(1, None, "{}"),
            ChatEvent::Finish { choice: 0, reason: FinishReason::ToolCalls },
            counts(37, 9),
        ];
        assert_eq!(Answer::default().whole(body, true).expect("a message").events, want);
        assert_eq!(Answer::default().whole(body, false).expect("a message").events, [counts(37, 9)]);
    }

    #[test]
    fn usage_alone_counts_the_same_across_events() {
        let mut answer = Answer::default();
        let mut told = |json: &str| answer.event(json.as_bytes(), false).expect("an event").events;
        assert_eq!(told(START), [counts(37, 1)]);
        assert!(told(r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}"#).is_empty());
        let last = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":6,"cache_read_input_tokens":null,"output_tokens":4}}"#;
        assert_eq!(told(last), [counts(38, 4)]);
    }

    #[test]
    fn every_stop_reason_has_a_meaning() {
        for (reason, want) in [
            ("end_turn", FinishReason::Stop),
            ("stop_sequence", FinishReason::Stop),
            ("max_tokens", FinishReason::Length),
            ("model_context_window_exceeded", FinishReason::Length),
            ("tool_use", FinishReason::ToolCalls),
            ("refusal", FinishReason::ContentFilter),
            ("pause_turn", FinishReason::Other("pause_turn".into())),
        ] {
            let event = format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}"}}}}"#);
            assert_eq!(read(&[event.as_str()]), [ChatEvent::Finish { choice: 0, reason: want }]);
        }
        let refusal = r#"{"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"type":"refusal","category":"cyber","explanation":"No."}}}"#;
        assert_eq!(read(&[refusal])[0], ChatEvent::Refusal { choice: 0, text: "No.".into() });
    }

    #[test]
    fn a_fault_in_the_stream_is_not_an_event() {
        let json = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
        for wants_events in [true, false] {
            let decoded = Answer::default().event(json, wants_events).expect("an event");
            assert!(decoded.events.is_empty());
            assert_eq!(decoded.error.expect("a fault")["type"], "overloaded_error");
        }
        assert!(Answer::default().event(b"<html>", true).is_err());
    }
}
