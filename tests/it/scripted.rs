//! The scripted upstream itself, over a real socket: what the other tests rest on.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use frontdesk_tests::{Ended, Scripted};
use futures::StreamExt;
use serde_json::{Value, json};

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn post(upstream: &Scripted, body: Value) -> reqwest::Response {
    let url = format!("{}/chat/completions", upstream.base_url());
    client().post(url).json(&body).send().await.unwrap()
}

#[tokio::test]
async fn a_gate_holds_the_second_frame_until_the_first_was_read() {
    let upstream = Scripted::start();
    upstream.script(json!([{"reply": {"sse": ["data: one\n\n", {"gate": "g"}, "data: two\n\n"]}}]));
    let mut stream = post(&upstream, json!({"stream": true})).await.bytes_stream();
    assert_eq!(stream.next().await.unwrap().unwrap(), "data: one\n\n");
    upstream.waiting("g").await;
    assert_eq!(upstream.requests()[0].ended, Ended::Open);
    upstream.release("g");
    assert_eq!(stream.next().await.unwrap().unwrap(), "data: two\n\n");
    assert!(stream.next().await.is_none());
    assert_eq!(upstream.ended(0).await, Ended::Complete);
}

#[tokio::test]
async fn a_client_that_leaves_is_seen_to_have_left() {
    let upstream = Scripted::start();
    upstream.script(json!([{"reply": {"sse": ["data: one\n\n", {"gate": "never"}]}}]));
    let response = post(&upstream, json!({"stream": true})).await;
    upstream.waiting("never").await;
    drop(response);
    assert_eq!(upstream.ended(0).await, Ended::Abandoned);
}

#[tokio::test]
async fn cut_and_hung_up_connections_are_errors_to_the_client() {
    let upstream = Scripted::start();
    upstream.script(json!([
        {"reply": {"text": "a b c", "cut_after": 2}},
        {"reply": {"hangup": true}},
    ]));
    let cut = post(&upstream, json!({"stream": true})).await;
    assert_eq!(cut.status(), 200);
    assert!(cut.bytes().await.is_err());
    assert_eq!(upstream.ended(0).await, Ended::Cut);
    let url = format!("{}/chat/completions", upstream.base_url());
    assert!(client().post(url).body("{}").send().await.is_err());
}

#[tokio::test]
async fn rules_stay_and_queued_replies_are_used_up() {
    let upstream = Scripted::start();
    upstream.script(json!([
        {"when": {"last_role": "tool"}, "reply": {"text": "it says {tool_content}"}},
        {"reply": {"tool_call": {"name": "look", "arguments": {}}}},
    ]));
    let asked = |role: &str| json!({"messages": [{"role": role, "content": "x1"}]});
    let first: Value = post(&upstream, asked("user")).await.json().await.unwrap();
    assert_eq!(first["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "look");
    for _ in 0..2 {
        let ruled: Value = post(&upstream, asked("tool")).await.json().await.unwrap();
        assert_eq!(ruled["choices"][0]["message"]["content"], "it says x1");
    }
    let unmatched = post(&upstream, asked("user")).await;
    assert_eq!(unmatched.status(), 500);
    assert!(unmatched.text().await.unwrap().contains("no step of the script answers request 3"));
    assert_eq!(upstream.requests()[3].step, None);
}

#[tokio::test]
async fn the_control_routes_do_what_the_methods_do() {
    let upstream = Scripted::start();
    let url = |path: &str| format!("{}{path}", upstream.url());
    let wrong = client().put(url("/_script")).body(r#"[{"reply":{"txt":"x"}}]"#).send().await.unwrap();
    assert_eq!(wrong.status(), 400);
    assert!(wrong.text().await.unwrap().contains("txt"));
    let script = json!({"models": ["m1"], "steps": [{"reply": {"hold": "h", "status": 429, "headers": {"retry-after": "7"}, "json": {"a": 1}}}]});
    assert_eq!(client().put(url("/_script")).json(&script).send().await.unwrap().status(), 200);
    let models: Value = client().get(url("/v1/models")).send().await.unwrap().json().await.unwrap();
    assert_eq!(models["data"][0]["id"], "m1");

    let held = tokio::spawn(client().post(url("/v1/embeddings")).header("X-Own", "ü").body("{\"n\": 1}").send());
    let waiting = client().get(url("/_gates/h/waiting")).send().await.unwrap();
    assert_eq!(waiting.status(), 200);
    let gates: Value = client().get(url("/_gates")).send().await.unwrap().json().await.unwrap();
    assert_eq!(gates, json!({"h": 1}));
    client().post(url("/_gates/h")).send().await.unwrap();
    let answer = held.await.unwrap().unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "7");
    let seen: Value = client().get(url("/_requests?at_least=2")).send().await.unwrap().json().await.unwrap();
    assert_eq!(seen[1]["body"], "{\"n\": 1}");
    let ended: Value = client().get(url("/_requests/1/ended")).send().await.unwrap().json().await.unwrap();
    assert_eq!(ended, json!({"ended": "complete"}));
    client().delete(url("/_script")).send().await.unwrap();
    assert!(upstream.requests().is_empty());
}
