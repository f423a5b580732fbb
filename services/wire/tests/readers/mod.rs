//! Everything of this crate that reads bytes from outside, each as a function of any bytes whatever.
//!
//! What they promise is checked here, so that whoever finds the bytes (the seeded test `fuzz.rs`, libFuzzer in
//! `tests/fuzz`) need not know: no panic; a client's mistake is named; what is written out of what was read reads again;
//! nothing grows beyond the bytes that came.

pub mod cases;

use std::time::Duration;

use bytes::Bytes;
use frontdesk_api::{ChatEvent, ChatRequest, Error, Kind, Result};
use frontdesk_wire::{
    Writes, anthropic, bedrock, eventstream, gemini, llama_stack,
    openai::{self, answer, completions, embeddings, encode::Head, splice},
    rerank, sse,
};
use serde_json::{Map, Value};

/// A reader and its name.
pub type Reader = (&'static str, fn(&[u8]));

pub const READERS: [Reader; 21] = [
    ("openai_chat_request", openai_chat_request),
    ("openai_completion_request", openai_completion_request),
    ("openai_response_request", openai_response_request),
    ("anthropic_request", anthropic_request),
    ("batches", batches),
    ("llama_stack_requests", llama_stack_requests),
    ("embeddings_request", embeddings_request),
    ("rerank_request", rerank_request),
    ("llama_stack_bodies", llama_stack_bodies),
    ("openai_answer", openai_answer),
    ("openai_stream", openai_stream),
    ("anthropic_answer", anthropic_answer),
    ("anthropic_stream", anthropic_stream),
    ("gemini_answer", gemini_answer),
    ("gemini_stream", gemini_stream),
    ("bedrock_answer", bedrock_answer),
    ("bedrock_stream", bedrock_stream),
    ("vectors_and_orders", vectors_and_orders),
    ("errors", errors),
    ("framings", framings),
    ("surrogates", surrogates),
];

/// The most bytes of one event here.
const LIMIT: usize = 1 << 16;

/// A refusal names the member, or says that the body is no JSON.
fn named(error: &Error) {
    assert_eq!(error.kind, Kind::Invalid, "{}", error.message);
    assert!(!error.message.is_empty());
    assert!(
        error.param.is_some() || error.code.as_deref() == Some("invalid_json"),
        "nothing is named: {}",
        error.message
    );
}

/// The value, or a refusal that names what is wrong.
fn read<T>(result: Result<T>) -> Option<T> {
    result.map_err(|error| named(&error)).ok()
}

/// What was written is JSON. A server's own member may be nested as deep as a reader here takes, and what we write around it
/// makes it deeper: that is JSON still, and Null here.
fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|e| {
        let deep = e.to_string().starts_with("recursion limit exceeded");
        assert!(
            deep && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok(),
            "{e}: {}",
            String::from_utf8_lossy(bytes)
        );
        Value::Null
    })
}

/// A request: spliced for a server of its dialect, written anew for the others.
fn asked(request: Result<ChatRequest>) {
    let Some(request) = read(request) else { return };
    let source = request.source().expect("a client's bytes");
    for usage in [false, true] {
        // Whatever is spliced into JSON is JSON.
        let out = splice::for_upstream(source, "m", usage);
        let valid = |bytes: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
        assert!(valid(&out) || !valid(&source.bytes), "{}", String::from_utf8_lossy(&out));
    }
    let Some(chat) = read(request.chat()) else { return };
    json(&openai::chat::encode("m", request.stream, chat));
    if let Some(body) = read(anthropic::outbound_request::encode("m", request.stream, chat, 100)) {
        json(&body);
    }
    for model in ["m", "amazon.nova-x"] {
        if let Some(body) = read(bedrock::request::encode(model, chat)) {
            let _ = bedrock::request::to_count(body);
        }
    }
    for model in ["gemini-2.5-flash", "gemini-3-pro"] {
        read(gemini::request::encode(model, chat));
    }
}

fn openai_chat_request(bytes: &[u8]) {
    asked(openai::peek::request(Bytes::copy_from_slice(bytes)));
    if let Some(chat) = read(openai::chat::decode(bytes)) {
        // Written and read again it is the same.
        let again = openai::chat::decode(&openai::chat::encode("m", false, &chat)).expect("our own words");
        assert_eq!(again.messages.len(), chat.messages.len());
        assert_eq!(again.tools, chat.tools);
    }
}

fn openai_completion_request(bytes: &[u8]) {
    asked(completions::request::request(Bytes::copy_from_slice(bytes)));
    read(completions::request::decode(bytes));
}

