//! Turns that outlive the process that works on them, and processes that work as one.

use frontdesk_tests::{Frontdesk, Lane, Options, PATIENCE, Scripted};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::shop;

fn options(scripted: &Scripted) -> Options {
    shop::options(scripted).config("turns: { lease_s: 2 }")
}

/// Asks, or asks again, for the stream of the turn that this key stands for.
async fn attach(frontdesk: &Frontdesk, path: &str, key: &str, after: Option<i64>) -> reqwest::Response {
    let mut request = frontdesk.request("POST", path).header("idempotency-key", key).json(&shop::say("hello", true));
    if let Some(after) = after {
        request = request.header("last-event-id", after);
    }
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    response
}

/// What comes of a stream until `enough`, or until it ends or breaks off.
async fn read(response: reqwest::Response, enough: impl Fn(&str) -> bool) -> String {
    let (mut bytes, mut text) = (response.bytes_stream(), String::new());
    while let Some(Ok(piece)) = bytes.next().await {
        text.push_str(std::str::from_utf8(&piece).expect("text"));
        if enough(&text) {
            break;
        }
    }
    text
}

/// The whole frames of a stream with their ids.
fn frames(text: &str) -> Vec<(i64, &str)> {
    let whole = text.split_inclusive("\n\n").filter(|block| block.ends_with("\n\n") && !block.starts_with(':'));
    let id = |block: &str| block.lines().find_map(|line| line.strip_prefix("id: ")?.parse().ok()).expect("an id");
    whole.map(|block| (id(block), block)).collect()
}

/// The payloads of a stream, by kind.
fn payloads(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|json| serde_json::from_str::<Value>(json).expect("json")["event"]["payload"].clone()).collect()
}

/// From every event of it on, the stream reads the same.
async fn same_from_everywhere(frontdesk: &Frontdesk, path: &str, key: &str) -> String {
    let whole = read(attach(frontdesk, path, key, None).await, |_| false).await;
    let all = frames(&whole);
    for (i, (id, _)) in all.iter().enumerate() {
        let rest: String = all[i + 1..].iter().map(|(_, block)| *block).collect();
        assert_eq!(read(attach(frontdesk, path, key, Some(*id)).await, |_| false).await, rest, "after {id}");
    }
    whole
}

/// What holds of the stream of a turn that was begun anew after half a text: what was `seen` stays, what is void is
/// marked, and the rest reads once.
fn reads_once(seen: &str, whole: &str, words: &str) {
    assert!(
        whole.starts_with(&frames(seen).iter().map(|(_, block)| *block).collect::<String>()),
        "{seen}\n---\n{whole}"
    );
    let ids: Vec<i64> = frames(whole).iter().map(|(id, _)| *id).collect();
    let again = payloads(whole)
        .into_iter()
        .zip(&ids)
        .find_map(|(payload, id)| Some((payload["metadata"]["frontdesk_restarted_from"].as_i64()?, *id)));
    let (from, at) = again.expect("a step that begins again");
    let said: String = payloads(whole)
        .iter()
        .zip(&ids)
        .filter(|(_, id)| !(from..=at).contains(*id))
        .filter_map(|(payload, _)| payload["delta"]["text"].as_str())
        .collect();
    assert_eq!(said, words);
    let last = payloads(whole).pop().expect("an end");
    assert_eq!((&last["event_type"], shop::answer(&last["turn"])), (&json!("turn_complete"), words));
}

#[tokio::test]
async fn a_turn_whose_process_is_killed_goes_on_and_its_stream_is_picked_up() {
    let scripted = Scripted::start();
    let mut frontdesk = Frontdesk::start(options(&scripted));
    let agent = shop::agent(&frontdesk, json!({})).await;
    let path = shop::session(&frontdesk, &agent).await;
    scripted.script(json!([
        {"reply": {"text": "one two three", "gates": {"never": 2}}},
        {"reply": {"text": "one two three four"}},
        {"reply": {"text": "Back again."}}
    ]));
    let seen = read(attach(&frontdesk, &path, "k", None).await, |text| text.contains("one")).await;
    scripted.waiting("never").await;
    frontdesk.restart();
    let last = frames(&seen).last().expect("an event").0;
    let rest = read(attach(&frontdesk, &path, "k", Some(last)).await, |_| false).await;
    let whole = same_from_everywhere(&frontdesk, &path, "k").await;
    reads_once(&seen, &whole, "one two three four");
    assert!(whole.ends_with(&rest) && !rest.is_empty(), "{rest}");
    assert_eq!(shop::answer(&shop::ask(&frontdesk, &path, "still there?").await), "Back again.");
    let numbers = frontdesk
        .texts("SELECT CAST(e.seq AS TEXT) FROM event e JOIN turn t ON t.id = e.turn_id WHERE t.pos = 0 ORDER BY e.seq")
        .await;
    assert_eq!(numbers, (0..numbers.len()).map(|n| n.to_string()).collect::<Vec<_>>(), "no number is missing");
}

