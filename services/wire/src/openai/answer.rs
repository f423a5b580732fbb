//! Decodes chat answers, whole or in pieces, into events; finds usage without decoding the rest.

use std::ops::Range;

use frontdesk_api::{
    ChatEvent,
    chat::{FinishReason, Usage},
};
use serde::Deserialize;
use serde_json::Value;

use crate::members::members;

/// The member of `ChatEvent::Extra` that holds the stop string which ended the answer, where the server names it.
pub const STOP_SEQUENCE: &str = "stop_sequence";

/// A `chat.completion`, a `chat.completion.chunk` or a `text_completion`: they differ only in where the words are.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    /// Some servers send a fraction.
    #[serde(default)]
    created: Option<f64>,
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    x_groq: Option<XGroq>,
    #[serde(default)]
    error: Option<Value>,
}

/// What Groq says of a streamed answer beside OpenAI's members: its last piece has the usage in here, whether or not
/// it was asked for (Groq's API reference, "chat completion chunk").
#[derive(Deserialize)]
struct XGroq {
    #[serde(default)]
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Choice {
    /// Some servers leave it out, or send null.
    #[serde(default)]
    index: Option<u32>,
    #[serde(default)]
    delta: Option<Delta>,
    /// The same of a whole answer. Some servers repeat all of it beside the last piece.
    #[serde(default)]
    message: Option<Delta>,
    /// The words of a text completion.
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    finish_reason: Option<FinishReason>,
    #[serde(default)]
    logprobs: Option<Value>,
    /// vLLM: the stop string that ended the answer, or the number of a token.
    #[serde(default)]
    stop_reason: Option<Value>,
    /// SGLang's name for the same.
    #[serde(default)]
    matched_stop: Option<Value>,
}

#[derive(Deserialize, Default)]
struct Delta {
    #[serde(default)]
    content: Option<Value>,
    /// DeepSeek, vLLM, llama.cpp and our engine.
    #[serde(default)]
    reasoning_content: Option<Value>,
    /// OpenRouter and Groq; some servers send both.
    #[serde(default)]
    reasoning: Option<Value>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
    #[serde(default)]
    annotations: Option<Value>,
}

#[derive(Deserialize)]
struct Call {
    #[serde(default)]
    index: Option<u32>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Function,
}

#[derive(Deserialize, Default)]
struct Function {
    #[serde(default)]
    name: Option<String>,
    /// Text by the API; some servers send the object itself.
    #[serde(default)]
    arguments: Option<Value>,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
    /// DeepSeek's name for the cached tokens (its API reference, "usage").
    #[serde(default)]
    prompt_cache_hit_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize, Default)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
    /// OpenAI for models whose writes cost more than reading, and OpenRouter.
    #[serde(default)]
    cache_write_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

#[allow(clippy::cast_possible_truncation)] // a fraction of a second is nothing, and out of range is the end of it
fn whole_seconds(unix: f64) -> i64 {
    unix as i64
}

/// One decoded piece of an answer.
#[derive(Debug, Default, PartialEq)]
pub struct Decoded {
    pub events: Vec<ChatEvent>,
    /// The piece has no choices: it only reports usage.
    pub usage_only: bool,
    /// The server reports a fault inside its answer.
    pub error: Option<Value>,
}

/// Reads a whole body or one event's data. `first`: whether to begin with `ChatEvent::Start`.
///
/// # Errors
/// The JSON error, when the text is not an answer.
pub fn decode(json: &[u8], first: bool) -> serde_json::Result<Decoded> {
    let answer: Answer = serde_json::from_slice(json)?;
    let usage_only = answer.choices.is_empty() && answer.usage.is_some();
    let mut events = vec![];
    if first {
        events.push(ChatEvent::Start {
            id: answer.id.unwrap_or_default(),
            model: answer.model.unwrap_or_default(),
            created: whole_seconds(answer.created.unwrap_or_default()),
        });
    }
    for choice in answer.choices {
        choice_events(choice, &mut events);
    }
    let usage = answer.usage.or_else(|| answer.x_groq?.usage);
    events.extend(usage.map(|u| ChatEvent::Usage(u.into())));
    Ok(Decoded { events, usage_only, error: answer.error.filter(|e| !e.is_null()) })
}

/// As [`decode`], but of the events only the usage, found without reading the rest: for answers that are passed on.
///
/// # Errors
/// The JSON error, when the text is not an answer.
pub fn decode_usage(json: &[u8]) -> serde_json::Result<Decoded> {
    let (mut usage, mut groq, mut error, mut choices) = (None, None, None, None);
    let whole = members(json, |name, at| match name {
        b"usage" => usage = Some(at),
        b"x_groq" => groq = Some(at),
        b"error" => error = Some(at),
        b"choices" => choices = Some(at),
        _ => {}
    });
    let listed = |at: &Range<usize>| json[at.start] == b'[';
    if whole.is_none() || choices.as_ref().is_some_and(|at| !listed(at)) {
        // The parser says what is wrong.
        return decode(json, false);
    }
    let usage: Option<WireUsage> = usage.map(|at| serde_json::from_slice(&json[at])).transpose()?.flatten();
    let usage_only = usage.is_some();
    let usage = match (usage, groq) {
        (None, Some(at)) => serde_json::from_slice::<Option<XGroq>>(&json[at])?.and_then(|groq| groq.usage),
        (usage, _) => usage,
    };
    let error: Option<Value> = error.map(|at| serde_json::from_slice(&json[at])).transpose()?;
    let no_choices =
        choices.is_none_or(|at| json[at].iter().all(|b| matches!(b, b'[' | b']') || b.is_ascii_whitespace()));
    let usage_only = no_choices && usage_only;
    let events = usage.map(|u| ChatEvent::Usage(u.into())).into_iter().collect();
    Ok(Decoded { events, usage_only, error: error.filter(|e| !e.is_null()) })
}

fn choice_events(wire: Choice, events: &mut Vec<ChatEvent>) {
    let choice = wire.index.unwrap_or_default();
    let delta = wire.delta.or(wire.message).unwrap_or_default();
    let thoughts = thoughts(delta.content.as_ref());
    if let Some(text) = text(delta.reasoning_content).or_else(|| text(delta.reasoning)).or(thoughts) {
        events.push(ChatEvent::Reasoning { choice, text });
    }
    if let Some(text) = text(delta.content).or(wire.text.filter(|text| !text.is_empty())) {
        events.push(ChatEvent::Text { choice, text });
    }
    if let Some(text) = delta.refusal.filter(|t| !t.is_empty()) {
        events.push(ChatEvent::Refusal { choice, text });
    }
    for (at, call) in delta.tool_calls.unwrap_or_default().into_iter().enumerate() {
        let arguments = match call.function.arguments {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(object) => object.to_string(),
        };
        events.push(ChatEvent::ToolCall {
            choice,
            index: call.index.unwrap_or(u32::try_from(at).unwrap_or(u32::MAX)),
            id: call.id.filter(|id| !id.is_empty()),
            name: call.function.name.filter(|name| !name.is_empty()),
            arguments,
        });
    }
    if let Some(value) = delta.annotations.filter(|v| v.as_array().is_some_and(|a| !a.is_empty())) {
        events.push(ChatEvent::Annotations { choice, value });
    }
    if let Some(value) = wire.logprobs.filter(|v| !v.is_null()) {
        events.push(ChatEvent::Logprobs { choice, value });
    }
    if let Some(Value::String(stop)) = wire.stop_reason.or(wire.matched_stop) {
        events.push(ChatEvent::Extra([(STOP_SEQUENCE.to_owned(), stop.into())].into_iter().collect()));
    }
    if let Some(reason) = wire.finish_reason {
        events.push(ChatEvent::Finish { choice, reason });
    }
}

/// Content is text, or a list of parts of which the text ones count (Mistral).
fn text(content: Option<Value>) -> Option<String> {
    let text = match content? {
        Value::String(text) => text,
        Value::Array(parts) => parts.iter().filter_map(|p| p.get("text").and_then(Value::as_str)).collect(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// Thoughts that stand among the parts of the content (Mistral's reasoning models): `{"type": "thinking", "thinking":
/// [{"type": "text", "text": …}]}`.
fn thoughts(content: Option<&Value>) -> Option<String> {
    let Value::Array(parts) = content? else { return None };
    parts.iter().filter_map(|part| text(part.get("thinking").cloned())).reduce(|a, b| a + &b)
}

/// Whether a piece of a stream brings something of the answer, also where it is nothing that is decoded here (sound, the
/// function calls of old, members of tomorrow): any member of its delta but the role that is not empty.
#[must_use]
pub fn speaks(json: &[u8]) -> bool {
    let Ok(piece) = serde_json::from_slice::<Value>(json) else { return false };
    let empty = |value: &Value| match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    };
    let choices = piece.get("choices").and_then(Value::as_array).into_iter().flatten();
    let deltas = choices.filter_map(|choice| choice.get("delta")?.as_object());
    deltas.flatten().any(|(name, value)| name != "role" && !empty(value))
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let prompt = wire.prompt_tokens_details.unwrap_or_default();
        Self {
            input_tokens: wire.prompt_tokens.unwrap_or(0),
            output_tokens: wire.completion_tokens.unwrap_or(0),
            cached_input_tokens: prompt.cached_tokens.or(wire.prompt_cache_hit_tokens).unwrap_or(0),
            cache_write_tokens: prompt.cache_write_tokens.unwrap_or(0),
            long_cache_write_tokens: 0,
            reasoning_tokens: wire.completion_tokens_details.and_then(|d| d.reasoning_tokens).unwrap_or(0),
        }
    }
}

/// Whether the text carries a usage object worth decoding. Cheap: a search, no parse. A quotation mark inside
/// a JSON string is escaped, so the words of an answer cannot pose as the member.
#[must_use]
pub fn mentions_usage(json: &[u8]) -> bool {
    holds(json, b"\"usage\"", b'{')
}

/// Whether the text says why a choice ended. Cheap, as [`mentions_usage`] is.
#[must_use]
pub fn mentions_finish(json: &[u8]) -> bool {
    holds(json, b"\"finish_reason\"", b'"')
}

/// Whether there is such a member whose value begins so.
fn holds(json: &[u8], member: &[u8], begins: u8) -> bool {
    memchr::memmem::find_iter(json, member).any(|at| {
        let value = json[at + member.len()..].trim_ascii_start().strip_prefix(b":");
        value.is_some_and(|value| value.trim_ascii_start().first() == Some(&begins))
    })
}

/// Whether the text may carry an error, in a server's answer that has begun well. Cheap, as [`mentions_usage`] is.
#[must_use]
pub fn mentions_error(json: &[u8]) -> bool {
    memchr::memmem::find(json, b"\"error\":").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Oracle: ThinkChunk of the package mistralai.
    #[test]
    fn mistrals_thoughts_stand_among_the_parts_of_the_content() {
        let piece = br#"{"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"yes"}]}}]}"#;
        let events = decode(piece, false).expect("an answer").events;
        let (choice, thought) = (0, String::from("hm"));
        assert_eq!(events[0], ChatEvent::Reasoning { choice, text: thought });
        assert_eq!(events[1], ChatEvent::Text { choice, text: "yes".into() });
        assert_eq!(events.len(), 2);
    }

    #[test]
    fn a_piece_that_is_not_decoded_speaks_all_the_same() {
        let piece = |delta: &str| format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
        for silent in [r#"{"role":"assistant","content":"","refusal":null,"tool_calls":[]}"#, "{}", "null"] {
            assert!(!speaks(piece(silent).as_bytes()), "{silent}");
        }
        for told in [r#"{"function_call":{"name":"f"}}"#, r#"{"audio":{"id":"a"}}"#, r#"{"content":[{"type":"x"}]}"#] {
            assert!(speaks(piece(told).as_bytes()), "{told}");
        }
        assert!(!speaks(b"no JSON") && !speaks(br#"{"choices":[],"usage":{"prompt_tokens":1}}"#));
    }

    // Oracle: the last piece of a stream in Groq's API reference, shortened.
    #[test]
    fn groqs_own_usage_counts_where_there_is_no_other() {
        let piece = br#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"r","usage":{"prompt_tokens":5,"completion_tokens":2}}}"#;
        let both = br#"{"choices":[],"usage":{"prompt_tokens":6},"x_groq":{"usage":{"prompt_tokens":5}}}"#;
        for decode in [|json: &[u8]| decode(json, false), decode_usage] {
            let count = |json: &[u8]| {
                let decoded = decode(json).expect("a piece");
                let count = decoded.events.iter().find_map(|e| match e {
                    ChatEvent::Usage(usage) => Some(usage.input_tokens),
                    _ => None,
                });
                (count, decoded.usage_only)
            };
            assert_eq!(count(piece), (Some(5), false));
            assert_eq!(count(both), (Some(6), true));
            assert_eq!(count(br#"{"choices":[{"delta":{}}],"x_groq":{"id":"r"}}"#), (None, false));
        }
    }

    // Oracle: "usage" in DeepSeek's API reference.
    #[test]
    fn deepseeks_hits_are_cached_tokens() {
        let json = br#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1,"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":1}}"#;
        let events = decode_usage(json).expect("a piece").events;
        assert!(matches!(events[..], [ChatEvent::Usage(usage)] if usage.cached_input_tokens == 8), "{events:?}");
    }

    #[test]
    fn a_whole_answer_and_its_pieces_say_the_same() {
        let whole = br#"{"id":"x","object":"chat.completion","created":3,"model":"m","choices":[{"index":0,"message":{"role":"assistant",
            "content":"hi","refusal":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},
            "finish_reason":"tool_calls"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,
            "prompt_tokens_details":{"cached_tokens":3,"cache_write_tokens":1}}}"#;
        let usage = Usage {
            input_tokens: 5,
            output_tokens: 2,
            cached_input_tokens: 3,
            cache_write_tokens: 1,
            ..Usage::default()
        };
        let want = vec![
            ChatEvent::Start { id: "x".into(), model: "m".into(), created: 3 },
            ChatEvent::Text { choice: 0, text: "hi".into() },
            ChatEvent::ToolCall {
                choice: 0,
                index: 0,
                id: Some("c".into()),
                name: Some("f".into()),
                arguments: "{}".into(),
            },
            ChatEvent::Finish { choice: 0, reason: FinishReason::ToolCalls },
            ChatEvent::Usage(usage),
        ];
        assert_eq!(decode(whole, true).expect("an answer").events, want);

        let pieces: [&[u8]; 4] = [
            br#"{"id":"x","created":3,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"hi"},"finish_reason":null}],"usage":null}"#,
            br#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{}"}}]}}]}"#,
            br#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#,
            br#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":3,"cache_write_tokens":1}}}"#,
        ];
        let loose = br#"{"id":"x","created":3.9,"model":"m","choices":[{"index":null,"delta":{"content":"hi"}}]}"#;
        assert_eq!(decode(loose, true).expect("a chunk").events[..], want[..2]);
        let decoded: Vec<Decoded> =
            pieces.iter().enumerate().map(|(i, p)| decode(p, i == 0).expect("a chunk")).collect();
        assert!(decoded[3].usage_only && !decoded[0].usage_only);
        assert_eq!(decoded.into_iter().flat_map(|d| d.events).collect::<Vec<_>>(), want);
    }

    #[test]
    fn a_text_completion_says_its_words() {
        let json = br#"{"object":"text_completion","choices":[{"index":1,"text":"hi","logprobs":null,"finish_reason":"length"}]}"#;
        let finish = ChatEvent::Finish { choice: 1, reason: FinishReason::Length };
        let want = [ChatEvent::Text { choice: 1, text: "hi".into() }, finish];
        assert_eq!(decode(json, false).expect("an answer").events, want);
    }

    #[test]
    fn usage_alone_says_the_same_as_the_whole() {
        for json in [
            &br#"{"id":"x","choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#[..],
            br#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#,
            br#"{"usage":{"prompt_tokens":5}}"#,
            br#"{"choices":[{"delta":{}}],"usage":null}"#,
            br#"{"error":{"message":"no"},"usage":{}}"#,
        ] {
            let (whole, usage) = (decode(json, false).expect("an answer"), decode_usage(json).expect("an answer"));
            let told = whole.events.into_iter().filter(|e| matches!(e, ChatEvent::Usage(_))).collect::<Vec<_>>();
            assert_eq!((told, whole.usage_only, whole.error), (usage.events, usage.usage_only, usage.error));
        }
        assert!(decode_usage(br#"{"choices":7,"usage":{}}"#).is_err());
    }

    #[test]
    fn usage_is_found_without_being_fooled() {
        assert!(mentions_usage(br#"{"choices":[],"usage": {"prompt_tokens":1}}"#));
        assert!(mentions_usage(b"{\"usage\"\n :\t{\"prompt_tokens\":1}}"));
        assert!(!mentions_usage(br#"{"usage":null}"#));
        assert!(mentions_finish(br#"{"choices":[{"delta":{},"finish_reason": "stop"}]}"#));
        for goes_on in [
            br#"{"choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#.as_slice(),
            br#"{"choices":[{"delta":{"content":"\"finish_reason\":\"stop\""}}]}"#,
        ] {
            assert!(!mentions_finish(goes_on));
        }
        assert!(!mentions_usage(br#"{"choices":[{"delta":{"content":"\"usage\":{}"}}]}"#));
    }

    #[test]
    fn the_stop_string_that_ended_an_answer_is_told() {
        for name in ["stop_reason", "matched_stop"] {
            let json = format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":"stop","{name}":"END"}}]}}"#);
            let events = decode(json.as_bytes(), false).expect("a chunk").events;
            assert!(matches!(&events[0], ChatEvent::Extra(more) if more[STOP_SEQUENCE] == "END"), "{events:?}");
            let events = decode(json.replace("\"END\"", "128009").as_bytes(), false).expect("a chunk").events;
            assert!(matches!(&events[..], [ChatEvent::Finish { .. }]), "{events:?}");
        }
    }

    #[test]
    fn unknown_finish_reasons_and_object_arguments_survive() {
        let json = br#"{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},"finish_reason":"eos_token"}]}"#;
        let events = decode(json, false).expect("a chunk").events;
        assert!(matches!(&events[0], ChatEvent::ToolCall { arguments, .. } if arguments == r#"{"a":1}"#));
        assert!(matches!(&events[1], ChatEvent::Finish { reason: FinishReason::Other(r), .. } if r == "eos_token"));
    }
}
