//! Money, end to end: every call is in the books once, with its exact cost, whatever became of its client or of the
//! process.

use std::collections::BTreeSet;

use frontdesk_tests::{Ended, Frontdesk, Options, Scripted};
use futures::{StreamExt, future::join_all};
use serde_json::{Value, json};

use crate::shop;

/// 2 dollars a million in, 8 out, half a dollar for cached input, 10 for thoughts.
fn options(scripted: &Scripted) -> Options {
    Options::upstream(scripted).config(
        "prices: [ { model: up/scripted, price: { input: 2000000, output: 8000000, cached_input: 500000, reasoning: 10000000 } } ]",
    )
}

fn question(words: &str, stream: bool) -> Value {
    json!({ "model": "up/scripted", "stream": stream, "messages": [{ "role": "user", "content": words }] })
}

/// Status, tokens and cost of every call in the books.
async fn booked(frontdesk: &Frontdesk) -> Vec<String> {
    frontdesk
        .texts("SELECT status || ' ' || input_tokens || ' ' || output_tokens || ' ' || cost FROM usage ORDER BY created_at, id")
        .await
}

/// What `GET /v1/usage` says.
async fn usage(frontdesk: &Frontdesk, query: &str) -> Value {
    let (status, page) = frontdesk.get(&format!("/v1/usage?{query}")).await;
    assert_eq!(status, 200, "{page}");
    page
}

#[tokio::test]
async fn calls_of_the_edge_and_of_agents_are_booked_with_what_they_cost() {
    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(options(&scripted));
    let counts = json!({
        "prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050,
        "prompt_tokens_details": { "cached_tokens": 600 }, "completion_tokens_details": { "reasoning_tokens": 20 }
    });
    scripted.script(json!([{ "times": 3, "reply": { "text": "one two", "usage": counts } }]));
    let (status, said) = frontdesk.post("/v1/chat/completions", &question("whole", false)).await;
    assert_eq!(status, 200, "{said}");
    let streamed = frontdesk.request("POST", "/v1/chat/completions").json(&question("stream", true)).send().await;
    assert!(streamed.expect("a stream").text().await.expect("its end").contains("[DONE]"));
    let agent = shop::agent(&frontdesk, json!({})).await;
    let path = shop::session(&frontdesk, &agent).await;
    assert_eq!(shop::answer(&shop::ask(&frontdesk, &path, "hello").await), "one two");
    let page = usage(&frontdesk, "group_by=agent,model").await;
    // 400 × 2 + 600 × 0.5 + 30 × 8 + 20 × 10 = 1540 millionths of a dollar a call.
    let results = page["data"][0]["results"].as_array().expect("results");
    let seen: BTreeSet<String> = results
        .iter()
        .map(|r| format!("{} {} {} {}", r["agent_id"], r["model"], r["num_model_requests"], r["cost_nano_usd"]))
        .collect();
    let want = [format!("\"{agent}\" \"up/scripted\" 1 1540000"), "null \"up/scripted\" 2 3080000".to_owned()];
    assert_eq!(seen, want.into());
    assert_eq!((&page["total"]["cost_usd"], &page["total"]["input_tokens"]), (&json!("0.004620000"), &json!(3000)));
    let turns = frontdesk.texts("SELECT turn_id FROM usage WHERE agent_id IS NOT NULL").await;
    assert_eq!(turns, frontdesk.texts("SELECT id FROM turn").await);
}

#[tokio::test]
async fn a_client_that_leaves_and_an_upstream_that_breaks_off_are_in_the_books() {
    let scripted = Scripted::start();
    let mut frontdesk = Frontdesk::start(options(&scripted));
    scripted.script(json!([
        { "reply": { "text": "one two three", "gates": { "g": 3 } } },
        { "reply": { "text": "one two three", "cut_after": 2 } },
        { "reply": { "status": 429, "json": { "error": { "message": "slow down" } } } }
    ]));
    let left =
        frontdesk.request("POST", "/v1/chat/completions").json(&question("a", true)).send().await.expect("a stream");
    let mut left = left.bytes_stream();
    left.next().await.expect("a piece").expect("no error");
    scripted.waiting("g").await;
    drop(left);
    assert_eq!(scripted.ended(0).await, Ended::Abandoned);
    let cut =
        frontdesk.request("POST", "/v1/chat/completions").json(&question("b", true)).send().await.expect("a stream");
    assert!(cut.text().await.expect("its end").contains("error"));
    let (status, _) = frontdesk.post("/v1/chat/completions", &question("c", false)).await;
    assert_eq!(status, 429);
    let page = usage(&frontdesk, "").await;
    let total = &page["total"];
    assert_eq!(
        (&total["num_model_requests"], &total["num_failed"], &total["num_estimated"]),
        (&json!(3), &json!(3), &json!(2))
    );
    let statuses = frontdesk.texts("SELECT status FROM usage ORDER BY created_at, id").await;
    assert_eq!(statuses, ["disconnected", "error", "error"]);
    let refused = frontdesk.texts("SELECT CAST(cost AS TEXT) FROM usage WHERE NOT estimated").await;
    assert_eq!(refused, ["0"], "a refusal costs nothing");
    assert!(frontdesk.stop().expect("it ends by itself").success());
    let open = frontdesk.texts("SELECT id FROM budget_slice WHERE returned_at IS NULL").await;
    assert!(open.is_empty(), "what was set aside came back: {open:?}");
}