#[tokio::test]
async fn a_response_goes_on_after_a_kill_and_its_numbers_have_no_gap() {
    let scripted = Scripted::start();
    let mut frontdesk = Frontdesk::start(options(&scripted));
    scripted.script(json!([
        {"reply": {"text": "one two three", "gates": {"never": 2}}},
        {"reply": {"text": "one two three four"}}
    ]));
    let body = json!({ "model": "up/scripted", "input": "hello", "stream": true, "background": true });
    let asked = frontdesk.request("POST", "/v1/responses").json(&body).send().await.expect("a stream");
    let seen = read(asked, |text| text.contains("\"one")).await;
    scripted.waiting("never").await;
    frontdesk.restart();
    let events = |text: &str| -> Vec<Value> {
        let whole = text.split_inclusive("\n\n").filter(|block| block.ends_with("\n\n"));
        let data = whole.filter_map(|block| block.lines().find_map(|line| line.strip_prefix("data: ")));
        data.filter_map(|json| serde_json::from_str(json).ok()).collect()
    };
    let seen = events(&seen);
    let id = seen[0]["response"]["id"].as_str().expect("an id");
    let path = format!("/v1/responses/{id}?stream=true");
    let whole = events(&read(frontdesk.request("GET", &path).send().await.expect("a stream"), |_| false).await);
    assert_eq!(whole[..seen.len()], seen);
    let numbers: Vec<i64> = whole.iter().map(|event| event["sequence_number"].as_i64().expect("a number")).collect();
    assert_eq!(numbers, (0..).take(whole.len()).collect::<Vec<_>>());
    let response = &whole.last().expect("an end")["response"];
    assert_eq!(response["status"], "completed", "{response}");
    let items: Vec<&str> =
        response["output"].as_array().expect("items").iter().map(|i| i["status"].as_str().expect("a status")).collect();
    assert_eq!(items, ["incomplete", "completed"]);
    assert_eq!(response["output"][1]["content"][0]["text"], "one two three four");
}

#[tokio::test]
async fn a_turn_is_given_back_when_its_server_stops_and_the_next_goes_on() {
    let scripted = Scripted::start();
    let mut frontdesk = Frontdesk::start(options(&scripted).config("limits: { drain_s: 2 }"));
    let agent = shop::agent(&frontdesk, json!({})).await;
    let path = shop::session(&frontdesk, &agent).await;
    scripted.script(json!([
        {"reply": {"text": "one two", "gates": {"never": 2}}},
        {"reply": {"text": "one two"}}
    ]));
    let asked = frontdesk.request("POST", &path).header("idempotency-key", "k").json(&shop::say("hello", false));
    let asking = tokio::spawn(asked.send());
    scripted.waiting("never").await;
    assert!(frontdesk.stop().expect("it ends by itself").success());
    let told = asking.await.expect("no panic").expect("an answer");
    assert_eq!((told.status().as_u16(), told.headers().contains_key("retry-after")), (503, true));
    let told: Value = told.json().await.expect("json");
    assert_eq!(told["error"]["code"], "server_stopping", "{told}");
    frontdesk.start_again().map_err(|refused| refused.log).expect("it starts again");
    let request = frontdesk.request("POST", &path).header("idempotency-key", "k").json(&shop::say("hello", false));
    let (status, turn) = frontdesk_tests::frontdesk::answer("the same again", request).await;
    assert_eq!((status, shop::answer(&turn)), (200, "one two"));
    assert_eq!(frontdesk.texts("SELECT CAST(count(*) AS TEXT) FROM turn").await, ["1"]);
}

#[tokio::test]
async fn a_role_needs_a_database_that_several_share() {
    for role in ["gateway", "worker"] {
        let started = Frontdesk::try_start(Options::new().lane(Lane::Sqlite).argument("--role").argument(role));
        let Err(refused) = started else { panic!("it is alone with its file") };
        assert!(refused.log.contains(role) && refused.log.contains("database_url"), "{}", refused.log);
    }
}

