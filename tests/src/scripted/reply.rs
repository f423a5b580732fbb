//! From a reply of the script to the bytes on the wire, whole or streamed. For tests only.
//!
//! Both forms of a message come from one description, so a test of the streamed form and one of the
//! whole form ask for the same answer. Shapes: OpenAI's chat completion object and chunk object.

use super::completion;
use super::message::Asked;
use super::script::{Chunk, Reply, ToolCall};
use super::vectors;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Said in every answer made from a message, so that nobody takes it for a model's.
pub(super) const LABEL: &str = "scripted-upstream-for-tests-only";

/// Shown as `created`; a fixed instant keeps answers equal from run to run.
const CREATED: u64 = 1_700_000_000;

/// An answer, ready to be written part by part.
pub(super) struct Rendered {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) parts: Vec<Part>,
    /// Streams are chunked; whole bodies carry their length.
    pub(super) streamed: bool,
}

/// One thing the writer does.
/// Between two letters of an answer that comes letter by letter.
pub(super) const TRICKLE: Duration = Duration::from_millis(100);

#[derive(Debug, PartialEq)]
pub(super) enum Part {
    Write(Bytes),
    /// Wait until the gate lets one pass.
    Gate(String),
    /// Wait so long.
    Pause(Duration),
    /// Cut the connection in the middle of the body.
    Cut,
}

/// Renders `reply` for the `number`th request (from 0).
pub(super) fn render(reply: &Reply, asked: &Asked<'_>, number: usize) -> Rendered {
    let status = reply.status.unwrap_or(200);
    let whole = |content_type, body: String| Rendered {
        status,
        content_type,
        parts: arrange(reply, vec![Frame::text(body)]),
        streamed: reply.cut_after.is_some() || reply.split.is_some(),
    };
    if let Some(json) = &reply.json {
        return whole("application/json", json.to_string());
    }
    if let Some(size) = reply.embed {
        return whole("application/json", vectors::embeddings(size, asked).to_string());
    }
    if let Some(scores) = &reply.rank {
        return whole("application/json", vectors::ranking(scores, asked).to_string());
    }
    if let Some(body) = &reply.body {
        return whole("text/plain; charset=utf-8", body.clone());
    }
    if let Some(chunks) = &reply.binary {
        let frames = chunks.iter().map(binary).collect();
        let content_type = "application/octet-stream";
        return Rendered { status, content_type, parts: arrange(reply, frames), streamed: true };
    }
    let frames = match &reply.sse {
        Some(chunks) => chunks.iter().map(frame).collect(),
        None => {
            let message = Message::of(reply, asked);
            match (asked.wants_stream(), asked.wants_text()) {
                (true, false) => message.stream(reply, asked, number),
                (true, true) => completion::stream(&message, reply, asked, number),
                (false, false) => return whole("application/json", message.whole(reply, asked, number).to_string()),
                (false, true) => {
                    let completion = completion::whole(&message, reply, asked, number);
                    return whole("application/json", completion.to_string());
                }
            }
        }
    };
    Rendered { status, content_type: "text/event-stream", parts: arrange(reply, frames), streamed: true }
}

pub(super) enum Frame {
    Bytes(Bytes),
    Gate(String),
    Trickle(usize),
}

impl Frame {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Bytes(Bytes::from(text.into()))
    }
}

fn frame(chunk: &Chunk) -> Frame {
    match chunk {
        Chunk::Raw(raw) => Frame::text(raw.as_str()),
        Chunk::Bytes(bytes) => Frame::Bytes(bytes.clone().into()),
        Chunk::Fill(size) => Frame::Bytes(vec![b'x'; *size].into()),
        Chunk::Trickle(size) => Frame::Trickle(*size),
        Chunk::Gate(name) => Frame::Gate(name.clone()),
        Chunk::Event { name: None, data } => Frame::text(format!("data: {data}\n\n")),
        Chunk::Event { name: Some(name), data } => Frame::text(format!("event: {name}\ndata: {data}\n\n")),
    }
}

