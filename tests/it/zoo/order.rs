//! Streams that are well: no frame waits for the next one, and it does not matter how their bytes are cut.

use frontdesk_tests::PATIENCE;
use futures::StreamExt;
use serde_json::json;

use super::{
    ALL, CLIENTS, Client, Zoo,
    amazon::BEDROCK,
    wire::{ANTHROPIC, GEMINI, OPENAI, Wire, text_piece},
};

/// Every client, every kind of server, every kind of name: plain, a route, one whose first words have a time, one that
/// would ask a second server meanwhile, ones whose answers are kept and shared.
async fn frame_one_is_out_before_frame_two_exists(wire: Wire) {
    let zoo = Zoo::start(wire);
    for client in ALL {
        let word = if client == Client::Text && wire.kind == "openai" { text_piece } else { wire.word };
        for model in ["a/m", "route", "timed", "hedged", "kept", "shared"] {
            let gate = format!("{client:?}-{model}");
            let pieces = vec![word("one "), json!({ "gate": gate }), word("two")];
            zoo.a.script(json!([{ "reply": wire.stream([pieces, (wire.end)(false)].concat()) }]));
            let what = format!("{} {client:?} {model}", wire.kind);
            let response = tokio::time::timeout(PATIENCE, zoo.send(client, model, true)).await;
            let mut body = response.unwrap_or_else(|_| panic!("{what}: no head")).bytes_stream();
            let mut seen = String::new();
            while !seen.contains("one ") {
                // The second word cannot come before it is let go, so a first one that waits for it never comes.
                let piece = tokio::time::timeout(PATIENCE, body.next()).await;
                let piece = piece.unwrap_or_else(|_| panic!("{what}: the first word waits for the second"));
                let piece = piece.unwrap_or_else(|| panic!("{what}: an answer without its first word: {seen}"));
                seen.push_str(std::str::from_utf8(&piece.expect("a good piece")).expect("text"));
            }
            zoo.a.waiting(&gate).await;
            assert!(!seen.contains("two"), "{what}: {seen}");
            zoo.a.release(&gate);
            while let Some(piece) = body.next().await {
                seen.push_str(std::str::from_utf8(&piece.expect("a good piece")).expect("text"));
            }
            assert!(seen.contains("two") && !seen.contains("error"), "{what}: {seen}");
        }
    }
}

async fn one_byte_at_a_time_is_as_good_as_all(wire: Wire) {
    let zoo = Zoo::start(wire);
    for client in CLIENTS {
        let mut reply = wire.good("gr\u{fc}\u{df}e aus \u{6771}\u{4eac}", true);
        reply["split"] = json!(1);
        zoo.a.script(json!([{ "reply": reply }]));
        let got = zoo.ask(client, "route", true).await;
        assert_eq!((got.words().as_str(), got.error()), ("gr\u{fc}\u{df}e aus \u{6771}\u{4eac}", None), "{}", got.body);
        assert_eq!(got.attempts.as_deref(), Some("1"));
    }
}

async fn both(wire: Wire) {
    frame_one_is_out_before_frame_two_exists(wire).await;
    one_byte_at_a_time_is_as_good_as_all(wire).await;
}

#[tokio::test]
async fn openai() {
    both(OPENAI).await;
}

#[tokio::test]
async fn anthropic() {
    both(ANTHROPIC).await;
}

#[tokio::test]
async fn gemini() {
    both(GEMINI).await;
}

#[tokio::test]
async fn bedrock() {
    both(BEDROCK).await;
}