#[tokio::test]
async fn an_answer_that_a_stopping_server_cuts_off_is_in_the_books() {
    let scripted = Scripted::start();
    let mut frontdesk = Frontdesk::start(options(&scripted).config("limits: { drain_s: 0 }"));
    scripted.script(json!([{ "reply": { "text": "one two three", "gates": { "never": 3 } } }]));
    let asked = frontdesk.request("POST", "/v1/chat/completions").json(&question("a", true)).send().await;
    scripted.waiting("never").await;
    assert!(frontdesk.stop().expect("it ends by itself").success());
    drop(asked);
    assert_eq!(frontdesk.texts("SELECT status FROM usage").await, ["disconnected"]);
    let open = frontdesk.texts("SELECT id FROM budget_slice WHERE returned_at IS NULL").await;
    assert!(open.is_empty(), "what was set aside came back: {open:?}");
}

#[tokio::test]
async fn a_process_that_is_killed_doubles_nothing_and_leaves_what_it_had_set_aside_in_sight() {
    let scripted = Scripted::start();
    let mut frontdesk = Frontdesk::start(options(&scripted));
    scripted.script(json!([
        { "when": { "last_user_contains": "wait" }, "reply": { "text": "one two", "gates": { "never": 2 } } },
        { "times": 1000, "reply": { "text": "one", "usage": { "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110 } } }
    ]));
    let waiting =
        frontdesk.request("POST", "/v1/chat/completions").json(&question("wait", true)).send().await.expect("a stream");
    scripted.waiting("never").await;
    let ask = async |n: usize| frontdesk.post("/v1/chat/completions", &question(&format!("go {n}"), false)).await.0;
    assert_eq!(join_all((0..40).map(ask)).await, vec![200; 40]);
    // Booked within the window, if not at once.
    assert_eq!(usage(&frontdesk, "").await["total"]["num_model_requests"], 40);
    let mut load: Vec<_> = (40..80)
        .map(|n| frontdesk.request("POST", "/v1/chat/completions").json(&question(&format!("go {n}"), false)))
        .map(|asked| tokio::spawn(async move { asked.send().await.is_ok_and(|answer| answer.status() == 200) }))
        .collect();
    assert!(load.remove(0).await.expect("a task"), "the load is on");
    frontdesk.restart();
    drop(waiting);
    let asked = 1 + join_all(load).await.len();
    let rows = booked(&frontdesk).await;
    // 100 × 2 + 10 × 8 millionths of a dollar, each once; those of the last moment may be missing.
    assert!(rows.iter().all(|row| row == "ok 100 10 280000"), "{rows:?}");
    assert!((40..=40 + asked).contains(&rows.len()), "{} rows", rows.len());
    let ids = frontdesk.texts("SELECT DISTINCT request_id FROM usage").await;
    assert_eq!(ids.len(), rows.len(), "no call is booked twice");
    let slices =
        frontdesk.texts("SELECT CAST(leased - used AS TEXT) FROM budget_slice WHERE returned_at IS NULL").await;
    let unreturned: i64 = slices.iter().map(|text| text.parse::<i64>().expect("a number")).sum();
    assert!(unreturned > 0, "the call under way, and whatever was not booked, is covered");
    let outstanding = usage(&frontdesk, "").await["outstanding"].clone();
    let seen = ["reserved_nano_usd", "lost_nano_usd"].map(|name| outstanding[name].as_i64().expect("a number"));
    assert_eq!(seen.iter().sum::<i64>(), unreturned, "{outstanding}");
    // The next process books on.
    assert_eq!(frontdesk.post("/v1/chat/completions", &question("go on", false)).await.0, 200);
    assert_eq!(usage(&frontdesk, "").await["total"]["num_model_requests"], rows.len() as i64 + 1);
}
