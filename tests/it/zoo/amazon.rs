//! What Amazon Bedrock says: messages of an AWS event stream, and errors whose type stands in a header.
//!
//! Sources: "Amazon EventStream Specification" (Smithy), the pages "ConverseStream" and "Common Errors" of the API
//! reference.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::wire::Wire;

pub(super) const BEDROCK: Wire = Wire {
    kind: "bedrock",
    config: |url| format!("base_url: \"{url}\", region: eu-central-1, api_key: k, models: [m]"),
    streams: "application/vnd.amazon.eventstream",
    begin: || vec![event("messageStart", json!({ "role": "assistant" }))],
    word: |word| delta(0, json!({ "text": word })),
    call: |id, number| {
        let block = number + 1;
        let start = json!({ "contentBlockIndex": block, "start": { "toolUse": { "toolUseId": id, "name": "look" } } });
        let piece = |json: &str| delta(block, json!({ "toolUse": { "input": json } }));
        vec![
            event("contentBlockStart", start),
            piece("{\"n\""),
            piece(":7}"),
            event("contentBlockStop", json!({ "contentBlockIndex": block })),
        ]
    },
    end: |calls| {
        let usage = json!({ "usage": { "inputTokens": 1, "outputTokens": 1, "totalTokens": 2 }, "metrics": { "latencyMs": 1 } });
        vec![
            event("messageStop", json!({ "stopReason": if calls { "tool_use" } else { "end_turn" } })),
            event("metadata", usage),
        ]
    },
    whole: |words| {
        json!({ "output": { "message": { "role": "assistant", "content": [{ "text": words }] } }, "stopReason": "end_turn",
            "usage": { "inputTokens": 1, "outputTokens": 1, "totalTokens": 2 }, "metrics": { "latencyMs": 1 } })
    },
    faults: || {
        let exception = |kind: &str, payload: Value| {
            message(&[(":exception-type", kind), (":message-type", "exception")], &payload)
        };
        vec![
            exception("throttlingException", json!({ "message": "Too many tokens" })),
            exception(
                "modelStreamErrorException",
                json!({ "message": "no", "originalStatusCode": 500, "originalMessage": "overloaded" }),
            ),
            exception("serviceUnavailableException", json!({ "message": "overloaded" })),
            exception("internalServerException", json!({ "message": "no" })),
            message(
                &[(":error-code", "InternalFailure"), (":error-message", "no"), (":message-type", "error")],
                &json!({}),
            ),
        ]
    },
    refusals: || {
        let named = |status: u16, kind: &str| {
            json!({ "status": status, "headers": { "x-amzn-errortype": format!("{kind}:http://internal.amazon.com/") },
                "json": { "message": "no" } })
        };
        vec![
            ("throttles", named(429, "ThrottlingException")),
            ("loads the model", named(429, "ModelNotReadyException")),
            ("has no quota left", named(400, "ServiceQuotaExceededException")),
            ("waited too long for the model", named(408, "ModelTimeoutException")),
            ("has a model that failed", named(424, "ModelErrorException")),
            ("does not know the key", named(403, "UnrecognizedClientException")),
        ]
    },
    nonsense: || {
        let bytes = wire(&[(":event-type", "contentBlockDelta"), (":message-type", "event")], b"{oops");
        json!(BASE64_STANDARD.encode(bytes))
    },
    // The prelude of a message longer than any limit.
    endless: || {
        let mut prelude = [u32::MAX.to_be_bytes(), 0u32.to_be_bytes()].concat();
        prelude.extend_from_slice(&crc32fast::hash(&prelude).to_be_bytes());
        json!(BASE64_STANDARD.encode(prelude))
    },
    half: || {
        let bytes = wire(&[(":event-type", "contentBlockDelta"), (":message-type", "event")], b"{}");
        json!(BASE64_STANDARD.encode(&bytes[..bytes.len() / 2]))
    },
};

fn delta(block: usize, new: Value) -> Value {
    event("contentBlockDelta", json!({ "contentBlockIndex": block, "delta": new, "p": "abcdefgh" }))
}

fn event(kind: &str, payload: Value) -> Value {
    message(&[(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")], &payload)
}

/// A message in Base64, as the script takes it.
fn message(headers: &[(&str, &str)], payload: &Value) -> Value {
    json!(BASE64_STANDARD.encode(wire(headers, payload.to_string().as_bytes())))
}

/// Lengths and their checksum, headers of text, the payload, a checksum of all.
fn wire(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut head = vec![];
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).expect("a short name"));
        head.extend_from_slice(name.as_bytes());
        head.push(7);
        head.extend_from_slice(&u16::try_from(value.len()).expect("a short value").to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let length = |bytes: usize| u32::try_from(bytes).expect("a short message").to_be_bytes();
    let mut out = [length(16 + head.len() + payload.len()), length(head.len())].concat();
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out
}
