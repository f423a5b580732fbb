//! Events of an answer as OpenAI documents: one `chat.completion`, or a stream of `chat.completion.chunk`.
//!
//! Shapes: <https://platform.openai.com/docs/api-reference/chat/object> and `…/chat-streaming`. Invariant: a good stream ends
//! with a chunk that has a `finish_reason`, the usage chunk if asked for, and `[DONE]`; a bad one ends with an error event.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::generation::{Event, Usage};
use super::problem::Problem;

/// What all documents of one answer have in common.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// `chatcmpl-…`.
    pub(crate) id: String,
    pub(crate) model: String,
    /// Unix seconds.
    pub(crate) created: u64,
}

impl Head {
    fn document(&self, object: &str) -> Map<String, Value> {
        let mut document = Map::new();
        document.insert("id".into(), json!(self.id));
        document.insert("object".into(), json!(object));
        document.insert("created".into(), json!(self.created));
        document.insert("model".into(), json!(self.model));
        document
    }
}

fn usage_document(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.answer,
        "total_tokens": usage.prompt + usage.answer,
    })
}

/// Collects an answer that is sent in one piece.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    text: String,
    reasoning: String,
    calls: Vec<Value>,
    logprobs: Vec<Value>,
}

impl Collected {
    /// Takes an event; the last one makes the document.
    ///
    /// # Errors
    /// The problem the answer ended with.
    pub(crate) fn take(&mut self, head: &Head, event: Event) -> Option<Result<Value, Problem>> {
        match event {
            Event::Text(piece) => self.text.push_str(&piece),
            Event::Reasoning(piece) => self.reasoning.push_str(&piece),
            Event::Logprob(one) => self.logprobs.push(one),
            Event::Call(call) => self.calls.push(json!({
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            })),
            Event::Failed(problem) => return Some(Err(problem)),
            Event::Finish { reason, usage } => return Some(Ok(self.document(head, reason, usage))),
        }
        None
    }

    fn document(&mut self, head: &Head, reason: &str, usage: Usage) -> Value {
        let text = std::mem::take(&mut self.text);
        let calls = std::mem::take(&mut self.calls);
        let mut message = Map::new();
        message.insert("role".into(), json!("assistant"));
        let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { Value::String(text) };
        message.insert("content".into(), content);
        message.insert("refusal".into(), Value::Null);
        if !self.reasoning.is_empty() {
            message.insert("reasoning_content".into(), json!(self.reasoning));
        }
        if !calls.is_empty() {
            message.insert("tool_calls".into(), Value::Array(calls));
        }
        let logprobs = match self.logprobs.is_empty() {
            true => Value::Null,
            false => json!({"content": self.logprobs, "refusal": null}),
        };
        let mut document = head.document("chat.completion");
        let choice = json!({"index": 0, "message": message, "logprobs": logprobs, "finish_reason": reason});
        document.insert("choices".into(), json!([choice]));
        document.insert("usage".into(), usage_document(usage));
        Value::Object(document)
    }
}

/// Writes an answer as server-sent events.
#[derive(Debug)]
pub(crate) struct Streamed {
    head: Head,
    include_usage: bool,
    calls: usize,
    begun: bool,
}

impl Streamed {
    pub(crate) fn new(head: Head, include_usage: bool) -> Self {
        Self { head, include_usage, calls: 0, begun: false }
    }

