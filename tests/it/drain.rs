//! SIGTERM: what is in flight ends, nothing new begins, the process ends by itself.

use frontdesk_tests::{Frontdesk, Scripted};
use serde_json::json;

use crate::shop;

#[tokio::test]
async fn a_stopping_server_lets_streams_and_turns_end() {
    let scripted = Scripted::start();
    let mut frontdesk = Frontdesk::start(shop::options(&scripted));
    let agent = shop::agent(&frontdesk, json!({})).await;
    let path = shop::session(&frontdesk, &agent).await;
    scripted.script(json!([
        {"when": {"last_user_contains": "chat"}, "reply": {"text": "one two", "gates": {"chat": 2}}},
        {"when": {"last_user_contains": "turn"}, "reply": {"text": "three four", "gates": {"turn": 2}}}
    ]));
    let chat = json!({ "model": "up/scripted", "stream": true, "messages": [{ "role": "user", "content": "chat" }] });
    let chat = frontdesk.request("POST", "/v1/chat/completions").json(&chat).send().await.expect("a stream");
    let turn = frontdesk.request("POST", &path).json(&shop::say("turn", true)).send().await.expect("a stream");
    scripted.waiting("chat").await;
    scripted.waiting("turn").await;
    frontdesk.process().terminate();
    // It has heard the signal once nobody is let in any more.
    while frontdesk.open("GET", "/v1/health").send().await.is_ok() {
        tokio::task::yield_now().await;
    }
    scripted.release("chat");
    scripted.release("turn");
    let chat = chat.text().await.expect("the rest of the stream");
    assert!(chat.contains("two") && chat.trim_end().ends_with("data: [DONE]"), "{chat}");
    let turn = turn.text().await.expect("the rest of the turn");
    assert!(turn.contains("turn_complete") && turn.contains("three four"), "{turn}");
    let status = frontdesk.process().wait(frontdesk_tests::PATIENCE).expect("it ends by itself");
    assert!(status.success(), "{status}");
    assert_eq!(frontdesk.texts("SELECT state FROM turn").await, ["completed"]);
}
