//! Responses at two gateways on one database: followed, cancelled and continued at the one that does not work on them.

use frontdesk_tests::{Ended, Frontdesk, Lane, Scripted};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::shop;

/// What comes of a stream until `enough`, or to its end.
async fn read(stream: reqwest::Response, enough: impl Fn(&str) -> bool) -> String {
    assert_eq!(stream.status(), 200);
    let (mut bytes, mut text) = (stream.bytes_stream(), String::new());
    while let Some(piece) = bytes.next().await {
        text.push_str(std::str::from_utf8(&piece.expect("a piece")).expect("text"));
        if enough(&text) {
            break;
        }
    }
    text
}

async fn follow(frontdesk: &Frontdesk, id: &str, after: Option<usize>) -> reqwest::Response {
    let after = after.map(|after| format!("&starting_after={after}")).unwrap_or_default();
    let path = format!("/v1/responses/{id}?stream=true{after}");
    frontdesk.request("GET", &path).send().await.expect("a stream")
}

async fn asked(frontdesk: &Frontdesk, more: Value) -> Value {
    let mut body = json!({ "model": "up/scripted", "input": "count" });
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let (status, response) = frontdesk.post("/v1/responses", &body).await;
    assert_eq!(status, 200, "{response}");
    response
}

fn id_of(response: &Value) -> String {
    response["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_response_is_followed_cancelled_and_continued_at_another_gateway() {
    if Lane::current() == Lane::Sqlite {
        return; // one process has the file to itself
    }
    let scripted = Scripted::start();
    let first = Frontdesk::start(shop::options(&scripted));
    let second = first.beside(shop::options(&scripted));
    scripted.script(json!([
        { "reply": { "text": "one two", "gates": { "never": 2 } } },
        { "reply": { "text": "three" } },
        { "reply": { "text": "four" } }
    ]));
    let (_, conversation) = first.post("/v1/conversations", &json!({})).await;
    let there = json!({ "conversation": conversation["id"], "background": true });
    let running = id_of(&asked(&first, there.clone()).await);
    scripted.waiting("never").await;
    let seen = read(follow(&second, &running, None).await, |text| text.contains("\"one \"")).await;
    assert!(seen.contains("response.output_text.delta"), "{seen}");
    let body = json!({ "model": "up/scripted", "input": "and?", "conversation": conversation["id"] });
    let (status, locked) = second.post("/v1/responses", &body).await;
    assert_eq!((status, &locked["error"]["code"]), (409, &json!("conversation_locked")));

    // Cancelled where nobody works on it, while a stream is open at each.
    let (here, beside) = (follow(&first, &running, None).await, follow(&second, &running, Some(2)).await);
    let path = format!("/v1/responses/{running}/cancel");
    let (status, cancelled) = second.post(&path, &json!({})).await;
    assert_eq!((status, &cancelled["status"]), (200, &json!("cancelled")), "{cancelled}");
    assert_eq!(scripted.ended(0).await, Ended::Abandoned, "the model is asked no more");
    let (whole, rest) = (read(here, |_| false).await, read(beside, |_| false).await);
    assert!(whole.contains("event: response.incomplete\n") && whole.ends_with(&rest), "{rest}");
    // Every number at each gives the same bytes, and both know the same of it.
    let frames: Vec<&str> = whole.split_inclusive("\n\n").collect();
    for after in 0..frames.len() {
        for gateway in [&first, &second] {
            let rest = read(follow(gateway, &running, Some(after)).await, |_| false).await;
            assert_eq!(rest, frames[after + 1..].concat(), "behind {after}");
        }
    }
    let path = format!("/v1/responses/{running}");
    assert_eq!(first.get(&path).await, second.get(&path).await);

    let done = id_of(&asked(&first, json!({ "conversation": conversation["id"] })).await);
    let on = asked(&second, json!({ "previous_response_id": done })).await;
    assert_eq!(on["output"][0]["content"][0]["text"], "four");
}
