//! A chat's events as the event stream of a Messages answer.
//!
//! Blocks are shown one after the other, as Anthropic's streams are: the first that is not complete is shown as it
//! grows, what comes for later ones waits. A call is complete when its arguments are whole JSON and another block
//! was begun. Invariant: after `end` every block that was started is stopped, and `message_stop` is last.

use bytes::{Bytes, BytesMut};
use frontdesk_api::{ChatEvent, Error, chat::Dialect};
use serde_json::{Value, json};

use super::{
    answer::{Answer, Kind, usage},
    error,
};
use crate::{Writes, sse};

/// Writes one message.
#[derive(Debug)]
pub struct Writer {
    answer: Answer,
    out: BytesMut,
    begun: bool,
    /// The index of the block that stands first in `answer.blocks`.
    index: u32,
    /// Whether that block was started, and how many bytes of its words were shown.
    shown: Option<usize>,
}

impl Writer {
    #[must_use]
    pub fn new(answer: Answer) -> Self {
        Self { answer, out: BytesMut::new(), begun: false, index: 0, shown: None }
    }

    /// Other APIs count at the end, so the counts here are zero; those of `message_delta` are the totals.
    fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let message = json!({
            "id": self.answer.id,
            "type": "message",
            "role": "assistant",
            "model": self.answer.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": usage(&self.answer.usage),
        });
        self.event(&json!({ "type": "message_start", "message": message }));
    }

    /// `last`: nothing comes any more, so what waits is shown.
    fn blocks(&mut self, last: bool) {
        while let Some(block) = self.answer.blocks.front() {
            let index = self.index;
            let unnamed = matches!(&block.kind, Kind::Call { name, .. } if name.is_empty());
            if unnamed && !last {
                return;
            }
            let shown = self.shown.unwrap_or(0);
            let start = self.shown.is_none().then(|| block.empty(&self.answer.id));
            let delta = block.text.get(shown..).filter(|piece| !piece.is_empty()).map(|piece| match block.kind {
                Kind::Text => json!({ "type": "text_delta", "text": piece }),
                Kind::Thinking => json!({ "type": "thinking_delta", "thinking": piece }),
                Kind::Call { .. } => json!({ "type": "input_json_delta", "partial_json": piece }),
            });
            let over = last || (self.answer.blocks.len() > 1 && block.complete());
            self.shown = Some(block.text.len());
            if let Some(block) = start {
                self.event(&json!({ "type": "content_block_start", "index": index, "content_block": block }));
            }
            if let Some(delta) = delta {
                self.event(&json!({ "type": "content_block_delta", "index": index, "delta": delta }));
            }
            if !over {
                return;
            }
            self.event(&json!({ "type": "content_block_stop", "index": index }));
            self.answer.blocks.pop_front();
            self.index += 1;
            self.shown = None;
        }
    }

    /// The event's name is its data's `type`.
    fn event(&mut self, data: &Value) {
        self.out.extend_from_slice(&sse::encode(None, data["type"].as_str(), &data.to_string()));
    }
}

impl Writes for Writer {
    const DIALECT: Dialect = Dialect::AnthropicMessages;

    fn push(&mut self, events: Vec<ChatEvent>) -> Bytes {
        if events.is_empty() {
            return Bytes::new();
        }
        events.into_iter().for_each(|event| self.answer.push(event));
        self.begin();
        self.blocks(false);
        self.out.split().freeze()
    }

    fn end(mut self) -> Bytes {
        self.begin();
        self.blocks(true);
        let delta = json!({ "stop_reason": self.answer.stop_reason(), "stop_sequence": self.answer.stop_sequence() });
        let usage = usage(&self.answer.usage);
        let mut end = json!({ "type": "message_delta", "delta": delta, "usage": usage });
        self.answer.stand_beside(&mut end);
        self.event(&end);
        self.event(&json!({ "type": "message_stop" }));
        self.out.freeze()
    }

    fn whole(mut self, events: Vec<ChatEvent>) -> Bytes {
        events.into_iter().for_each(|event| self.answer.push(event));
        self.answer.whole().into()
    }

    fn broken(fault: &Error, request_id: &str) -> Bytes {
        sse::encode(None, Some("error"), &error::body(fault, request_id).to_string())
    }
}

#[cfg(test)]
mod tests {
    use frontdesk_api::chat::{FinishReason, Usage};

    use super::*;
    use crate::sse::{Decoder, data, field};

    /// The events of every push, and of the end.
    fn streamed(pushes: Vec<Vec<ChatEvent>>) -> Vec<Vec<Value>> {
        let mut writer = Writer::new(Answer::new("msg_1".into(), "up/m".into()));
        let mut out: Vec<Bytes> = pushes.into_iter().map(|events| writer.push(events)).collect();
        out.push(writer.end());
        out.iter().map(|bytes| events(bytes)).collect()
    }

