//! A chat's events written as a text completion: whole, or piece by piece.
//!
//! Thoughts are left out, as the API has no member for them; a refusal is told as text. Invariant: usage comes last
//! and once, and each choice ends with one of the three reasons that the API knows.

use std::collections::BTreeMap;

use bytes::Bytes;
use frontdesk_api::{
    ChatEvent, Error,
    chat::{Dialect, FinishReason, Usage},
};
use serde_json::{Map, Value, json};

use crate::{
    Writes,
    openai::encode::{Chunks, Head, append, usage},
    sse,
};

/// Writes one text completion.
#[derive(Debug)]
pub struct Pieces {
    head: Head,
    wants_usage: bool,
    /// Characters of each choice's tokens so far.
    told: BTreeMap<u32, usize>,
    usage: Option<Usage>,
    /// Members for the next piece.
    extra: Map<String, Value>,
}

const OBJECT: &str = "text_completion";

impl Pieces {
    /// `wants_usage`: whether the client asked for the usage piece (`stream_options.include_usage`).
    #[must_use]
    pub fn new(head: Head, wants_usage: bool) -> Self {
        Self { head, wants_usage, told: BTreeMap::new(), usage: None, extra: Map::new() }
    }

    fn piece(&mut self, choice: Value, out: &mut String) {
        let mut piece = self.head.object(OBJECT, vec![choice]);
        if self.wants_usage {
            piece.insert("usage".into(), Value::Null);
        }
        for (name, value) in std::mem::take(&mut self.extra) {
            piece.entry(name).or_insert(value);
        }
        out.push_str("data: ");
        out.push_str(&Value::Object(piece).to_string());
        out.push_str("\n\n");
    }
}

impl Writes for Pieces {
    const DIALECT: Dialect = Dialect::OpenaiCompletions;

    fn push(&mut self, events: Vec<ChatEvent>) -> Bytes {
        let mut out = String::new();
        let mut events = events.into_iter().peekable();
        while let Some(event) = events.next() {
            match event {
                ChatEvent::Start { id, model, created } => self.head.learn(&id, &model, created),
                ChatEvent::Text { choice: at, text } | ChatEvent::Refusal { choice: at, text } => {
                    // A text's log probabilities travel with it.
                    let own =
                        events.next_if(|next| matches!(next, ChatEvent::Logprobs { choice, .. } if *choice == at));
                    let tokens = match own {
                        Some(ChatEvent::Logprobs { value, .. }) => logprobs(&value, self.told.entry(at).or_default()),
                        _ => Value::Null,
                    };
                    self.piece(choice(at, &text, tokens, None), &mut out);
                }
                ChatEvent::Logprobs { choice: at, value } => {
                    let tokens = logprobs(&value, self.told.entry(at).or_default());
                    self.piece(choice(at, "", tokens, None), &mut out);
                }
                ChatEvent::Finish { choice: at, reason } => {
                    self.piece(choice(at, "", Value::Null, Some(&reason)), &mut out);
                }
                ChatEvent::Usage(usage) => self.usage = Some(usage),
                ChatEvent::Extra(members) => self.extra.extend(members),
                ChatEvent::Reasoning { .. }
                | ChatEvent::Signed { .. }
                | ChatEvent::ToolCall { .. }
                | ChatEvent::Annotations { .. } => {}
            }
        }
        Bytes::from(out)
    }

    /// The usage, where it was asked for and is known, and `[DONE]`.
    fn end(self) -> Bytes {
        let Some(counts) = self.usage.filter(|_| self.wants_usage) else { return sse::DONE };
        let mut piece = self.head.object(OBJECT, vec![]);
        piece.insert("usage".into(), usage(counts));
        let mut out = sse::encode(None, None, &Value::Object(piece).to_string()).to_vec();
        out.extend_from_slice(&sse::DONE);
        Bytes::from(out)
    }