fn openai_response_request(bytes: &[u8]) {
    if let Some(asked) = read(openai::responses::request::request(bytes)) {
        json(Value::Object(asked.echo).to_string().as_bytes());
    }
}

/// A file of lines, and Anthropic's list of requests.
fn batches(bytes: &[u8]) {
    match openai::batch::lines(bytes, "/v1/chat/completions") {
        Ok(lines) => assert!(lines.len() <= bytes.len()),
        Err(faults) => assert!(!faults.is_empty() && faults.iter().all(|fault| !fault.message.is_empty())),
    }
    if let Some(requests) = read(anthropic::batch::requests(&Bytes::copy_from_slice(bytes))) {
        assert!(requests.len() <= bytes.len());
    }
}

fn anthropic_request(bytes: &[u8]) {
    asked(anthropic::peek::request(Bytes::copy_from_slice(bytes)));
    asked(anthropic::peek::count(Bytes::copy_from_slice(bytes)));
    read(anthropic::request::decode(bytes));
    read(anthropic::request::decode_for_claude(bytes));
    read(anthropic::request::decode_with_thinking(bytes));
}

fn llama_stack_requests(bytes: &[u8]) {
    for request in [llama_stack::inference_request::chat, llama_stack::inference_request::completion] {
        let Some(request) = read(request(Bytes::copy_from_slice(bytes))) else { continue };
        if let Some(chat) = read(request.chat()) {
            json(&openai::chat::encode("m", false, chat));
        }
    }
}

fn embeddings_request(bytes: &[u8]) {
    if let Some(request) = read(embeddings::request(Bytes::copy_from_slice(bytes))) {
        let _ = splice::for_upstream(request.source().expect("bytes"), "m", false);
    }
    if let Some(embed) = read(embeddings::decode(bytes)) {
        json(&embeddings::encode("m", &embed));
        read(embeddings::wants_base64(&embed));
        for (model, vertex) in [("models/m", false), ("p/gemini-x", true), ("p/m", true)] {
            read(gemini::embeddings::Way::of(model, vertex, &embed).map(|way| way.body(&["a"])));
        }
        for model in ["amazon.titan-embed-text-v1", "amazon.titan-embed-text-v2:0", "cohere.embed-v4:0", "m"] {
            read(bedrock::embeddings::Way::of(model, &embed).map(|way| way.body(&["a"])));
        }
    }
}

fn rerank_request(bytes: &[u8]) {
    if let Some(request) = read(rerank::request(Bytes::copy_from_slice(bytes))) {
        let _ = splice::for_upstream(request.source().expect("bytes"), "m", false);
    }
    if let Some(asked) = read(rerank::decode(bytes)) {
        json(&rerank::encode("m", &asked));
        if let Some(texts) = read(asked.texts()) {
            json(&rerank::encode_tei(&asked.query, &texts));
        }
        read(bedrock::rerank::encode("cohere.rerank-v3-5:0", &asked));
    }
}

/// Bodies that the edge reads as they are.
fn llama_stack_bodies(bytes: &[u8]) {
    use llama_stack::{agent, inference_request::EmbedContents, message, rerank::RerankItems, safety, tool};
    if let Ok(body) = serde_json::from_slice::<agent::AgentConfig>(bytes) {
        read(body.to_spec());
    }
    if let Ok(body) = serde_json::from_slice::<message::CreateTurn>(bytes) {
        read(body.to_domain());
    }
    if let Ok(body) = serde_json::from_slice::<message::ResumeTurn>(bytes) {
        read(body.to_domain());
    }
    if let Ok(body) = serde_json::from_slice::<safety::RunShield>(bytes) {
        read(body.text());
    }
    if let Ok(body) = serde_json::from_slice::<EmbedContents>(bytes) {
        read(body.to_domain());
    }
    if let Ok(body) = serde_json::from_slice::<RerankItems>(bytes) {
        read(body.to_domain());
    }
    let _ = serde_json::from_slice::<tool::RegisterToolgroup>(bytes);
    let _ = serde_json::from_slice::<tool::InvokeTool>(bytes);
}

/// What was read of an answer, written in every dialect of clients; `came`: the bytes it was read from.
fn answered(events: Vec<ChatEvent>, came: usize) {
    let head = || Head { id: "x".into(), model: "m".into(), created: 1 };
    written(|| openai::encode::Chunks::new(head(), true), &events, came);
    written(|| completions::encode::Pieces::new(head(), true), &events, came);
    written(|| anthropic::stream::Writer::new(anthropic::answer::Answer::new("x".into(), "m".into())), &events, came);
    written(llama_stack::inference_answer::ChatWriter::default, &events, came);
    written(llama_stack::inference_answer::CompletionWriter::default, &events, came);
}

