//! What nobody here has heard of arrives: requests and answers of every dialect, with unknown members at every level and
//! words of a future API, in all the ways that JSON can be written.
//!
//! Here: what is sent upstream is the client's text but for the closed list of spliced members, and what an answer means
//! does not change. `tests/it/lossless.rs` holds the running gateway to the same, in both directions.

mod noise;

use bytes::Bytes;
use frontdesk_api::{
    ChatEvent, Result,
    chat::{Marks, Source},
};
use frontdesk_wire::{
    anthropic::{self, outbound_answer},
    openai::{answer, completions, embeddings, peek, splice},
    rerank, sse,
};
use noise::{Noise, documents as docs};
use serde_json::{Value, json};

/// Each with a seed of its own.
const ROUNDS: u64 = 300;

/// A body and its marks, whatever is asked for.
fn kept<T>(source: Option<&Source<T>>) -> (Bytes, Marks) {
    let source = source.expect("a client's bytes");
    (source.bytes.clone(), source.marks.clone())
}

fn spliced(kept: (Bytes, Marks), dialect: frontdesk_api::chat::Dialect, usage: bool) -> String {
    let decode: fn(&[u8]) -> Result<()> = |_| Ok(());
    let source = Source { dialect, bytes: kept.0, decode, marks: kept.1 };
    String::from_utf8(splice::for_upstream(&source, "m", usage).to_vec()).expect("text")
}