/// Of a stream that is no text: the script's check has seen that there are only Base64, fills and gates.
fn binary(chunk: &Chunk) -> Frame {
    match chunk {
        Chunk::Raw(raw) => Frame::Bytes(BASE64_STANDARD.decode(raw).unwrap_or_default().into()),
        other => frame(other),
    }
}

/// Puts gates, the cut, line ends and the splitting of bytes on frames.
fn arrange(reply: &Reply, frames: Vec<Frame>) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut written = 0;
    for frame in frames {
        let bytes = match frame {
            Frame::Gate(name) => {
                parts.push(Part::Gate(name));
                continue;
            }
            Frame::Trickle(size) => {
                let letter = || [Part::Pause(TRICKLE), Part::Write(Bytes::from_static(b"x"))];
                parts.extend((0..size).flat_map(|_| letter()));
                continue;
            }
            Frame::Bytes(bytes) => bytes,
        };
        for (name, _) in reply.gates.iter().filter(|(_, at)| **at == written) {
            parts.push(Part::Gate(name.clone()));
        }
        if reply.cut_after == Some(written) {
            break;
        }
        let crlf = || Bytes::from(String::from_utf8_lossy(&bytes).replace('\n', "\r\n"));
        let bytes = if reply.crlf { crlf() } else { bytes };
        let size = reply.split.unwrap_or(bytes.len()).max(1);
        let mut at = 0;
        while at < bytes.len() {
            let end = (at + size).min(bytes.len());
            parts.push(Part::Write(bytes.slice(at..end)));
            at = end;
        }
        written += 1;
    }
    if reply.cut_after.is_some() {
        parts.push(Part::Cut);
    } else {
        // A gate past the last frame holds back the end of the answer.
        let late = reply.gates.iter().filter(|(_, at)| **at >= written);
        parts.extend(late.map(|(name, _)| Part::Gate(name.clone())));
    }
    parts
}

/// A message with its placeholders filled.
pub(super) struct Message {
    pub(super) text: Option<String>,
    calls: Vec<Call>,
    pub(super) finish_reason: String,
    pub(super) usage: Value,
}

/// An event of this JSON.
pub(super) fn data(json: &Value) -> Frame {
    Frame::text(format!("data: {json}\n\n"))
}

struct Call {
    id: String,
    name: String,
    arguments: String,
}

