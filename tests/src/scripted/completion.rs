//! A message of the script as a text completion, whole or streamed. For tests only.
//!
//! Shape: OpenAI's completion object (API reference, "Completions").

use super::message::Asked;
use super::reply::{Frame, Message, data, envelope, pieces};
use super::script::Reply;
use serde_json::{Value, json};

const OBJECT: &str = "text_completion";

pub(super) fn whole(message: &Message, reply: &Reply, asked: &Asked<'_>, number: usize) -> Value {
    let mut answer = envelope(OBJECT, reply, asked, number);
    answer.insert("choices".into(), json!([choice(&text(message), message.finish_reason.clone().into())]));
    answer.insert("usage".into(), message.usage.clone());
    answer.into()
}

pub(super) fn stream(message: &Message, reply: &Reply, asked: &Asked<'_>, number: usize) -> Vec<Frame> {
    let piece = |choices: Value, usage: Option<&Value>| {
        let mut piece = envelope(OBJECT, reply, asked, number);
        piece.insert("choices".into(), choices);
        if let Some(usage) = usage {
            piece.insert("usage".into(), usage.clone());
        }
        data(&piece.into())
    };
    let mut frames: Vec<Frame> =
        pieces(&text(message), reply.piece).iter().map(|p| piece(json!([choice(p, Value::Null)]), None)).collect();
    frames.push(piece(json!([choice("", message.finish_reason.clone().into())]), None));
    if asked.wants_usage() {
        frames.push(piece(json!([]), Some(&message.usage)));
    }
    if reply.done.unwrap_or(true) {
        frames.push(Frame::text("data: [DONE]\n\n"));
    }
    frames
}

fn text(message: &Message) -> String {
    message.text.clone().unwrap_or_default()
}

fn choice(text: &str, finish: Value) -> Value {
    json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish})
}