fn written<W: Writes>(make: impl Fn() -> W, events: &[ChatEvent], came: usize) {
    json(&make().whole(events.to_vec()));
    let (mut writer, mut out) = (make(), vec![]);
    for event in events {
        out.extend_from_slice(&writer.push(vec![event.clone()]));
    }
    out.extend_from_slice(&writer.end());
    // A wrapping for every event, and an escape for every byte.
    let most = 2048 + 1024 * events.len() + 8 * came;
    assert!(out.len() <= most, "{} bytes of {} events that came as {came}", out.len(), events.len());
    let mut decoder = sse::Decoder::new(usize::MAX);
    decoder.push(&out);
    while let Some(block) = decoder.block().expect("no limit") {
        let data = sse::data(&block).expect("data");
        if *data != *openai::DONE {
            json(&data);
        }
    }
    assert_eq!(decoder.rest(), None, "whole events only");
}

fn openai_answer(bytes: &[u8]) {
    if let Ok(read) = answer::decode(bytes, true) {
        answered(read.events, bytes.len());
    }
    let _ = answer::decode_usage(bytes);
    let _ = answer::mentions_usage(bytes);
}

/// The data of the events in these bytes.
fn events(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut decoder = sse::Decoder::new(LIMIT);
    decoder.push(bytes);
    let mut out = vec![];
    while let Ok(Some(block)) = decoder.block() {
        out.extend(sse::data(&block).map(|data| data.into_owned()));
    }
    out.extend(decoder.rest().and_then(|rest| sse::data(&rest).map(|data| data.into_owned())));
    out
}

fn openai_stream(bytes: &[u8]) {
    let read = events(bytes).into_iter().filter_map(|data| answer::decode(&data, false).ok());
    answered(read.flat_map(|read| read.events).collect(), bytes.len());
}

fn anthropic_answer(bytes: &[u8]) {
    use anthropic::outbound_answer::{Answer, counted};
    for wants in [true, false] {
        if let Ok(read) = Answer::default().whole(bytes, wants) {
            answered(read.events, bytes.len());
        }
    }
    let _ = counted(bytes);
}

fn anthropic_stream(bytes: &[u8]) {
    use anthropic::outbound_answer::{Answer, is_preamble};
    for wants in [true, false] {
        let mut answer = Answer::default();
        let mut read = vec![];
        for data in events(bytes) {
            let _ = is_preamble(&data);
            read.extend(answer.event(&data, wants).map(|read| read.events).unwrap_or_default());
        }
        answered(read, bytes.len());
    }
}

fn gemini_answer(bytes: &[u8]) {
    for one_call in [true, false] {
        let made = format!("{}_01", gemini::calls::MADE);
        if let Ok(read) = gemini::answer::Answer::new(made, one_call).read(bytes) {
            answered(read.events, bytes.len());
        }
    }
}

fn gemini_stream(bytes: &[u8]) {
    use gemini::answer::Answer;
    let made = || format!("{}_01", gemini::calls::MADE);
    for one_call in [true, false] {
        let mut answer = Answer::new(made(), one_call);
        let read = events(bytes).into_iter().filter_map(|data| answer.read(&data).ok());
        let read: Vec<ChatEvent> = read.flat_map(|read| read.events).collect();
        // What has no event is told again with every end, so an answer may say it more than once.
        let ends = read.iter().filter(|event| matches!(event, ChatEvent::Extra(_))).count();
        answered(read, bytes.len() * (1 + ends));
    }
}

fn bedrock_answer(bytes: &[u8]) {
    if let Ok(read) = bedrock::answer::Answer::default().whole(bytes) {
        answered(read, bytes.len());
    }
    for kind in ["contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata", ""] {
        let _ = bedrock::answer::Answer::default().event(kind, bytes);
    }
}

fn bedrock_stream(bytes: &[u8]) {
    let mut decoder = eventstream::Decoder::new(LIMIT);
    decoder.push(bytes);
    let mut answer = bedrock::answer::Answer::default();
    let mut read = vec![];
    while let Ok(Some(message)) = decoder.message() {
        let Ok(message) = eventstream::Message::read(&message) else { break };
        if let Some(error) = bedrock::error::in_stream("p", &message) {
            assert!(error.message.contains("'p'"), "{}", error.message);
            break;
        }
        let kind = message.header(":event-type").unwrap_or_default();
        read.extend(answer.event(kind, message.payload).unwrap_or_default());
    }
    let _ = decoder.end();
    answered(read, bytes.len());
}