impl Message {
    fn of(reply: &Reply, asked: &Asked<'_>) -> Self {
        let quoted = reply.quote_source.then(|| match asked.first_source() {
            Some(source) => format!("\"{source}\" [1]"),
            None => "The request has no sources.".into(),
        });
        let text = quoted.or_else(|| reply.text.as_deref().map(|t| asked.fill(t)));
        let calls: Vec<Call> = reply
            .tool_call
            .iter()
            .chain(&reply.tool_calls)
            .enumerate()
            .map(|(i, call)| Call::of(call, i, asked))
            .collect();
        let default_finish = if calls.is_empty() { "stop" } else { "tool_calls" };
        let prompt = asked.words();
        let completion = text.as_deref().map_or(0, |t| t.split_whitespace().count()) + calls.len();
        let usage = reply.usage.clone().unwrap_or_else(
            || json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}),
        );
        Self { text, calls, finish_reason: reply.finish_reason.clone().unwrap_or_else(|| default_finish.into()), usage }
    }

    fn whole(&self, reply: &Reply, asked: &Asked<'_>, number: usize) -> Value {
        let mut message = Map::new();
        message.insert("role".into(), "assistant".into());
        message.insert("content".into(), self.text.clone().into());
        message.insert("refusal".into(), reply.refusal.clone().into());
        if let Some(reasoning) = &reply.reasoning {
            message.insert("reasoning_content".into(), reasoning.clone().into());
        }
        if !self.calls.is_empty() {
            let calls = self.calls.iter().map(
                |c| json!({"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}),
            );
            message.insert("tool_calls".into(), calls.collect());
        }
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": self.finish_reason});
        let mut answer = envelope("chat.completion", reply, asked, number);
        answer.insert("choices".into(), json!([choice]));
        answer.insert("usage".into(), self.usage.clone());
        answer.into()
    }

    fn stream(&self, reply: &Reply, asked: &Asked<'_>, number: usize) -> Vec<Frame> {
        let chunk = |choices: Value, usage: Option<&Value>| {
            let mut chunk = envelope("chat.completion.chunk", reply, asked, number);
            chunk.insert("choices".into(), choices);
            if let Some(usage) = usage {
                chunk.insert("usage".into(), usage.clone());
            }
            data(&Value::from(chunk))
        };
        let delta = |delta: Value, finish: Value| {
            chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]), None)
        };
        let mut frames = vec![delta(json!({"role": "assistant", "content": ""}), Value::Null)];
        for piece in reply.reasoning.iter().flat_map(|t| pieces(t, reply.piece)) {
            frames.push(delta(json!({"reasoning_content": piece}), Value::Null));
        }
        for piece in self.text.iter().flat_map(|t| pieces(t, reply.piece)) {
            frames.push(delta(json!({"content": piece}), Value::Null));
        }
        for piece in reply.refusal.iter().flat_map(|t| pieces(t, reply.piece)) {
            frames.push(delta(json!({"refusal": piece}), Value::Null));
        }
        for (i, call) in self.calls.iter().enumerate() {
            let head = json!({"index": i, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}});
            frames.push(delta(json!({"tool_calls": [head]}), Value::Null));
            let size = reply.argument_piece.unwrap_or(usize::MAX);
            for piece in pieces(&call.arguments, Some(size)) {
                let part = json!({"index": i, "function": {"arguments": piece}});
                frames.push(delta(json!({"tool_calls": [part]}), Value::Null));
            }
        }
        frames.push(delta(json!({}), self.finish_reason.clone().into()));
        if asked.wants_usage() {
            frames.push(chunk(json!([]), Some(&self.usage)));
        }
        if reply.done.unwrap_or(true) {
            frames.push(Frame::text("data: [DONE]\n\n"));
        }
        frames
    }
}

impl Call {
    fn of(call: &ToolCall, index: usize, asked: &Asked<'_>) -> Self {
        let arguments = match &call.arguments {
            Value::String(raw) => asked.fill(raw),
            Value::Null => "{}".into(),
            object => fill_strings(object, asked).to_string(),
        };
        let id = call.id.clone().unwrap_or_else(|| format!("call_{}", index + 1));
        Self { id, name: call.name.clone(), arguments }
    }
}

/// Fills the placeholders of every string in `value`.
fn fill_strings(value: &Value, asked: &Asked<'_>) -> Value {
    match value {
        Value::String(text) => asked.fill(text).into(),
        Value::Array(items) => items.iter().map(|v| fill_strings(v, asked)).collect(),
        Value::Object(members) => {
            let filled = members.iter().map(|(k, v)| (k.clone(), fill_strings(v, asked)));
            Value::Object(filled.collect())
        }
        other => other.clone(),
    }
}

pub(super) fn envelope(object: &str, reply: &Reply, asked: &Asked<'_>, number: usize) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("id".into(), format!("chatcmpl-scripted-{number}").into());
    members.insert("object".into(), object.into());
    members.insert("created".into(), CREATED.into());
    members.insert("model".into(), asked.model().into());
    members.insert("system_fingerprint".into(), LABEL.into());
    members.extend(reply.extra.clone());
    members
}

