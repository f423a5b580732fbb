//! What the servers of each kind of provider say, in their own words.

use serde_json::{Value, json};

/// A provider's dialect, as far as the zoo needs it. Pieces are chunks of the scripted upstream's `sse`.
#[derive(Clone, Copy)]
pub(super) struct Wire {
    /// The provider's `type`.
    pub(super) kind: &'static str,
    /// What its configuration says beside its kind, with the address of the server.
    pub(super) config: fn(url: &str) -> String,
    /// The content type of its streams.
    pub(super) streams: &'static str,
    /// Pieces of a stream that come before its first content; may be none.
    pub(super) begin: fn() -> Vec<Value>,
    pub(super) word: fn(&str) -> Value,
    /// Pieces of a call, the `number`th of its answer: `{"n":7}` in two parts.
    pub(super) call: fn(id: &str, number: usize) -> Vec<Value>,
    /// The end after words, or after calls.
    pub(super) end: fn(calls: bool) -> Vec<Value>,
    pub(super) whole: fn(&str) -> Value,
    /// Pieces that report a fault of the server in the middle of a stream.
    pub(super) faults: fn() -> Vec<Value>,
    /// Answers that another server must make good, which only this kind of server gives.
    pub(super) refusals: fn() -> Vec<(&'static str, Value)>,
    /// A piece that does not read.
    pub(super) nonsense: fn() -> Value,
    /// The beginning of a piece that never ends.
    pub(super) endless: fn() -> Value,
    /// The first part of a piece, cut in the middle of a letter or a word.
    pub(super) half: fn() -> Value,
}

impl Wire {
    /// A reply that is well.
    pub(super) fn good(&self, words: &str, stream: bool) -> Value {
        if !stream {
            return json!({ "json": (self.whole)(words) });
        }
        let mut pieces: Vec<Value> = words.split_inclusive(' ').map(self.word).collect();
        pieces.extend((self.end)(false));
        self.stream(pieces)
    }

    /// A reply that streams these pieces after the beginning and then ends.
    pub(super) fn stream(&self, pieces: Vec<Value>) -> Value {
        let pieces = [(self.begin)(), pieces].concat();
        if self.streams == EVENT_STREAM {
            return json!({ "sse": pieces });
        }
        json!({ "binary": pieces, "headers": { "content-type": self.streams } })
    }