    fn whole(mut self, events: Vec<ChatEvent>) -> Bytes {
        let mut choices = BTreeMap::<u32, Choice>::from([(0, Choice::default())]);
        for event in events {
            match event {
                ChatEvent::Start { id, model, created } => self.head.learn(&id, &model, created),
                ChatEvent::Text { choice, text } | ChatEvent::Refusal { choice, text } => {
                    choices.entry(choice).or_default().text.push_str(&text);
                }
                ChatEvent::Logprobs { choice, value } => {
                    append(&mut choices.entry(choice).or_default().logprobs, value)
                }
                ChatEvent::Finish { choice, reason } => choices.entry(choice).or_default().finish = Some(reason),
                ChatEvent::Usage(counts) => self.usage = Some(counts),
                ChatEvent::Extra(members) => self.extra.extend(members),
                ChatEvent::Reasoning { .. }
                | ChatEvent::Signed { .. }
                | ChatEvent::ToolCall { .. }
                | ChatEvent::Annotations { .. } => {}
            }
        }
        let shown = |(at, own): (u32, Choice)| {
            let finish = own.finish.unwrap_or(FinishReason::Stop);
            choice(at, &own.text, logprobs(&own.logprobs, &mut 0), Some(&finish))
        };
        let mut out = self.head.object(OBJECT, choices.into_iter().map(shown).collect());
        if let Some(counts) = self.usage {
            out.insert("usage".into(), usage(counts));
        }
        for (name, value) in self.extra {
            out.entry(name).or_insert(value);
        }
        Bytes::from(Value::Object(out).to_string())
    }

    fn broken(error: &Error, request_id: &str) -> Bytes {
        Chunks::broken(error, request_id)
    }
}

/// One candidate, put together.
#[derive(Default)]
struct Choice {
    text: String,
    logprobs: Value,
    finish: Option<FinishReason>,
}

fn choice(index: u32, text: &str, logprobs: Value, finish: Option<&FinishReason>) -> Value {
    let finish = finish.map(|reason| match reason {
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Other(_) => "stop",
    });
    json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": finish })
}