    fn events(bytes: &[u8]) -> Vec<Value> {
        let mut decoder = Decoder::new(100_000);
        decoder.push(bytes);
        let mut out = vec![];
        while let Some(block) = decoder.block().expect("short") {
            let value: Value = serde_json::from_slice(&data(&block).expect("data")).expect("JSON");
            let name = field(&block, b"event").expect("a name");
            assert_eq!(value["type"].as_str().map(str::as_bytes), Some(&*name));
            out.push(value);
        }
        assert_eq!(decoder.rest(), None, "whole events only");
        out
    }

    fn text(text: &str) -> ChatEvent {
        ChatEvent::Text { choice: 0, text: text.into() }
    }

    fn call(index: u32, id: Option<&str>, arguments: &str) -> ChatEvent {
        let name = id.map(|_| "f".to_owned());
        ChatEvent::ToolCall { choice: 0, index, id: id.map(str::to_owned), name, arguments: arguments.into() }
    }

    fn start() -> ChatEvent {
        ChatEvent::Start { id: "c-1".into(), model: "m".into(), created: 3 }
    }

    // Oracle: the streams shown in Anthropic's documentation, "Streaming messages".
    #[test]
    fn words_and_calls_become_blocks_as_they_come() {
        let usage = Usage { input_tokens: 9, output_tokens: 5, cached_input_tokens: 4, ..Usage::default() };
        let got = streamed(vec![
            vec![start()],
            vec![ChatEvent::Reasoning { choice: 0, text: "hm".into() }],
            vec![text("I ")],
            vec![text("look.")],
            vec![call(0, Some("a"), "")],
            vec![call(0, None, r#"{"x":"#)],
            vec![call(0, None, "1}")],
            vec![call(1, Some("b"), r#"{"x":2}"#)],
            vec![ChatEvent::Finish { choice: 0, reason: FinishReason::ToolCalls }],
            vec![ChatEvent::Usage(usage)],
        ]);
        let zero = json!({
            "input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0,
        });
        let block =
            |index: u32, block: Value| json!({ "type": "content_block_start", "index": index, "content_block": block });
        let delta = |index: u32, delta: Value| json!({ "type": "content_block_delta", "index": index, "delta": delta });
        let stop = |index: u32| json!({ "type": "content_block_stop", "index": index });
        let arguments = |piece: &str| json!({ "type": "input_json_delta", "partial_json": piece });
        let tool = |id: &str| json!({ "type": "tool_use", "id": id, "name": "f", "input": {} });
        let want = vec![
            vec![json!({ "type": "message_start", "message": {
                "id": "c-1", "type": "message", "role": "assistant", "model": "m", "content": [],
                "stop_reason": null, "stop_sequence": null, "usage": zero,
            } })],
            vec![
                block(0, json!({ "type": "thinking", "thinking": "", "signature": "" })),
                delta(0, json!({ "type": "thinking_delta", "thinking": "hm" })),
            ],
            vec![
                stop(0),
                block(1, json!({ "type": "text", "text": "" })),
                delta(1, json!({ "type": "text_delta", "text": "I " })),
            ],
            vec![delta(1, json!({ "type": "text_delta", "text": "look." }))],
            vec![stop(1), block(2, tool("a"))],
            vec![delta(2, arguments(r#"{"x":"#))],
            vec![delta(2, arguments("1}"))],
            vec![stop(2), block(3, tool("b")), delta(3, arguments(r#"{"x":2}"#))],
            vec![],
            vec![],
            vec![
                stop(3),
                json!({
                    "type": "message_delta",
                    "delta": { "stop_reason": "tool_use", "stop_sequence": null },
                    "usage": {
                        "input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4,
                        "output_tokens": 5,
                    },
                }),
                json!({ "type": "message_stop" }),
            ],
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn a_call_waits_until_the_one_before_is_complete() {
        let pushes = streamed(vec![
            vec![start(), call(0, Some("a"), "")],
            vec![call(1, Some("b"), r#"{"y":"#)],
            vec![call(0, None, r#"{"x":1}"#)],
            vec![call(1, None, "2}")],
        ]);
        let kinds = |events: &[Value]| -> Vec<String> {
            events.iter().map(|e| format!("{} {}", e["type"].as_str().unwrap_or_default(), e["index"])).collect()
        };
        assert_eq!(kinds(&pushes[0]), ["message_start null", "content_block_start 0"]);
        assert!(pushes[1].is_empty(), "{:?}", pushes[1]);
        assert_eq!(
            kinds(&pushes[2]),
            ["content_block_delta 0", "content_block_stop 0", "content_block_start 1", "content_block_delta 1"]
        );
        assert_eq!(kinds(&pushes[3]), ["content_block_delta 1"]);
    }

    #[test]
    fn an_answer_of_nothing_is_still_a_message() {
        let pushes = streamed(vec![vec![]]);
        assert!(pushes[0].is_empty());
        let kinds: Vec<&Value> = pushes[1].iter().map(|event| &event["type"]).collect();
        assert_eq!(kinds, ["message_start", "message_delta", "message_stop"]);
    }
}
