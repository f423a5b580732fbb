//! Servers that fail at what comes whole and is no chat: embeddings and rankings.

use serde_json::{Value, json};

use super::{
    Client, Zoo,
    broken::{TRICKLE, refusals},
    wire::{OPENAI, Wire},
};

const EMBEDS: Wire = Wire {
    config: |url| format!("base_url: \"{url}/v1\", api_key: k, models: [{{ id: m, kind: embedding }}]"),
    ..OPENAI
};

const RANKS: Wire =
    Wire { config: |url| format!("base_url: \"{url}/v1\", api_key: k, models: [{{ id: m, kind: rerank }}]"), ..OPENAI };

async fn another_makes_good(client: Client, wire: Wire, well: Value) {
    let zoo = Zoo::start(wire);
    let closed = [("route-closed", "nobody listens", None), ("route-tls", "no TLS there", None)];
    let refused = refusals(&wire, false).into_iter().map(|(what, reply)| ("route", what, Some(reply)));
    for (route, what, reply) in closed.into_iter().chain(refused) {
        zoo.b.script(json!([{ "reply": well }]));
        if let Some(reply) = &reply {
            zoo.a.script(json!([{ "times": 2, "reply": reply }]));
        }
        let before = zoo.asked();
        let got = zoo.ask(client, route, false).await;
        let what = format!("{client:?}: {what}: {} {}", got.status, got.body);
        assert_eq!((got.status, got.error()), (200, None), "{what}");
        assert_eq!((got.attempts.as_deref(), got.provider.as_deref()), (Some("2"), Some("b")), "{what}");
        let from_a = usize::from(reply.is_some());
        assert_eq!((zoo.asked().0 - before.0, zoo.asked().1 - before.1), (from_a, 1), "{what}");
        if reply.is_some() {
            let got = zoo.ask(client, "a/m", false).await;
            let what = format!("{what}: by its plain name: {} {}", got.status, got.body);
            assert!([429, 502, 503, 504].contains(&got.status) && got.error().is_some(), "{what}");
        }
    }
    let slow =
        json!({ "sse": ["{\"id\":\"", { "trickle": TRICKLE }], "headers": { "content-type": "application/json" } });
    zoo.a.script(json!([{ "reply": slow }]));
    let got = zoo.ask(client, "hurried", false).await;
    assert_eq!((got.status, got.error().is_some()), (504, true), "{client:?}: {}", got.body);
    zoo.settles().await;
}

#[tokio::test]
async fn vectors() {
    another_makes_good(Client::Vectors, EMBEDS, json!({ "embed": 3 })).await;
}

#[tokio::test]
async fn rankings() {
    another_makes_good(Client::Ranks, RANKS, json!({ "rank": [0.1, 0.9] })).await;
}