/// Cuts `text` into pieces of `size` characters, or into words with the blank before them.
pub(super) fn pieces(text: &str, size: Option<usize>) -> Vec<String> {
    let Some(size) = size else {
        return text.split_inclusive(' ').map(str::to_owned).collect();
    };
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(size.max(1)).map(|c| c.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::*;

    fn asked(stream: bool) -> Asked<'static> {
        let json = json!({"model": "m", "stream": stream, "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": "order 12 please"}]});
        Asked { method: "POST", path: "/v1/chat/completions", text: "", json }
    }

    fn reply(value: Value) -> Reply {
        Script::parse(json!([{ "reply": value }])).unwrap().steps.remove(0).reply
    }

    fn written(parts: &[Part]) -> String {
        let bytes: Vec<u8> = parts
            .iter()
            .filter_map(|p| match p {
                Part::Write(b) => Some(b.to_vec()),
                _ => None,
            })
            .flatten()
            .collect();
        String::from_utf8(bytes).unwrap()
    }

    fn data(text: &str) -> Vec<Value> {
        text.lines().filter_map(|l| l.strip_prefix("data: ")).filter_map(|d| serde_json::from_str(d).ok()).collect()
    }

    #[test]
    fn both_forms_of_a_message_say_the_same() {
        let reply = reply(json!({"text": "order {last_user_number} is on its way", "tool_calls": [
            {"name": "look", "arguments": {"id": "{last_user_number}"}}, {"name": "raw", "arguments": "{oops"}],
            "piece": 3, "argument_piece": 2}));
        let whole: Value = serde_json::from_str(&written(&render(&reply, &asked(false), 0).parts)).unwrap();
        let frames = data(&written(&render(&reply, &asked(true), 0).parts));
        let text: String = frames.iter().filter_map(|f| f["choices"][0]["delta"]["content"].as_str()).collect();
        let mut arguments = [String::new(), String::new()];
        for call in frames.iter().filter_map(|f| f["choices"][0]["delta"]["tool_calls"][0].as_object()) {
            let i = call["index"].as_u64().unwrap() as usize;
            arguments[i].push_str(call["function"]["arguments"].as_str().unwrap());
        }
        let message = &whole["choices"][0]["message"];
        assert_eq!(message["content"], "order 12 is on its way");
        assert_eq!(text, "order 12 is on its way");
        assert_eq!(message["tool_calls"][0]["function"]["arguments"], arguments[0].as_str());
        assert_eq!(arguments, ["{\"id\":\"12\"}".to_owned(), "{oops".to_owned()]);
        assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
        assert_eq!(frames.last().unwrap()["usage"], whole["usage"]);
    }

    #[test]
    fn gates_cuts_and_splits_fall_where_the_script_says() {
        let reply = reply(json!({"sse": ["ab", {"gate": "g"}, {"x": 1}, "never"], "split": 4, "cut_after": 2,
            "gates": {"first": 0}, "crlf": true}));
        let write = |s: &'static str| Part::Write(Bytes::from_static(s.as_bytes()));
        assert_eq!(
            render(&reply, &asked(true), 0).parts,
            [
                Part::Gate("first".into()),
                write("ab"),
                Part::Gate("g".into()),
                write("data"),
                write(": {\""),
                write("x\":1"),
                write("}\r\n\r"),
                write("\n"),
                Part::Cut
            ]
        );
    }

    #[test]
    fn bytes_that_are_no_text_leave_as_they_are() {
        let reply = reply(json!({"binary": ["AP8K", {"gate": "g"}, "DQ=="], "split": 2}));
        let rendered = render(&reply, &asked(true), 0);
        let write = |bytes: &'static [u8]| Part::Write(Bytes::from_static(bytes));
        assert_eq!(rendered.parts, [write(b"\0\xff"), write(b"\n"), Part::Gate("g".into()), write(b"\r")]);
        let bad = Script::parse(json!([{"reply": {"binary": ["no Base64!"]}}])).unwrap_err();
        assert!(bad.contains("step 0") && bad.contains("Base64"), "{bad}");
        assert!(Script::parse(json!([{"reply": {"binary": [{"data": 1}]}}])).is_err());
    }

    #[test]
    fn a_reply_has_exactly_one_kind_of_content() {
        let none = Script::parse(json!([{"reply": {"status": 500}}])).unwrap_err();
        assert!(none.contains("step 0") && none.contains("no content"), "{none}");
        let two = Script::parse(json!([{"reply": {"text": "a", "json": {}}}])).unwrap_err();
        assert!(two.contains("more than one"), "{two}");
        let unknown = Script::parse(json!([{"reply": {"txt": "a"}}])).unwrap_err();
        assert!(unknown.contains("txt"), "{unknown}");
    }
}
