//! What was asked and answered, on a span: only where the operator asked for it (`telemetry.content`).
//!
//! The shape is that of OpenTelemetry's `gen_ai.input.messages` and `gen_ai.output.messages`: messages of parts, as
//! JSON text. Invariant: one attribute never holds more than [`MOST`] bytes, so a span stays small beside the queue.

use frontdesk_api::{
    ChatEvent, ChatRequest,
    chat::{Message, Part, Role},
};
use serde_json::{Value, json};
use tracing::Span;

use super::spans::SpanExt as _;

/// The most of one attribute, in bytes; collectors take few megabytes in a request.
const MOST: usize = 64 << 10;

/// Puts the prompt on the span. One that does not read is the provider's to refuse.
pub(super) fn asked(span: &Span, request: &ChatRequest) {
    let Ok(chat) = request.chat() else { return };
    let messages: Vec<Value> = chat.messages.iter().map(message).collect();
    span.tell("gen_ai.input.messages", bounded(Value::from(messages)));
}

fn message(message: &Message) -> Value {
    let mut parts: Vec<Value> = match &message.tool_call_id {
        Some(id) => vec![json!({ "type": "tool_call_response", "id": id, "response": message.joined() })],
        None => message.content.iter().map(part).collect(),
    };
    parts.extend(message.tool_calls.iter().map(|call| tool_call(&call.id, &call.name, &call.arguments)));
    json!({ "role": role(message.role), "parts": parts })
}

fn part(part: &Part) -> Value {
    match part {
        Part::Text(text) => json!({ "type": "text", "content": text }),
        Part::Other(other) if other["type"] == "refusal" => json!({ "type": "text", "content": other["refusal"] }),
        // Pictures and sounds are named, not copied.
        Part::Other(other) => json!({ "type": other.get("type").and_then(Value::as_str).unwrap_or("other") }),
    }
}

fn tool_call(id: &str, name: &str, arguments: &str) -> Value {
    let arguments = serde_json::from_str(arguments).unwrap_or_else(|_| Value::from(arguments));
    json!({ "type": "tool_call", "id": id, "name": name, "arguments": arguments })
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System | Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

/// An answer as it comes, by candidate.
#[derive(Default)]
pub(super) struct Answer(Vec<Said>);

#[derive(Default)]
struct Said {
    text: String,
    reasoning: String,
    calls: Vec<(String, String, String)>,
}

impl Answer {
    pub(super) fn take(&mut self, event: &ChatEvent) {
        match event {
            ChatEvent::Text { choice, text } | ChatEvent::Refusal { choice, text } => {
                add(&mut self.of(*choice).text, text);
            }
            ChatEvent::Reasoning { choice, text } => add(&mut self.of(*choice).reasoning, text),
            ChatEvent::ToolCall { choice, index, id, name, arguments } => {
                let calls = &mut self.of(*choice).calls;
                let index = (*index as usize).min(calls.len());
                if index == calls.len() {
                    calls.push(Default::default());
                }
                let call = &mut calls[index];
                add(&mut call.0, id.as_deref().unwrap_or_default());
                add(&mut call.1, name.as_deref().unwrap_or_default());
                add(&mut call.2, arguments);
            }
            _ => {}
        }
    }

    /// What candidate `choice` said so far; upstream numbers them from 0 on.
    fn of(&mut self, choice: u32) -> &mut Said {
        let index = (choice as usize).min(self.0.len());
        if index == self.0.len() {
            self.0.push(Said::default());
        }
        &mut self.0[index]
    }

    /// Puts the answer on the span. `reasons`: why each candidate ended.
    pub(super) fn tell(self, span: &Span, reasons: &[String]) {
        let messages = self.0.into_iter().enumerate().map(|(i, said)| {
            let mut parts = vec![];
            if !said.reasoning.is_empty() {
                parts.push(json!({ "type": "reasoning", "content": said.reasoning }));
            }
            if !said.text.is_empty() {
                parts.push(json!({ "type": "text", "content": said.text }));
            }
            parts.extend(said.calls.iter().map(|(id, name, arguments)| tool_call(id, name, arguments)));
            json!({ "role": "assistant", "parts": parts, "finish_reason": reasons.get(i) })
        });
        span.tell("gen_ai.output.messages", bounded(messages.collect()));
    }
}

/// Adds text up to what an attribute may hold.
fn add(all: &mut String, more: &str) {
    let room = MOST.saturating_sub(all.len());
    all.push_str(&more[..more.floor_char_boundary(room)]);
}

fn bounded(messages: Value) -> String {
    let text = messages.to_string();
    if text.len() <= MOST {
        return text;
    }
    // Cut JSON reads as nothing: whoever looks gets JSON that says so.
    json!([{ "role": "system", "parts": [{ "type": "too_large", "bytes": text.len() }] }]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_pieces_is_one_message() {
        let mut answer = Answer::default();
        let call = |id: Option<&str>, arguments: &str| ChatEvent::ToolCall {
            choice: 0,
            index: 0,
            id: id.map(str::to_owned),
            name: id.map(|_| "look".to_owned()),
            arguments: arguments.to_owned(),
        };
        for event in [
            ChatEvent::Text { choice: 0, text: "a".into() },
            ChatEvent::Text { choice: 0, text: "b".into() },
            call(Some("c1"), "{\"n\":"),
            call(None, "1}"),
        ] {
            answer.take(&event);
        }
        let said = &answer.0[0];
        assert_eq!((said.text.as_str(), said.calls[0].2.as_str()), ("ab", "{\"n\":1}"));
    }

    #[test]
    fn a_refusal_of_the_history_is_told_in_its_words() {
        let refusal = Part::Other(json!({ "type": "refusal", "refusal": "I will not." }));
        assert_eq!(part(&refusal), json!({ "type": "text", "content": "I will not." }));
        assert_eq!(part(&Part::Other(json!({ "type": "image_url" }))), json!({ "type": "image_url" }));
    }

    #[test]
    fn an_attribute_is_never_larger_than_its_bound_and_stays_json() {
        let mut answer = Answer::default();
        for _ in 0..100 {
            answer.take(&ChatEvent::Text { choice: 0, text: "é".repeat(1000) });
        }
        assert!(answer.0[0].text.len() <= MOST);
        let text = bounded(json!([{ "parts": "x".repeat(MOST) }]));
        let read: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read[0]["parts"][0]["type"], "too_large");
    }
}