#[tokio::test]
async fn a_stream_is_picked_up_at_another_process_when_its_own_is_killed() {
    if Lane::current() == Lane::Sqlite {
        return; // one process has the file to itself
    }
    let scripted = Scripted::start();
    let mut first = Frontdesk::start(options(&scripted));
    let second = first.beside(options(&scripted));
    let agent = shop::agent(&first, json!({})).await;
    let path = shop::session(&second, &agent).await;
    scripted.script(json!([
        {"reply": {"text": "one two three", "gates": {"never": 2}}},
        {"reply": {"text": "one two three four"}}
    ]));
    let seen = read(attach(&first, &path, "k", None).await, |text| text.contains("one")).await;
    scripted.waiting("never").await;
    // Whoever follows it elsewhere sees what is written here.
    let there = read(attach(&second, &path, "k", None).await, |text| text.contains("one")).await;
    assert_eq!(frames(&there), frames(&seen));
    first.process().kill();
    let last = frames(&seen).last().expect("an event").0;
    let rest = read(attach(&second, &path, "k", Some(last)).await, |_| false).await;
    let whole = same_from_everywhere(&second, &path, "k").await;
    reads_once(&seen, &whole, "one two three four");
    assert!(whole.ends_with(&rest) && !rest.is_empty(), "{rest}");
}

#[tokio::test]
async fn gateways_take_in_what_workers_do_and_a_cancel_reaches_them() {
    if Lane::current() == Lane::Sqlite {
        return; // roles share a database
    }
    let scripted = Scripted::start();
    let gateway = Frontdesk::start(options(&scripted).argument("--role").argument("gateway"));
    let mut workers: Vec<Frontdesk> =
        (0..2).map(|_| gateway.beside(options(&scripted).argument("--role").argument("worker"))).collect();
    let agent = shop::agent(&gateway, json!({})).await;
    scripted.script(json!([
        {"when": {"last_user_contains": "work"}, "reply": {"text": "done"}},
        {"when": {"last_user_contains": "hello"}, "reply": {"text": "one two", "gates": {"never": 2}}}
    ]));
    let path = shop::session(&gateway, &agent).await;
    assert_eq!(shop::answer(&shop::ask(&gateway, &path, "work").await), "done");
    let (status, said) = workers[0].get("/v1/health").await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(workers[0].get("/v1/models").await.0, 404, "a worker takes no requests");

    let seen = read(attach(&gateway, &path, "k", None).await, |text| text.contains("one")).await;
    let turn = payloads(&seen).iter().find_map(|p| p["turn_id"].as_str().map(str::to_owned)).expect("a turn");
    let (status, said) = gateway.post(&format!("{path}/{turn}/cancel"), &json!({})).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(scripted.ended(1).await, frontdesk_tests::Ended::Abandoned, "the model is asked no more");
    let whole = read(attach(&gateway, &path, "k", None).await, |_| false).await;
    assert!(whole.contains("\"cancelled\""), "{whole}");

    // One that stops gives its turn to the other.
    scripted.script(json!([
        {"reply": {"text": "one two", "gates": {"again": 2}}},
        {"reply": {"text": "one two"}}
    ]));
    let path = shop::session(&gateway, &agent).await;
    let asked = gateway.request("POST", &path).json(&shop::say("hello", false));
    let asking = tokio::spawn(asked.send());
    scripted.waiting("again").await;
    let holder = gateway.texts("SELECT lease_owner FROM turn WHERE state = 'running'").await.pop().expect("a worker");
    let at = (0..workers.len()).find(|at| workers[*at].process().log().contains(&holder));
    let mut stopped = workers.swap_remove(at.expect("one of the two"));
    stopped.process().signal("STOP");
    // Its lease passes, the other goes on, and what the first does when it wakes changes nothing.
    let answer = tokio::time::timeout(PATIENCE, asking).await.expect("in time").expect("no panic").expect("an answer");
    let answer: Value = answer.json().await.expect("json");
    assert_eq!(shop::answer(&answer), "one two");
    let rows = "SELECT payload FROM event ORDER BY turn_id, seq";
    let before = gateway.texts(rows).await;
    stopped.process().signal("CONT");
    scripted.release("again");
    assert!(stopped.stop().expect("it ends by itself").success());
    assert_eq!(gateway.texts(rows).await, before, "no stale write");
}
