//! The turn over HTTP: rows before events, models that misbehave.

use frontdesk_tests::{Frontdesk, PATIENCE, Scripted, frontdesk::answer};
use serde_json::{Value, json};

use crate::shop;

#[tokio::test]
async fn every_event_is_a_row_before_it_is_shown() {
    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    scripted.script(json!([
        {"reply": {"tool_call": {"name": "lookup_order", "arguments": {"order_id": "99999"}}}},
        {"reply": {"text": "I could not find it.", "piece": 4}}
    ]));
    shop::register_tools(&frontdesk, "shop").await;
    let agent = shop::agent(&frontdesk, json!({ "toolgroups": ["shop"] })).await;
    let path = shop::session(&frontdesk, &agent).await;
    let mut turn = String::new();
    let seen = shop::stream(&frontdesk, &path, "Where is order 99999?", async |event| {
        if let Some(id) = event.payload()["turn_id"].as_str() {
            turn = id.to_owned();
        }
        let query = format!("SELECT type FROM event WHERE turn_id = '{turn}' AND seq = {}", event.id);
        assert_eq!(frontdesk.texts(&query).await.len(), 1, "event {} is shown but is no row", event.id);
    })
    .await;
    assert!(seen.len() >= 8, "{seen:?}");
    assert!(seen.windows(2).all(|pair| pair[0].id < pair[1].id));
    let last = seen.last().expect("an end").payload();
    assert_eq!(
        (last["event_type"].as_str(), shop::answer(&last["turn"])),
        (Some("turn_complete"), "I could not find it.")
    );
    // The rows have no gap.
    let rows = frontdesk
        .texts(&format!("SELECT CAST(seq AS TEXT) FROM event WHERE turn_id = '{turn}' ORDER BY event.seq"))
        .await;
    assert_eq!(rows, (0..rows.len()).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn whatever_a_model_calls_the_turn_ends_well() {
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "name": name, "arguments": arguments});
    let good = r#"{"order_id":"99999"}"#;
    // What the model says, and what each call must come to: the name of the tool and whether it failed.
    let cases = [
        ("split arguments", vec![call("a", "lookup_order", good)], vec![("lookup_order", "not found")]),
        (
            "two at once",
            vec![call("a", "lookup_order", good), call("b", "start_return", good)],
            vec![("lookup_order", "not found"), ("start_return", "99999")],
        ),
        (
            "one id for two calls",
            vec![call("a", "lookup_order", good), call("a", "lookup_order", good)],
            vec![("lookup_order", "not found"), ("lookup_order", "not found")],
        ),
        ("a tool that is not there", vec![call("a", "fly", "{}")], vec![("fly", "lookup_order")]),
        (
            "arguments that are no JSON",
            vec![call("a", "lookup_order", "{\"order_id\":")],
            vec![("lookup_order", "JSON")],
        ),
        (
            "arguments of another shape",
            vec![call("a", "lookup_order", "{\"number\":1}")],
            vec![("lookup_order", "order_id")],
        ),
    ];
    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    shop::register_tools(&frontdesk, "shop").await;
    let agent = shop::agent(&frontdesk, json!({ "toolgroups": ["shop"] })).await;
    for (what, calls, want) in cases {
        scripted.script(json!([
            {"reply": {"tool_calls": calls, "argument_piece": 3}},
            {"reply": {"text": "That is all I found."}}
        ]));
        let path = shop::session(&frontdesk, &agent).await;
        let turn = shop::ask(&frontdesk, &path, "please").await;
        assert_eq!(shop::answer(&turn), "That is all I found.", "{what}");
        let done = shop::steps(&turn, "tool_execution");
        assert_eq!(done.len(), want.len(), "{what}: {done:?}");
        for (step, (tool, says)) in done.iter().zip(&want) {
            assert_eq!(step["tool_calls"][0]["tool_name"], **tool, "{what}");
            let result = step["tool_responses"][0]["content"].to_string();
            assert!(result.contains(says), "{what}: {result} should speak of {says}");
        }
        let ids: std::collections::BTreeSet<String> =
            done.iter().map(|s| s["tool_calls"][0]["call_id"].to_string()).collect();
        assert_eq!(ids.len(), want.len(), "{what}: every call has an id of its own");
    }
}