    /// A reply that streams these pieces after the beginning and then breaks off.
    pub(super) fn cut(&self, pieces: Vec<Value>) -> Value {
        let frames = (self.begin)().len() + pieces.len();
        let mut reply = self.stream(pieces);
        reply["cut_after"] = frames.into();
        reply
    }
}

const EVENT_STREAM: &str = "text/event-stream";

/// A word whose last letter lacks its second byte, and nothing after it.
fn half_a_letter(word: fn(&str) -> Value) -> Value {
    let text = match word("gr\u{fc}") {
        Value::Object(mut event) if event.contains_key("event") => event.remove("data").unwrap_or_default(),
        data => data,
    };
    let text = format!("data: {text}");
    let at = text.find('\u{fc}').expect("the letter") + 1;
    json!({ "bytes": text.as_bytes()[..at] })
}

pub(super) const OPENAI: Wire = Wire {
    kind: "openai",
    config: |url| format!("base_url: \"{url}/v1\", api_key: k"),
    streams: EVENT_STREAM,
    refusals: Vec::new,
    nonsense: || json!("data: {oops\n\n"),
    endless: || json!("data: "),
    half: || half_a_letter(OPENAI.word),
    begin: || vec![delta(json!({ "role": "assistant", "content": "" }))],
    word: |word| delta(json!({ "content": word })),
    call: |id, number| {
        let first = json!({ "index": number, "id": id, "type": "function", "function": { "name": "look", "arguments": "{\"n\"" } });
        let rest = json!({ "index": number, "function": { "arguments": ":7}" } });
        [first, rest].map(|call| delta(json!({ "tool_calls": [call] }))).to_vec()
    },
    end: |calls| {
        let reason = if calls { "tool_calls" } else { "stop" };
        let last = json!({ "id": "x", "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] });
        vec![last, json!("data: [DONE]\n\n")]
    },
    whole: |words| {
        let message = json!({ "role": "assistant", "content": words });
        json!({ "id": "x", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 } })
    },
    faults: || vec![json!({ "error": { "message": "overloaded", "type": "server_error" } })],
};

/// A piece of a text completion, which servers of OpenAI's kind stream to a client of that route.
pub(super) fn text_piece(word: &str) -> Value {
    json!({ "id": "x", "object": "text_completion", "created": 1, "model": "m",
        "choices": [{ "index": 0, "text": word, "logprobs": null, "finish_reason": null }] })
}

fn delta(delta: Value) -> Value {
    json!({ "id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] })
}

pub(super) const ANTHROPIC: Wire = Wire {
    kind: "anthropic",
    config: OPENAI.config,
    streams: EVENT_STREAM,
    refusals: Vec::new,
    nonsense: OPENAI.nonsense,
    endless: OPENAI.endless,
    half: || half_a_letter(ANTHROPIC.word),
    begin: || {
        let message = json!({ "id": "msg_x", "type": "message", "role": "assistant", "model": "m", "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": { "input_tokens": 1, "output_tokens": 1 } });
        vec![
            event("message_start", json!({ "message": message })),
            event("content_block_start", json!({ "index": 0, "content_block": { "type": "text", "text": "" } })),
            event("ping", json!({})),
        ]
    },
    word: |word| event("content_block_delta", json!({ "index": 0, "delta": { "type": "text_delta", "text": word } })),
    call: |id, number| {
        let index = number + 1;
        let block = json!({ "type": "tool_use", "id": id, "name": "look", "input": {} });
        let piece =
            |json: &str| json!({ "index": index, "delta": { "type": "input_json_delta", "partial_json": json } });
        vec![
            event("content_block_start", json!({ "index": index, "content_block": block })),
            event("content_block_delta", piece("{\"n\"")),
            event("content_block_delta", piece(":7}")),
            event("content_block_stop", json!({ "index": index })),
        ]
    },
    end: |calls| {
        let reason = if calls { "tool_use" } else { "end_turn" };
        vec![
            event("content_block_stop", json!({ "index": 0 })),
            event("message_delta", json!({ "delta": { "stop_reason": reason }, "usage": { "output_tokens": 2 } })),
            event("message_stop", json!({})),
        ]
    },
    whole: |words| {
        json!({ "id": "msg_x", "type": "message", "role": "assistant", "model": "m",
            "content": [{ "type": "text", "text": words }], "stop_reason": "end_turn", "stop_sequence": null,
            "usage": { "input_tokens": 1, "output_tokens": 1 } })
    },
    faults: || vec![event("error", json!({ "error": { "type": "overloaded_error", "message": "overloaded" } }))],
};

/// An event of Anthropic's, named twice as its API does.
fn event(name: &str, mut data: Value) -> Value {
    data["type"] = json!(name);
    json!({ "event": name, "data": data })
}

pub(super) const GEMINI: Wire = Wire {
    kind: "gemini",
    config: |url| format!("base_url: \"{url}/v1beta\", api_key: k"),
    streams: EVENT_STREAM,
    refusals: Vec::new,
    nonsense: OPENAI.nonsense,
    endless: OPENAI.endless,
    half: || half_a_letter(GEMINI.word),
    begin: Vec::new,
    word: |word| candidate(json!([{ "text": word }]), None),
    call: |id, _| {
        let call = json!({ "id": id, "name": "look", "args": { "n": 7 } });
        vec![candidate(json!([{ "functionCall": call }]), None)]
    },
    end: |_| vec![candidate(json!([{ "text": "" }]), Some("STOP"))],
    whole: |words| candidate(json!([{ "text": words }]), Some("STOP")),
    faults: || vec![json!({ "error": { "code": 503, "message": "overloaded", "status": "UNAVAILABLE" } })],
};

fn candidate(parts: Value, finish: Option<&str>) -> Value {
    json!({ "candidates": [{ "content": { "role": "model", "parts": parts }, "finishReason": finish, "index": 0 }],
        "usageMetadata": { "promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2 }, "modelVersion": "m" })
}
