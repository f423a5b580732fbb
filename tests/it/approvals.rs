//! Calls that wait for a person, over HTTP: listed, answered by whoever may, gone on with after a restart.

use frontdesk_tests::{Frontdesk, Lane, Scripted, frontdesk::answer};
use serde_json::{Value, json};

use crate::shop;

/// A turn whose call waits for a person: the path of its conversation, its id, and the approval's.
pub async fn waiting(frontdesk: &Frontdesk, scripted: &Scripted) -> (String, String, String) {
    shop::register_tools(frontdesk, "shop").await;
    waits(frontdesk, scripted).await
}

/// As [`waiting`], where the tools are there.
async fn waits(frontdesk: &Frontdesk, scripted: &Scripted) -> (String, String, String) {
    let rules = json!({ "approvals": [{ "tool": "start_return" }] });
    let agent = shop::agent(frontdesk, json!({ "toolgroups": ["shop"], "frontdesk": rules })).await;
    let path = shop::session(frontdesk, &agent).await;
    scripted.script(json!([
        {"reply": {"tool_call": {"name": "start_return", "arguments": {"order_id": "99999"}}}},
        {"reply": {"text": "The tool said {tool_content}"}}
    ]));
    let turn = shop::ask(frontdesk, &path, "send it back").await;
    assert_eq!(turn["frontdesk"]["state"], "awaiting_input", "{turn}");
    assert_eq!(turn["output_message"]["tool_calls"], json!([]), "a client has nothing to run");
    let asked = &turn["frontdesk"]["approvals"][0];
    assert_eq!(asked["call"]["name"], "start_return");
    let id = |value: &Value| value.as_str().expect("an id").to_owned();
    (path, id(&turn["turn_id"]), id(&asked["approval_id"]))
}

async fn ended(frontdesk: &Frontdesk, path: &str) -> Value {
    let stands = async {
        loop {
            let (status, turn) = frontdesk.get(path).await;
            assert_eq!(status, 200, "{turn}");
            if turn["frontdesk"]["state"] != "running" {
                return turn;
            }
            tokio::task::yield_now().await;
        }
    };
    let stood = tokio::time::timeout(std::time::Duration::from_secs(120), stands).await;
    stood.expect("the turn stands still within two minutes")
}

#[tokio::test]
async fn an_approval_is_listed_outlives_its_process_and_is_answered_once() {
    let scripted = Scripted::start();
    let mut frontdesk = Frontdesk::start(shop::options(&scripted));
    let (path, turn, id) = waiting(&frontdesk, &scripted).await;
    // Killed, and another process answers.
    frontdesk.restart();
    let (status, list) = frontdesk.get("/v1/approvals").await;
    assert_eq!((status, list["data"].as_array().map(Vec::len)), (200, Some(1)), "{list}");
    let open = &list["data"][0];
    assert_eq!((&open["id"], &open["state"], &open["tool"]), (&json!(id), &json!("open"), &json!("start_return")));
    assert_eq!(
        serde_json::from_str::<Value>(open["arguments"].as_str().expect("JSON")).expect("JSON")["order_id"],
        "99999"
    );
    assert!(open["expires_at"].as_i64() > open["created_at"].as_i64(), "{open}");

    let one = format!("/v1/approvals/{id}");
    let (status, said) = frontdesk.post(&one, &json!({ "approve": true, "reason": "known customer" })).await;
    assert_eq!((status, &said["state"]), (200, &json!("approved")), "{said}");
    let turn = ended(&frontdesk, &format!("{path}/{turn}")).await;
    assert_eq!(turn["frontdesk"]["state"], "completed", "{turn}");
    assert_eq!(shop::steps(&turn, "tool_execution").len(), 1, "{turn}");
    assert!(shop::answer(&turn).contains("99999"), "{turn}");

    let (status, again) = frontdesk.post(&one, &json!({ "approve": true })).await;
    assert_eq!((status, &again), (200, &said), "the same word gets the same answer");
    let (status, other) = frontdesk.post(&one, &json!({ "approve": false })).await;
    assert_eq!((status, &other["error"]["code"]), (409, &json!("approval_decided")), "{other}");
    let (_, shown) = frontdesk.get(&one).await;
    assert_eq!(shown["decision"]["reason"], "known customer");
    assert!(shown["decision"]["key_id"].is_string(), "{shown}");
    assert_eq!(frontdesk.get("/v1/approvals").await.1["data"], json!([]));
}

