//! Batches, end to end: a server that is killed in the middle loses nothing and doubles nothing.

use std::collections::{BTreeMap, BTreeSet};

use frontdesk_tests::{Frontdesk, Options, PATIENCE, Scripted};
use serde_json::{Value, json};

use crate::shop;

/// A line that asks `words`.
fn line(id: &str, words: &str) -> String {
    let body = json!({ "model": "up/scripted", "messages": [{ "role": "user", "content": words }] });
    json!({ "custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body }).to_string() + "\n"
}

/// Looks again and again until there is something to see.
async fn seen<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(tokio::time::Instant::now() < end, "{what} did not come");
        tokio::task::yield_now().await;
    }
}

/// The batch or message batch at `path`, once `done` says so.
async fn until(frontdesk: &Frontdesk, path: &str, done: impl Fn(&Value) -> bool) -> Value {
    seen(path, async || {
        let (status, batch) = frontdesk.get(path).await;
        assert_eq!(status, 200, "{batch}");
        Some(batch).filter(&done)
    })
    .await
}

/// The request ids of the books, once there are so many.
async fn booked(frontdesk: &Frontdesk, calls: usize) -> Vec<String> {
    seen("bookings", async || {
        Some(frontdesk.texts("SELECT request_id FROM usage").await).filter(|booked| booked.len() >= calls)
    })
    .await
}

async fn lines(frontdesk: &Frontdesk, path: &str) -> Vec<Value> {
    let text = frontdesk.request("GET", path).send().await.expect("an answer").text().await.expect("text");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("no JSON ({e}): {line}"))).collect()
}

/// How often the upstream was asked what.
fn asked(scripted: &Scripted) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for seen in scripted.requests() {
        let body: Value = serde_json::from_str(&seen.body).expect("JSON");
        let words = body["messages"][0]["content"].as_str().expect("words").to_owned();
        *times.entry(words).or_default() += 1;
    }
    times
}

fn times(all: &[(&str, usize)]) -> BTreeMap<String, usize> {
    all.iter().map(|(words, n)| ((*words).to_owned(), *n)).collect()
}

fn options(scripted: &Scripted) -> Options {
    Options::upstream(scripted).config("batches: { lease_s: 1 }")
}

#[tokio::test]
async fn a_batch_whose_server_is_killed_is_finished_by_the_next_without_a_doubled_result() {
    let scripted = Scripted::start();
    let mut frontdesk = Frontdesk::start(options(&scripted));
    scripted.script(json!([
        { "when": { "last_user_contains": "slow" }, "reply": { "text": "never heard", "hold": "gate" } },
        { "when": { "last_user_contains": "wrong" }, "reply": { "status": 400, "json": { "error": { "message": "no" } } } },
        { "when": {}, "times": 99, "reply": { "text": "first time" } }
    ]));
    let words = ["one", "slow a", "two", "slow b", "wrong", "three"];
    let input: String = words.iter().map(|words| line(&words.replace(' ', "-"), words)).collect();
    let file = shop::upload_for(&frontdesk, "batch", "in.jsonl", input.as_bytes()).await;
    let new = json!({ "input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h" });
    let (status, batch) = frontdesk.post("/v1/batches", &new).await;
    assert_eq!(status, 200, "{batch}");
    let path = format!("/v1/batches/{}", batch["id"].as_str().expect("an id"));
    until(&frontdesk, &path, |b| b["request_counts"] == json!({ "total": 6, "completed": 3, "failed": 1 })).await;
    scripted.waiting("gate").await;
    assert_eq!(
        asked(&scripted),
        times(&[("one", 1), ("slow a", 1), ("slow b", 1), ("three", 1), ("two", 1), ("wrong", 1)])
    );

    booked(&frontdesk, 4).await;
    scripted.script(json!([{ "when": {}, "times": 99, "reply": { "text": "second time" } }]));
    frontdesk.restart();
    let batch = until(&frontdesk, &path, |b| b["status"] == "completed").await;
    assert_eq!(batch["request_counts"], json!({ "total": 6, "completed": 5, "failed": 1 }));
    let want = times(&[("one", 1), ("slow a", 2), ("slow b", 2), ("three", 1), ("two", 1), ("wrong", 1)]);
    assert_eq!(asked(&scripted), want, "only what had no answer is asked again");
    let content = |member: &str| format!("/v1/files/{}/content", batch[member].as_str().expect("a file"));
    let output = lines(&frontdesk, &content("output_file_id")).await;
    let answers: Vec<String> = output
        .iter()
        .map(|line| {
            let said = &line["response"]["body"]["choices"][0]["message"]["content"];
            format!("{}: {}", line["custom_id"].as_str().expect("an id"), said.as_str().expect("words"))
        })
        .collect();
    let want =
        ["one: first time", "slow-a: second time", "two: first time", "slow-b: second time", "three: first time"];
    assert_eq!(answers, want, "in the order of the input, each once");
    let errors = lines(&frontdesk, &content("error_file_id")).await;
    assert_eq!((errors.len(), &errors[0]["response"]["status_code"]), (1, &json!(400)));

    // In the books once a line, under the id that the output names.
    let booked = booked(&frontdesk, 6).await;
    let named: BTreeSet<&str> =
        output.iter().chain(&errors).map(|line| line["response"]["request_id"].as_str().expect("an id")).collect();
    assert_eq!((booked.len(), booked.iter().map(String::as_str).collect()), (6, named));
    assert_eq!(
        frontdesk.texts("SELECT job_id FROM batch_line").await,
        Vec::<String>::new(),
        "what is in the files is rows no more"
    );
}