#[tokio::test]
async fn a_second_message_during_a_turn_is_a_conflict() {
    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    let agent = shop::agent(&frontdesk, json!({})).await;
    let path = shop::session(&frontdesk, &agent).await;
    scripted.script(json!([{"reply": {"text": "one two", "gates": {"g": 2}}}]));
    let first = frontdesk.request("POST", &path).json(&shop::say("hello", true)).send().await.expect("a stream");
    scripted.waiting("g").await;
    let (status, said) = frontdesk.post(&path, &shop::say("and another thing", false)).await;
    assert_eq!(status, 409, "{said}");
    scripted.release("g");
    assert!(first.text().await.expect("the rest").contains("turn_complete"));
}

#[tokio::test]
async fn a_second_message_waits_for_its_turn_or_takes_the_others_place() {
    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    for (on_message, first_says, gate) in [("queue", "turn_complete", "q"), ("interrupt", "interrupted", "i")] {
        let agent = shop::agent(&frontdesk, json!({ "frontdesk": { "on_message": on_message } })).await;
        let path = shop::session(&frontdesk, &agent).await;
        scripted.script(json!([
            {"reply": {"text": "one two", "gates": { gate: 2 }}},
            {"reply": {"text": "the second"}}
        ]));
        let first = frontdesk.request("POST", &path).json(&shop::say("hello", true)).send().await.expect("a stream");
        scripted.waiting(gate).await;
        let second =
            frontdesk.request("POST", &path).json(&shop::say("and this", true)).send().await.expect("a stream");
        assert_eq!(second.status(), 200, "{on_message}");
        // Its stream begins at once; what it is answered comes in its turn.
        if on_message == "queue" {
            scripted.release(gate);
        }
        let first = first.text().await.expect("the rest");
        assert!(first.contains(first_says), "{on_message}: {first}");
        let second = second.text().await.expect("the rest");
        assert!(second.contains("turn_start") && second.contains("the second"), "{on_message}: {second}");
        scripted.release(gate);
    }
    let (status, said) = frontdesk.get("/v1/turns?state=dead_letter").await;
    assert_eq!((status, &said["data"]), (200, &json!([])), "{said}");
    let (status, said) = frontdesk.get("/v1/turns").await;
    assert_eq!((status, &said["error"]["param"]), (400, &json!("state")), "{said}");
}

#[tokio::test]
async fn a_line_that_is_full_says_when_to_come_again() {
    let scripted = Scripted::start();
    let bounds = "turns: { at_once: 1, in_line_of_tenant: 1 }\n";
    let frontdesk = Frontdesk::start(shop::options(&scripted).config(bounds));
    let agent = shop::agent(&frontdesk, json!({})).await;
    let (one, two, three) = (
        shop::session(&frontdesk, &agent).await,
        shop::session(&frontdesk, &agent).await,
        shop::session(&frontdesk, &agent).await,
    );
    scripted.script(json!([{"reply": {"text": "one two", "gates": {"g": 2}}}, {"reply": {"text": "three"}}]));
    let send = |path: &str| frontdesk.request("POST", path).json(&shop::say("hello", true)).send();
    let first = send(&one).await.expect("a stream");
    scripted.waiting("g").await;
    // It stands in line; the next finds the line full.
    let second = send(&two).await.expect("a stream");
    let third = send(&three).await.expect("an answer");
    assert_eq!((third.status().as_u16(), third.headers().get("retry-after").is_some()), (429, true));
    let said: Value = third.json().await.expect("an error");
    assert_eq!(said["error"]["code"], "turn_queue_full", "{said}");
    scripted.release("g");
    assert!(first.text().await.expect("the rest").contains("one two"));
    assert!(second.text().await.expect("the rest").contains("three"));
}

