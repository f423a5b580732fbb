//! For each reader good documents, and cases made of them.

use serde_json::Value;

use crate::noise::{Noise, documents as docs};

/// What a reader is made for.
pub enum Golden {
    Documents(Vec<Value>),
    /// Server-sent events, named by their `type` if so.
    Events(Vec<Value>, bool),
    /// Payloads of an AWS event stream, by the type of their event.
    Messages(Vec<(&'static str, Value)>),
    Bytes,
}

/// The good documents of a reader.
pub fn golden(reader: &str) -> Golden {
    Golden::Documents(match reader {
        "openai_chat_request" => vec![docs::chat_request()],
        "openai_completion_request" => vec![docs::completion_request()],
        "openai_response_request" => vec![docs::response_request()],
        "anthropic_request" => vec![docs::message_request()],
        "batches" => docs::batches(),
        "llama_stack_requests" | "llama_stack_bodies" => docs::llama_stack_bodies(),
        "embeddings_request" => vec![docs::embeddings_request()],
        "rerank_request" => vec![docs::rerank_request()],
        "surrogates" => vec![docs::chat_answer(), docs::message_answer()],
        "openai_answer" => vec![docs::chat_answer(), docs::completion_answer(), docs::chat_chunks().remove(2)],
        "openai_stream" => return Golden::Events(docs::chat_chunks(), false),
        "anthropic_answer" => vec![docs::message_answer()],
        "anthropic_stream" => return Golden::Events(docs::message_events(), true),
        "gemini_answer" => docs::gemini_chunks(),
        "gemini_stream" => return Golden::Events(docs::gemini_chunks(), false),
        "bedrock_answer" => {
            docs::converse_events().into_iter().map(|(_, payload)| payload).chain([docs::converse_answer()]).collect()
        }
        "bedrock_stream" => return Golden::Messages(docs::converse_events()),
        "vectors_and_orders" => docs::cloud_embeddings_answers()
            .into_iter()
            .chain([docs::embeddings_answer(), docs::rerank_answer()])
            .collect(),
        "errors" => docs::errors(),
        "framings" => return Golden::Bytes,
        other => panic!("the reader {other} has no golden document"),
    })
}

/// A message with one header, its type.
fn message(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut head = vec![];
    for (name, value) in
        [(":event-type", kind), (":message-type", if kind.contains("xception") { "exception" } else { "event" })]
    {
        head.push(u8::try_from(name.len()).expect("short"));
        head.extend_from_slice(name.as_bytes());
        head.push(7);
        head.extend_from_slice(&u16::try_from(value.len()).expect("short").to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let length = |bytes: usize| u32::try_from(bytes).expect("short").to_be_bytes();
    let mut out = [length(16 + head.len() + payload.len()), length(head.len())].concat();
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out
}

/// A good document made wrong, as its reader would meet it.
pub fn case(noise: &mut Noise, golden: &Golden) -> Vec<u8> {
    let bytes = match golden {
        Golden::Documents(documents) => {
            let document = &documents[noise.below(documents.len())];
            noise.mutant(document).into_bytes()
        }
        Golden::Events(events, named) => {
            let end = noise.pick(&["\n", "\r\n", "\r"]);
            let mut out = String::new();
            for event in events {
                // Now and then one is missing, or comes twice.
                for _ in 0..[1, 1, 1, 1, 1, 0, 2][noise.below(7)] {
                    let json = noise.mutant(event);
                    out.push_str(&noise.event(event["type"].as_str().filter(|_| *named), &json, end));
                }
            }
            out.into_bytes()
        }
        Golden::Messages(messages) => {
            let mut out = vec![];
            for (kind, payload) in messages {
                for _ in 0..[1, 1, 1, 1, 1, 0, 2][noise.below(7)] {
                    let kind = if noise.once_in(40) { "throttlingException" } else { kind };
                    out.extend_from_slice(&message(kind, noise.mutant(payload).as_bytes()));
                }
            }
            out
        }
        Golden::Bytes => {
            let size = noise.below(600);
            let short = message("x", b"{}");
            let mut out = vec![];
            while out.len() < size {
                match noise.below(5) {
                    0 => out.extend_from_slice(&short),
                    1 => out.extend_from_slice(b"data: x\r\n\r\n"),
                    2 => out.extend_from_slice(noise.pick(&["\r", "\n", "\r\r", "\n\n", ": c\n", "data"]).as_bytes()),
                    _ => out.push(u8::try_from(noise.below(256)).unwrap_or(0)),
                }
            }
            out
        }
    };
    if noise.once_in(3) { noise.wrong_bytes(bytes) } else { bytes }
}