/// Two people at once, at two processes where there can be two: one word counts, and the other person is told.
#[tokio::test]
async fn of_two_words_at_once_one_counts() {
    let scripted = Scripted::start();
    let first = Frontdesk::start(shop::options(&scripted));
    let second = (Lane::current() != Lane::Sqlite).then(|| first.beside(shop::options(&scripted)));
    let other = second.as_ref().unwrap_or(&first);
    shop::register_tools(&first, "shop").await;
    for round in 0..8 {
        let (path, turn, id) = waits(&first, &scripted).await;
        let one = format!("/v1/approvals/{id}");
        let (yes, no) = (json!({ "approve": true }), json!({ "approve": false }));
        let (yes, no) = match round % 2 {
            0 => tokio::join!(first.post(&one, &yes), other.post(&one, &no)),
            _ => {
                let (no, yes) = tokio::join!(first.post(&one, &no), other.post(&one, &yes));
                (yes, no)
            }
        };
        let approved = yes.0 == 200;
        let (won, lost) = if approved { (&yes, &no) } else { (&no, &yes) };
        assert_eq!((won.0, lost.0), (200, 409), "{yes:?} {no:?}");
        assert_eq!(won.1["state"], if approved { "approved" } else { "denied" }, "{won:?}");
        assert_eq!(lost.1["error"]["code"], "approval_decided", "{lost:?}");
        let said = lost.1["error"]["message"].as_str().expect("words");
        assert!(said.contains(if approved { "approved before" } else { "denied before" }), "{said}");
        // Both processes know the same word, and the turn went by it.
        for frontdesk in [&first, other] {
            assert_eq!(frontdesk.get(&one).await.1, won.1);
        }
        let turn = ended(&first, &format!("{path}/{turn}")).await;
        let [call] = shop::steps(&turn, "tool_execution")[..] else { panic!("one call: {turn}") };
        let denied = call["tool_responses"][0]["content"].to_string().contains("denied this call");
        assert_eq!(denied, !approved, "{call}");
    }
}

#[tokio::test]
async fn a_key_that_talks_for_customers_answers_no_approval() {
    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    let (path, turn, id) = waiting(&frontdesk, &scripted).await;
    let (_, made) = frontdesk.post("/v1/keys", &json!({ "name": "widget", "scopes": ["use"] })).await;
    let key = made["key"].as_str().expect("a key");
    let one = format!("/v1/approvals/{id}");
    for (method, path) in [("GET", "/v1/approvals"), ("GET", &*one), ("POST", &*one)] {
        let request = frontdesk.open(method, path).bearer_auth(key).json(&json!({ "approve": true }));
        let (status, said) = answer(path, request).await;
        assert_eq!(status, 403, "{method} {path}: {said}");
    }
    let (status, said) = frontdesk.post(&one, &json!({ "approve": "yes" })).await;
    assert_eq!(status, 400, "{said}");
    let (status, said) = frontdesk.post("/v1/approvals/appr_none", &json!({ "approve": true })).await;
    assert_eq!((status, &said["error"]["code"]), (404, &json!("approval_not_found")), "{said}");
    // A result for it is refused by name, and a denial is what the model reads.
    let wrong = json!({ "tool_responses": [{ "call_id": "call_x", "tool_name": "start_return", "content": "done" }] });
    let (status, said) = frontdesk.post(&format!("{path}/{turn}/resume"), &wrong).await;
    assert!(status == 400 && said.to_string().contains("call_x"), "{status} {said}");
    let (status, said) = frontdesk.post(&one, &json!({ "approve": false, "reason": "no receipt" })).await;
    assert_eq!((status, &said["state"]), (200, &json!("denied")), "{said}");
    let turn = ended(&frontdesk, &format!("{path}/{turn}")).await;
    assert!(shop::answer(&turn).contains("denied this call: no receipt"), "{turn}");
}