/// As the client's text must arrive.
fn renamed(sent: &str) -> String {
    assert_eq!(sent.matches(r#""up/m""#).count(), 1, "{sent}");
    sent.replacen(r#""up/m""#, r#""m""#, 1)
}

#[test]
fn every_request_arrives_as_it_was_sent() {
    use frontdesk_api::chat::Dialect::{AnthropicMessages, OpenaiChat, OpenaiCompletions, OpenaiEmbeddings, Rerank};
    for seed in 0..ROUNDS {
        let mut noise = Noise::new(seed);
        for (document, dialect) in [
            (docs::chat_request(), OpenaiChat),
            (docs::completion_request(), OpenaiCompletions),
            (docs::embeddings_request(), OpenaiEmbeddings),
            (docs::rerank_request(), Rerank),
            (docs::message_request(), AnthropicMessages),
        ] {
            let document = docs::of_tomorrow(&mut noise, document);
            let sent = noise.with_unknown(&document);
            let bytes = Bytes::from(sent.clone());
            let read = || -> Result<(Bytes, Marks)> {
                Ok(match dialect {
                    OpenaiChat => kept(peek::request(bytes)?.source()),
                    OpenaiCompletions => kept(completions::request::request(bytes)?.source()),
                    OpenaiEmbeddings => kept(embeddings::request(bytes)?.source()),
                    Rerank => kept(rerank::request(bytes)?.source()),
                    _ => {
                        let counted = anthropic::peek::count(bytes.clone())?;
                        assert_eq!(counted.source().expect("bytes").bytes, bytes);
                        kept(anthropic::peek::request(bytes)?.source())
                    }
                })
            };
            let read = read().unwrap_or_else(|e| panic!("seed {seed}, {dialect:?}: {} in {sent}", e.message));
            assert_eq!(spliced(read, dialect, false), renamed(&sent), "seed {seed}, {dialect:?}");
        }
    }
}

#[test]
fn a_stream_is_asked_for_its_usage_and_nothing_else_changes() {
    for seed in 0..ROUNDS {
        let mut noise = Noise::new(seed);
        let mut document = docs::chat_request();
        document["stream"] = json!(true);
        let sent = noise.with_unknown(&document);
        let told = |sent: String| {
            let read = peek::request(Bytes::from(sent)).expect("a request");
            spliced(kept(read.source()), frontdesk_api::chat::Dialect::OpenaiChat, true)
        };
        let asked = renamed(&sent).replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1);
        assert_eq!(told(sent), asked, "seed {seed}");

        // A client's own options stay as they were written around the one member.
        for (own, becomes) in [
            (noise.with_unknown(&json!({ "include_obfuscation": false })), None),
            (noise.with_unknown(&json!({ "include_usage": false })), Some(("false", "true"))),
            (noise.with_unknown(&json!({ "include_usage": null })), Some(("null", "true"))),
        ] {
            let body = |options: &str| {
                format!(r#"{{"messages":[1],"stream":true,"stream_options": {options} ,"model":"up/m"}}"#)
            };
            let want = match becomes {
                None => own.replacen('{', r#"{"include_usage":true,"#, 1),
                Some((was, is)) => {
                    let at = own.find(r#""include_usage""#).expect("the member");
                    let (before, after) = own.split_at(at);
                    format!("{before}{}", after.replacen(was, is, 1))
                }
            };
            assert_eq!(told(body(&own)), renamed(&body(&want)), "seed {seed}");
        }
        let own = noise.with_unknown(&json!({ "include_usage": true }));
        let body = format!(r#"{{"messages":[1],"stream":true,"stream_options":{own},"model":"up/m"}}"#);
        assert_eq!(told(body.clone()), renamed(&body), "seed {seed}");
    }
}

/// What every reader of answers of OpenAI's kind makes of this text.
fn openai_means(json: &str) -> (Vec<ChatEvent>, Vec<ChatEvent>, bool) {
    let (all, usage) = (answer::decode(json.as_bytes(), true), answer::decode_usage(json.as_bytes()));
    let (all, usage) = (all.unwrap_or_else(|e| panic!("{e}: {json}")), usage.unwrap_or_else(|e| panic!("{e}: {json}")));
    assert_eq!((all.error, usage.error, all.usage_only), (None, None, usage.usage_only));
    (all.events, usage.events, usage.usage_only)
}

#[test]
fn an_answer_of_openais_means_the_same_whatever_else_it_holds() {
    let mut documents = vec![docs::chat_answer(), docs::completion_answer()];
    documents.extend(docs::chat_chunks());
    for document in documents {
        let want = openai_means(&document.to_string());
        for seed in 0..ROUNDS {
            let mut noise = Noise::new(seed);
            assert_eq!(openai_means(&noise.with_unknown(&document)), want, "seed {seed}");
            let tomorrow = docs::of_tomorrow(&mut noise, document.clone());
            assert_eq!(openai_means(&noise.with_unknown(&tomorrow)).1, want.1, "seed {seed}");
        }
    }
}

#[test]
fn an_answer_of_anthropics_means_the_same_whatever_else_it_holds() {
    type Told = (Vec<ChatEvent>, Vec<ChatEvent>);
    let whole = |json: &str| -> Told {
        let read = |events| outbound_answer::Answer::default().whole(json.as_bytes(), events);
        let [all, usage] = [true, false].map(|e| read(e).unwrap_or_else(|e| panic!("{e}: {json}")));
        assert_eq!((all.error, usage.error), (None, None));
        (all.events, usage.events)
    };
    let stream = |events: &[String]| -> Told {
        let [all, usage] = [true, false].map(|wants| {
            let mut answer = outbound_answer::Answer::default();
            let mut read =
                |json: &String| answer.event(json.as_bytes(), wants).unwrap_or_else(|e| panic!("{e}: {json}"));
            events.iter().flat_map(|json| read(json).events).collect()
        });
        (all, usage)
    };
    let (message, events) = (docs::message_answer(), docs::message_events());
    let plain: Vec<String> = events.iter().map(Value::to_string).collect();
    let (want_whole, want_stream) = (whole(&message.to_string()), stream(&plain));
    for seed in 0..ROUNDS {
        let mut noise = Noise::new(seed);
        assert_eq!(whole(&noise.with_unknown(&message)), want_whole, "seed {seed}");
        let tomorrow = docs::of_tomorrow(&mut noise, message.clone());
        assert_eq!(whole(&noise.with_unknown(&tomorrow)).1, want_whole.1, "seed {seed}");

        let texts: Vec<String> = events.iter().map(|event| noise.with_unknown(event)).collect();
        assert_eq!(stream(&texts), want_stream, "seed {seed}");
        for (text, plain) in texts.iter().zip(&plain) {
            let preamble = |json: &str| outbound_answer::is_preamble(json.as_bytes());
            assert_eq!(preamble(text), preamble(plain), "seed {seed}: {text}");
        }
        let tomorrow: Vec<String> = events
            .iter()
            .map(|event| {
                let event = docs::of_tomorrow(&mut noise, event.clone());
                noise.with_unknown(&event)
            })
            .collect();
        assert_eq!(stream(&tomorrow).1.len(), want_stream.1.len(), "seed {seed}");
    }
}

#[test]
fn vectors_and_orders_mean_the_same_whatever_else_they_hold() {
    let (vectors, order) = (docs::embeddings_answer(), docs::rerank_answer());
    let want_vectors = embeddings::decode_answer(vectors.to_string().as_bytes()).expect("vectors");
    let want_order = rerank::decode_answer(order.to_string().as_bytes()).expect("an order");
    for seed in 0..ROUNDS {
        let mut noise = Noise::new(seed);
        let json = noise.with_unknown(&vectors);
        assert_eq!(embeddings::decode_answer(json.as_bytes()).as_ref(), Ok(&want_vectors), "seed {seed}: {json}");
        let usage = embeddings::decode_usage(json.as_bytes()).unwrap_or_else(|e| panic!("seed {seed}: {e}: {json}"));
        assert_eq!(usage, want_vectors.1);
        let json = noise.with_unknown(&order);
        let read = rerank::decode_answer(json.as_bytes()).unwrap_or_else(|e| panic!("seed {seed}: {e}: {json}"));
        assert_eq!(read, want_order, "seed {seed}");
    }
}

/// Two names of one thing may come together: a server that renames a member sends both for a while.
#[test]
fn two_names_of_one_thing_may_stand_side_by_side() {
    for (json, want) in [
        (r#"{"choices":[{"delta":{"reasoning":"hm","reasoning_content":"hm"}}]}"#, 1),
        (r#"{"choices":[{"delta":{"content":"a"},"message":{"content":""}}]}"#, 1),
        (r#"{"choices":[{"delta":null,"message":{"content":"a"}}]}"#, 1),
        (r#"{"choices":[{"delta":{"reasoning":null,"reasoning_content":"hm"}}]}"#, 1),
    ] {
        assert_eq!(answer::decode(json.as_bytes(), false).expect(json).events.len(), want, "{json}");
    }
    let both =
        br#"{"results":[{"index":0,"score":0.5,"relevance_score":0.5}],"usage":{"prompt_tokens":9,"total_tokens":9}}"#;
    let (order, usage) = rerank::decode_answer(both).expect("an order");
    assert_eq!((order[0].score, usage.expect("a count").input_tokens), (0.5, 9));
}

#[test]
fn a_stream_is_cut_at_its_events_and_loses_no_byte() {
    for seed in 0..ROUNDS {
        let mut noise = Noise::new(seed);
        let end = noise.pick(&["\n", "\r\n"]);
        let events = docs::message_events();
        let bom = if noise.once_in(2) { "\u{feff}" } else { "" };
        let mut text = bom.to_owned();
        for event in &events {
            let json = noise.with_unknown(event);
            text.push_str(&noise.event(event["type"].as_str(), &json, end));
        }
        let mut decoder = sse::Decoder::new(1 << 20);
        let mut blocks: Vec<Bytes> = vec![];
        for piece in noise.cut(text.as_bytes()) {
            decoder.push(piece);
            while let Some(block) = decoder.block().expect("short enough") {
                blocks.push(block);
            }
        }
        assert_eq!((blocks.concat(), decoder.rest()), (text.clone().into_bytes(), None), "seed {seed}");
        assert_eq!(blocks.len(), events.len(), "seed {seed}");
        for (block, event) in blocks.iter().zip(&events) {
            let kind = event["type"].as_str().map(str::as_bytes);
            assert_eq!(sse::field(block, b"event").as_deref(), kind, "seed {seed}");
            let mut read = outbound_answer::Answer::default();
            let data = sse::data(block).expect("data");
            read.event(&data, true).unwrap_or_else(|e| panic!("seed {seed}: {e}: {}", String::from_utf8_lossy(&data)));
        }
    }
}