#[tokio::test]
async fn a_result_for_another_call_is_refused_and_the_turn_waits_on() {
    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    let look = json!({ "name": "look", "description": "", "parameters": [] });
    let agent = shop::agent(&frontdesk, json!({ "client_tools": [look] })).await;
    let path = shop::session(&frontdesk, &agent).await;
    scripted.script(json!([
        {"reply": {"tool_call": { "id": "call_1", "name": "look", "arguments": {} }}},
        {"reply": {"text": "It says {tool_content}"}}
    ]));
    let (_, waiting) = frontdesk.post(&path, &shop::say("look", false)).await;
    let call = waiting["output_message"]["tool_calls"][0]["call_id"].as_str().expect("a call").to_owned();
    let resume = format!("{path}/{}/resume", waiting["turn_id"].as_str().expect("an id"));
    let brings = |calls: &[&str]| {
        let results = calls.iter().map(|id| json!({ "call_id": id, "tool_name": "look", "content": "42" }));
        json!({ "stream": false, "tool_responses": results.collect::<Vec<_>>() })
    };
    for (calls, names) in [(vec!["call_9"], "call_9"), (vec![&*call, "call_9"], "call_9"), (vec![], &call)] {
        let (status, said) = frontdesk.post(&resume, &brings(&calls)).await;
        let message = said["error"]["message"].as_str().unwrap_or_default();
        assert!(status == 400 && message.contains(names), "{calls:?}: {status} {said}");
    }
    let (status, done) = frontdesk.post(&resume, &brings(&[&call])).await;
    assert_eq!((status, &done["output_message"]["content"]), (200, &json!("It says 42")), "{done}");
    let (status, said) = frontdesk.post(&resume, &brings(&[&call])).await;
    assert_eq!((status, &said["error"]["code"]), (409, &json!("turn_not_waiting")), "{said}");
}

#[tokio::test]
async fn a_client_that_leaves_finds_its_turn_done() {
    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    let agent = shop::agent(&frontdesk, json!({})).await;
    let path = shop::session(&frontdesk, &agent).await;
    scripted.script(json!([{"reply": {"text": "one two", "gates": {"g": 2}}}]));
    let left = frontdesk.request("POST", &path).json(&shop::say("hello", true)).send().await.expect("a stream");
    scripted.waiting("g").await;
    drop(left);
    scripted.release("g");
    assert_eq!(scripted.ended(0).await, frontdesk_tests::Ended::Complete);
    let turn = frontdesk.texts("SELECT id FROM turn").await.pop().expect("a turn");
    loop {
        let (_, turn) = frontdesk.get(&format!("{path}/{turn}")).await;
        if turn["frontdesk"]["state"] == "completed" {
            assert_eq!(shop::answer(&turn), "one two");
            break;
        }
        assert_eq!(turn["frontdesk"]["state"], "running", "{turn}");
        tokio::task::yield_now().await;
    }
}