    /// The bytes of an event, and whether the stream ends with them.
    pub(crate) fn frame(&mut self, event: Event) -> (Bytes, bool) {
        let mut out = String::new();
        if !self.begun && !matches!(event, Event::Failed(_)) {
            self.begun = true;
            self.chunk(&mut out, json!({"role": "assistant", "content": ""}), Value::Null, None);
        }
        let mut over = false;
        match event {
            Event::Text(piece) => self.chunk(&mut out, json!({"content": piece}), Value::Null, None),
            Event::Reasoning(piece) => {
                self.chunk(&mut out, json!({"reasoning_content": piece}), Value::Null, None);
            }
            Event::Logprob(one) => {
                let logprobs = json!({"content": [one], "refusal": null});
                self.chunk(&mut out, json!({}), logprobs, None);
            }
            Event::Call(call) => {
                let call = json!({
                    "index": self.calls,
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                });
                self.calls += 1;
                self.chunk(&mut out, json!({"tool_calls": [call]}), Value::Null, None);
            }
            Event::Failed(problem) => {
                event_line(&mut out, &problem.document());
                over = true;
            }
            Event::Finish { reason, usage } => {
                self.chunk(&mut out, json!({}), Value::Null, Some(reason));
                if self.include_usage {
                    let mut document = self.head.document("chat.completion.chunk");
                    document.insert("choices".into(), json!([]));
                    document.insert("usage".into(), usage_document(usage));
                    event_line(&mut out, &Value::Object(document));
                }
                out.push_str("data: [DONE]\n\n");
                over = true;
            }
        }
        (Bytes::from(out), over)
    }

    fn chunk(&self, out: &mut String, delta: Value, logprobs: Value, reason: Option<&str>) {
        let mut document = self.head.document("chat.completion.chunk");
        let choice = json!({"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason});
        document.insert("choices".into(), json!([choice]));
        if self.include_usage {
            document.insert("usage".into(), Value::Null);
        }
        event_line(out, &Value::Object(document));
    }
}

fn event_line(out: &mut String, document: &Value) {
    out.push_str("data: ");
    out.push_str(&document.to_string());
    out.push_str("\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::calls::Call;

    fn head() -> Head {
        Head { id: "chatcmpl-1".into(), model: "m".into(), created: 7 }
    }

    fn call(name: &str) -> Event {
        Event::Call(Call { id: format!("id-{name}"), name: name.into(), arguments: "{}".into() })
    }

    const END: Event = Event::Finish { reason: "stop", usage: Usage { prompt: 3, answer: 2 } };

    fn stream(include_usage: bool, events: Vec<Event>) -> (Vec<Value>, String) {
        let mut streamed = Streamed::new(head(), include_usage);
        let bytes: Vec<u8> = events.into_iter().flat_map(|event| streamed.frame(event).0).collect();
        let text = String::from_utf8(bytes).unwrap();
        let lines = text.split("\n\n").filter_map(|line| line.strip_prefix("data: "));
        let documents = lines.filter(|line| *line != "[DONE]").map(|line| serde_json::from_str(line).unwrap());
        (documents.collect(), text.clone())
    }

    #[test]
    fn a_stream_begins_with_the_role_and_numbers_its_calls() {
        let (documents, text) = stream(true, vec![Event::Text("hi".into()), call("a"), call("b"), END]);
        assert_eq!(documents[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(documents[1]["choices"][0]["delta"], json!({"content": "hi"}));
        assert_eq!(documents[3]["choices"][0]["delta"]["tool_calls"][0]["index"], 1);
        assert_eq!(documents[4]["choices"][0]["finish_reason"], "stop");
        assert_eq!(documents[5]["choices"], json!([]));
        assert_eq!(documents[5]["usage"]["total_tokens"], 5);
        assert!(text.ends_with("data: [DONE]\n\n"));
    }

    #[test]
    fn usage_is_only_there_when_asked_for_and_an_error_ends_the_stream() {
        let (documents, _) = stream(false, vec![Event::Text("hi".into()), END]);
        assert!(documents.iter().all(|document| document.get("usage").is_none()));
        let failed = Event::Failed(Problem::engine("broke"));
        let (documents, text) = stream(false, vec![Event::Text("hi".into()), failed]);
        assert_eq!(documents[2]["error"]["message"], "broke");
        assert!(!text.contains("[DONE]"));
    }

    #[test]
    fn a_whole_answer_has_null_content_beside_calls() {
        let mut collected = Collected::default();
        assert!(collected.take(&head(), call("a")).is_none());
        let document = collected.take(&head(), END).unwrap().unwrap();
        let message = &document["choices"][0]["message"];
        assert_eq!(message["content"], Value::Null);
        assert_eq!(message["tool_calls"][0]["function"], json!({"name": "a", "arguments": "{}"}));
        assert_eq!(document["usage"]["prompt_tokens"], 3);
    }
}