/// A chat's log probabilities in the older shape: a list for each kind of fact. `told`: characters of the tokens
/// before these; null where there are none.
fn logprobs(chat: &Value, told: &mut usize) -> Value {
    let content = chat.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if content.is_empty() {
        return Value::Null;
    }
    let (mut tokens, mut own, mut top, mut offsets) = (vec![], vec![], vec![], vec![]);
    for token in content {
        let text = token.get("token").and_then(Value::as_str).unwrap_or_default();
        let others = token.get("top_logprobs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let other = |other: &Value| Some((other.get("token")?.as_str()?.to_owned(), other.get("logprob")?.clone()));
        tokens.push(text);
        own.push(token.get("logprob").cloned().unwrap_or_default());
        top.push(others.iter().filter_map(other).collect::<Map<_, _>>());
        offsets.push(*told);
        *told += text.chars().count();
    }
    let top = if top.iter().all(Map::is_empty) { Value::Null } else { json!(top) };
    json!({ "tokens": tokens, "token_logprobs": own, "top_logprobs": top, "text_offset": offsets })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(wants_usage: bool) -> Pieces {
        Pieces::new(Head { id: "cmpl-1".into(), model: "asked".into(), created: 7 }, wants_usage)
    }

    fn token(text: &str) -> Value {
        let top = json!([{ "token": text, "logprob": -0.5 }, { "token": "x", "logprob": -2 }]);
        json!({ "content": [{ "token": text, "logprob": -0.5, "bytes": null, "top_logprobs": top }], "refusal": null })
    }

    fn events() -> Vec<ChatEvent> {
        let text = |choice, text: &str| ChatEvent::Text { choice, text: text.into() };
        vec![
            ChatEvent::Start { id: "c9".into(), model: "m".into(), created: 0 },
            ChatEvent::Reasoning { choice: 0, text: "hm".into() },
            text(0, "Gr\u{fc}\u{df}e"),
            ChatEvent::Logprobs { choice: 0, value: token("Gr\u{fc}\u{df}e") },
            text(1, "hi"),
            text(0, " you"),
            ChatEvent::Logprobs { choice: 0, value: token(" you") },
            ChatEvent::Finish { choice: 0, reason: FinishReason::Length },
            ChatEvent::Finish { choice: 1, reason: FinishReason::Other("eos".into()) },
            ChatEvent::Usage(Usage { input_tokens: 5, output_tokens: 3, ..Usage::default() }),
        ]
    }

    fn data(bytes: &Bytes) -> Vec<Value> {
        let text = std::str::from_utf8(bytes).expect("text");
        let data = text.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").expect("data"));
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).expect("JSON")).collect()
    }

    // Oracle: OpenAI's API reference, "The completion object".
    #[test]
    fn a_whole_answer_is_the_completion_object() {
        let mut events = events();
        // As a whole chat answer has it: all tokens of a choice at once.
        let both = json!({ "content": [token("Gr\u{fc}\u{df}e")["content"][0], token(" you")["content"][0]] });
        events[3] = ChatEvent::Logprobs { choice: 0, value: both };
        events.remove(6);
        let written: Value = serde_json::from_slice(&pieces(false).whole(events)).expect("JSON");
        let want = json!({
            "id": "c9", "object": "text_completion", "created": 7, "model": "m",
            "choices": [
                { "index": 0, "text": "Gr\u{fc}\u{df}e you", "finish_reason": "length", "logprobs": {
                    "tokens": ["Gr\u{fc}\u{df}e", " you"], "token_logprobs": [-0.5, -0.5], "text_offset": [0, 5],
                    "top_logprobs": [{ "Gr\u{fc}\u{df}e": -0.5, "x": -2 }, { " you": -0.5, "x": -2 }] } },
                { "index": 1, "text": "hi", "finish_reason": "stop", "logprobs": null },
            ],
            "usage": {
                "prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8,
                "prompt_tokens_details": { "cached_tokens": 0 }, "completion_tokens_details": { "reasoning_tokens": 0 }
            }
        });
        assert_eq!(written, want);
    }

    #[test]
    fn a_whole_answer_made_of_a_stream_has_every_tokens_probability() {
        let written: Value = serde_json::from_slice(&pieces(false).whole(events())).expect("JSON");
        assert_eq!(written["choices"][0]["logprobs"]["tokens"], json!(["Gr\u{fc}\u{df}e", " you"]));
    }

    #[test]
    fn pieces_put_together_are_the_whole() {
        let mut writer = pieces(true);
        let mut seen: Vec<Value> = events().into_iter().flat_map(|event| data(&writer.push(vec![event]))).collect();
        let last = data(&writer.end());
        assert_eq!((last.len(), &last[0]["usage"]["total_tokens"], &last[0]["choices"]), (1, &json!(8), &json!([])));
        assert!(seen.iter().all(|piece| piece["usage"] == Value::Null && piece["object"] == OBJECT));
        seen.retain(|piece| piece["choices"][0]["index"] == 0);
        let text: String = seen.iter().filter_map(|piece| piece["choices"][0]["text"].as_str()).collect();
        assert_eq!(text, "Gr\u{fc}\u{df}e you");
        let offsets = seen.iter().filter_map(|piece| piece["choices"][0]["logprobs"]["text_offset"][0].as_u64());
        assert_eq!(offsets.collect::<Vec<_>>(), [0, 5]);
        assert_eq!(seen.last().expect("a last one")["choices"][0]["finish_reason"], "length");
    }

    #[test]
    fn a_text_and_its_log_probabilities_are_one_piece() {
        let seen = data(&pieces(false).push(events()));
        let tokens: Vec<_> = seen.iter().map(|piece| &piece["choices"][0]["logprobs"]["tokens"][0]).collect();
        assert_eq!(tokens[..3], [&json!("Gr\u{fc}\u{df}e"), &Value::Null, &json!(" you")]);
        assert!(seen.iter().all(|piece| piece.get("usage").is_none()));
        assert_eq!(pieces(false).end(), sse::DONE);
    }
}