/// The list of turns that were given up, once there are so many.
async fn given_up(frontdesk: &Frontdesk, many: usize) -> Vec<Value> {
    let listed = async {
        loop {
            let (status, said) = frontdesk.get("/v1/turns?state=dead_letter").await;
            assert_eq!(status, 200, "{said}");
            let turns = said["data"].as_array().expect("a list");
            if turns.len() == many {
                break turns.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, listed).await.expect("the turns are given up")
}

/// The turn at this path, once it has ended.
async fn ended(frontdesk: &Frontdesk, path: &str) -> Value {
    let looks = async {
        loop {
            let (status, turn) = frontdesk.get(path).await;
            assert_eq!(status, 200, "{turn}");
            if !["queued", "running"].contains(&turn["frontdesk"]["state"].as_str().expect("a state")) {
                break turn;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looks).await.expect("the turn ends")
}

#[tokio::test]
async fn a_turn_that_was_given_up_is_asked_again_or_set_aside_by_its_tenant_alone() {
    let scripted = Scripted::start();
    let bounds = "turns: { lease_s: 2, attempts: 1 }";
    let mut frontdesk = Frontdesk::start(shop::options(&scripted).config(bounds));
    let agent = shop::agent(&frontdesk, json!({})).await;
    let (one, two) = (shop::session(&frontdesk, &agent).await, shop::session(&frontdesk, &agent).await);
    scripted.script(json!([
        {"reply": {"text": "one two", "gates": {"first": 2}}},
        {"reply": {"text": "one two", "gates": {"second": 2}}}
    ]));
    // The process is killed while both run, and has lost them as often as it may.
    for (path, gate, words) in [(&one, "first", "Where is it?"), (&two, "second", "And this?")] {
        drop(frontdesk.request("POST", path).json(&shop::say(words, true)).send().await.expect("a stream"));
        scripted.waiting(gate).await;
    }
    frontdesk.restart();
    let turns = given_up(&frontdesk, 2).await;
    let of = |path: &str| {
        let session = path.split('/').nth_back(1).expect("a session");
        turns.iter().find(|turn| turn["session_id"] == session).unwrap_or_else(|| panic!("{path}: {turns:?}"))
    };
    for turn in &turns {
        assert_eq!((&turn["object"], &turn["agent_id"]), (&json!("turn"), &json!(agent)), "{turn}");
        let how = (&turn["state"], &turn["error"]["code"]);
        assert_eq!(how, (&json!("dead_letter"), &json!("attempts_exhausted")), "{turn}");
    }
    let (status, page) = frontdesk.get("/v1/turns?state=dead_letter&limit=1").await;
    assert_eq!((status, &page["data"], &page["has_more"]), (200, &json!([turns[0]]), &json!(true)), "{page}");
    let (again, aside) = (of(&one)["id"].as_str().expect("an id"), of(&two)["id"].as_str().expect("an id"));
    let does = async |id: &str, what: &str| frontdesk.post(&format!("/v1/turns/{id}/{what}"), &json!({})).await;
    let refused = |(status, said): (u16, Value)| (status, said["error"]["code"].as_str().map(str::to_owned));

    // Another tenant's key finds neither, and nor does anyone find what is not there.
    let (status, made) = frontdesk.post("/v1/tenants", &json!({ "name": "other" })).await;
    assert!(status < 300, "{made}");
    let key = json!({ "tenant": made["id"], "name": "theirs", "scopes": ["write"] });
    let (status, made) = frontdesk.post("/v1/keys", &key).await;
    assert!(status < 300, "{made}");
    let theirs = async |method: &str, path: &str| {
        answer(path, frontdesk.open(method, path).bearer_auth(made["key"].as_str().expect("the key"))).await
    };
    let (status, said) = theirs("GET", "/v1/turns?state=dead_letter").await;
    assert_eq!((status, &said["data"]), (200, &json!([])), "{said}");
    for what in ["retry", "dismiss"] {
        for id in [again, aside] {
            let told = refused(theirs("POST", &format!("/v1/turns/{id}/{what}")).await);
            assert_eq!(told, (404, Some("turn_not_found".into())), "{what} {id}");
        }
        assert_eq!(refused(does("turn_nowhere", what).await), (404, Some("turn_not_found".into())), "{what}");
    }
    assert_eq!(given_up(&frontdesk, 2).await, turns, "nothing of it changed them");

    // Asked again: a new turn of the same conversation with the same words, once however often that is said.
    scripted.script(json!([{"when": {"last_user_contains": "Where is it?"}, "reply": {"text": "Here it is."}}]));
    let (status, new) = does(again, "retry").await;
    assert_eq!((status, &new["session_id"]), (200, &of(&one)["session_id"]), "{new}");
    let id = new["id"].as_str().expect("an id");
    assert_ne!(id, again);
    let turn = ended(&frontdesk, &format!("{one}/{id}")).await;
    let how = (&turn["frontdesk"]["state"], shop::answer(&turn));
    assert_eq!(how, (&json!("completed"), "Here it is."), "{turn}");
    let (status, twice) = does(again, "retry").await;
    assert_eq!((status, &twice["id"]), (200, &new["id"]), "{twice}");
    assert_eq!(given_up(&frontdesk, 1).await[0]["id"], aside);

    // Set aside: it has failed, and nobody asks it again.
    let (status, gone) = does(aside, "dismiss").await;
    let how = (&gone["id"], &gone["state"], &gone["error"]["code"]);
    assert_eq!((status, how), (200, (&json!(aside), &json!("failed"), &json!("attempts_exhausted"))), "{gone}");
    assert!(given_up(&frontdesk, 0).await.is_empty());
    for (turn, what) in [(again, "dismiss"), (aside, "dismiss"), (aside, "retry"), (id, "dismiss"), (id, "retry")] {
        assert_eq!(refused(does(turn, what).await), (409, Some("turn_not_given_up".into())), "{what} {turn}");
    }
    assert_eq!(frontdesk.texts("SELECT id FROM turn").await.len(), 3, "the two that were given up, and one again");
}