#[tokio::test]
async fn a_message_batch_goes_on_after_its_server_was_stopped_and_after_it_was_killed() {
    let scripted = Scripted::start();
    let mut frontdesk = Frontdesk::start(options(&scripted).config("limits: { drain_s: 0 }"));
    scripted.script(json!([
        { "when": { "last_user_contains": "slow" }, "reply": { "text": "never heard", "hold": "gate" } },
        { "when": {}, "times": 99, "reply": { "text": "first time" } }
    ]));
    let request = |words: &str| {
        let params =
            json!({ "model": "up/scripted", "max_tokens": 9, "messages": [{ "role": "user", "content": words }] });
        json!({ "custom_id": words.replace(' ', "-"), "params": params })
    };
    let requests = ["one", "slow a", "two"].map(request);
    let new = json!({ "requests": requests });
    let (status, batch) = frontdesk.post("/v1/messages/batches", &new).await;
    assert_eq!(status, 200, "{batch}");
    let path = format!("/v1/messages/batches/{}", batch["id"].as_str().expect("an id"));
    until(&frontdesk, &path, |b| b["request_counts"]["succeeded"] == 2).await;
    scripted.waiting("gate").await;
    assert!(frontdesk.stop().expect("it ends by itself").success());
    frontdesk.start_again().map_err(|refused| refused.log).expect("it starts again");
    // It was given back, so it is taken up at once; and again after a kill.
    seen("the line that was cut off", async || asked(&scripted).get("slow a").filter(|times| **times == 2).copied())
        .await;
    scripted.script(json!([{ "when": {}, "times": 99, "reply": { "text": "third time" } }]));
    frontdesk.restart();
    let batch = until(&frontdesk, &path, |b| b["processing_status"] == "ended").await;
    let counts = json!({ "processing": 0, "succeeded": 3, "errored": 0, "canceled": 0, "expired": 0 });
    assert_eq!(batch["request_counts"], counts);
    let results = lines(&frontdesk, batch["results_url"].as_str().expect("a path")).await;
    let said: Vec<String> = results
        .iter()
        .map(|line| {
            let text = &line["result"]["message"]["content"][0]["text"];
            format!("{}: {}", line["custom_id"].as_str().expect("an id"), text.as_str().expect("words"))
        })
        .collect();
    assert_eq!(said, ["one: first time", "slow-a: third time", "two: first time"]);
}
