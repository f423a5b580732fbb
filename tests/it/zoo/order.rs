//! Streams that are well: no frame waits for the next one, and it does not matter how their bytes are cut.

use futures::StreamExt;
use serde_json::json;

use super::{
    CLIENTS, Zoo,
    wire::{ANTHROPIC, GEMINI, OPENAI, Wire},
};

async fn frame_one_is_out_before_frame_two_exists(wire: Wire) {
    let zoo = Zoo::start(wire);
    for client in CLIENTS {
        for model in ["a/m", "route", "impatient"] {
            let gate = format!("{client:?}-{model}");
            let pieces = vec![(wire.word)("one "), json!({ "gate": gate }), (wire.word)("two")];
            zoo.a.script(json!([{ "reply": wire.stream([pieces, (wire.end)(false)].concat()) }]));
            let response = zoo.send(client, model, true).await;
            let mut body = response.bytes_stream();
            let mut seen = String::new();
            while !seen.contains("one ") {
                let piece = body.next().await.expect("the first word comes").expect("a good piece");
                seen.push_str(std::str::from_utf8(&piece).expect("text"));
            }
            zoo.a.waiting(&gate).await;
            assert!(!seen.contains("two"), "{seen}");
            zoo.a.release(&gate);
            while let Some(piece) = body.next().await {
                seen.push_str(std::str::from_utf8(&piece.expect("a good piece")).expect("text"));
            }
            assert!(seen.contains("two") && !seen.contains("error"), "{seen}");
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

#[tokio::test]
async fn openai() {
    frame_one_is_out_before_frame_two_exists(OPENAI).await;
    one_byte_at_a_time_is_as_good_as_all(OPENAI).await;
}

#[tokio::test]
async fn anthropic() {
    frame_one_is_out_before_frame_two_exists(ANTHROPIC).await;
    one_byte_at_a_time_is_as_good_as_all(ANTHROPIC).await;
}

#[tokio::test]
async fn gemini() {
    frame_one_is_out_before_frame_two_exists(GEMINI).await;
    one_byte_at_a_time_is_as_good_as_all(GEMINI).await;
}