fn vectors_and_orders(bytes: &[u8]) {
    if let Ok((vectors, usage)) = embeddings::decode_answer(bytes) {
        for base64 in [true, false] {
            json(&embeddings::encode_answer("m", &vectors, usage.unwrap_or_default(), base64));
        }
    }
    let _ = embeddings::decode_usage(bytes);
    let asked = frontdesk_api::rerank::Rerank {
        query: String::new(),
        documents: vec!["a".into()],
        top_n: None,
        return_documents: true,
        rank_fields: vec![],
        extra: Map::new(),
    };
    if let Ok((order, usage)) = rerank::decode_answer(bytes) {
        json(&rerank::encode_answer("x", "m", &asked, &order, usage));
    }
    let _ = rerank::decode_tei(bytes);
    let _ = gemini::embeddings::decode(bytes);
    let _ = bedrock::embeddings::decode(bytes);
}

/// Whose fault it is, is always said.
fn errors(bytes: &[u8]) {
    let told = |error: Error| {
        let own = matches!(error.kind, Kind::Invalid | Kind::NotFound | Kind::TooLarge | Kind::Conflict);
        assert!(own || error.message.contains("'p'"), "{:?}: {}", error.kind, error.message);
        assert!(!error.message.is_empty());
    };
    for status in [400, 401, 403, 404, 408, 413, 429, 500, 503, 529] {
        told(openai::error::from_response("p", status, bytes, None));
        told(anthropic::outbound_error::from_response("p", status, bytes, None));
        told(gemini::error::from_response("p", status, bytes, None));
        told(bedrock::error::from_response("p", status, None, bytes, Some(Duration::from_secs(1))));
        told(bedrock::error::from_response("p", status, std::str::from_utf8(bytes).ok(), bytes, None));
    }
    if let Ok(error) = serde_json::from_slice::<Value>(bytes) {
        told(openai::error::in_stream("p", &error));
        told(anthropic::outbound_error::in_stream("p", &error));
        told(gemini::error::in_stream("p", &error));
    }
}

/// Both framings: however the bytes come, the same pieces come out, and what is kept is no longer than the limit.
fn framings(bytes: &[u8]) {
    let size = bytes.first().map_or(1, |byte| usize::from(*byte) % 61 + 1);
    let limit = 200;
    let (mut text, mut binary) = (sse::Decoder::new(limit), eventstream::Decoder::new(limit));
    let (mut lines, mut cut) = (vec![], vec![]);
    let (mut text_ended, mut binary_ended) = (false, false);
    for piece in bytes.chunks(size) {
        if !text_ended {
            text.push(piece);
            loop {
                match text.block() {
                    Ok(Some(block)) => lines.push(block),
                    Ok(None) => break,
                    Err(_) => {
                        text_ended = true;
                        break;
                    }
                }
            }
        }
        if !binary_ended {
            binary.push(piece);
            loop {
                match binary.message() {
                    Ok(Some(message)) => cut.push(message),
                    Ok(None) => break,
                    Err(_) => {
                        binary_ended = true;
                        break;
                    }
                }
            }
        }
    }
    for block in &lines {
        let _ = (sse::data(block), sse::field(block, b"event"));
    }
    let rest = text.rest().unwrap_or_default();
    assert!(rest.len() <= limit + size, "{} bytes of an unfinished event are kept", rest.len());
    let whole = [lines.concat(), rest.to_vec()].concat();
    assert!(bytes.starts_with(&whole) && (text_ended || whole.len() == bytes.len()), "bytes were lost");
    assert!(cut.iter().all(|message| message.len() <= limit));
    assert!(bytes.starts_with(&cut.concat()));
}

/// JSON stays JSON, and where its only fault were halves of pairs it can be read.
fn surrogates(bytes: &[u8]) {
    let mended = frontdesk_wire::surrogates::mended(bytes);
    assert_eq!(mended.len(), bytes.len());
    assert_eq!(frontdesk_wire::surrogates::mended(&mended), mended, "once is enough");
    // The parser looks past an escape's meaning in what it skips, and at its bytes all the same.
    let skipped = serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok() && std::str::from_utf8(bytes).is_ok();
    let read = serde_json::from_slice::<Value>(&mended);
    assert!(!skipped || read.as_ref().map_or_else(|e| !e.to_string().contains("surrogate"), |_| true), "{read:?}");
}
