//! Stored chat completions, end to end: kept through the end of their server, and no longer than they are to be.

use frontdesk_tests::{Frontdesk, Options, PATIENCE, Scripted};
use serde_json::json;

async fn ids(frontdesk: &Frontdesk) -> Vec<String> {
    frontdesk.texts("SELECT id FROM chat_completion ORDER BY id").await
}

#[tokio::test]
async fn an_answer_that_ends_while_the_server_stops_is_stored() {
    let scripted = Scripted::start();
    let mut frontdesk = Frontdesk::start(Options::upstream(&scripted));
    scripted.script(json!([{ "reply": { "text": "one two", "gates": { "chat": 2 } } }]));
    let chat = json!({ "model": "up/scripted", "store": true, "stream": true, "messages": [{ "role": "user", "content": "hi" }] });
    let chat = frontdesk.request("POST", "/v1/chat/completions").json(&chat).send().await.expect("a stream");
    scripted.waiting("chat").await;
    frontdesk.process().terminate();
    scripted.release("chat");
    let told = chat.text().await.expect("the rest of the stream");
    assert!(told.trim_end().ends_with("data: [DONE]"), "{told}");
    assert!(frontdesk.process().wait(PATIENCE).expect("it ends by itself").success());
    let [id] = &ids(&frontdesk).await[..] else { panic!("one") };
    assert!(told.contains(id.as_str()), "{id} in {told}");
}

#[tokio::test]
async fn what_was_kept_for_its_time_is_deleted() {
    let scripted = Scripted::start();
    let mut frontdesk = Frontdesk::start(Options::upstream(&scripted).config("stored_completions: { keep_days: 2 }"));
    scripted.script(json!([{ "times": 2, "reply": { "text": "hello" } }]));
    let chat = json!({ "model": "up/scripted", "store": true, "messages": [{ "role": "user", "content": "hi" }] });
    let mut made = vec![];
    for _ in 0..2 {
        let (status, answer) = frontdesk.post("/v1/chat/completions", &chat).await;
        assert_eq!(status, 200, "{answer}");
        made.push(answer["id"].as_str().expect("an id").to_owned());
    }
    // Three days pass for one of them.
    let (status, _) = frontdesk.get(&format!("/v1/chat/completions/{}", made[0])).await;
    assert_eq!(status, 200, "it is written");
    let older = format!(
        "UPDATE chat_completion SET created_at = created_at - 259200000000 WHERE id = '{}' RETURNING id",
        made[0]
    );
    assert_eq!(frontdesk.texts(&older).await, made[..1]);
    frontdesk.restart();
    let end = tokio::time::Instant::now() + PATIENCE;
    while ids(&frontdesk).await != made[1..] {
        assert!(tokio::time::Instant::now() < end, "it stays");
        tokio::task::yield_now().await;
    }
}
