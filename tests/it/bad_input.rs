//! Bad input: an error that names the thing, the status the interface promises, a process that lives.

use frontdesk_tests::{Frontdesk, Lane, Options, Scripted, frontdesk::answer};
use serde_json::json;

use crate::shop;

#[tokio::test]
async fn each_bad_request_is_told_what_is_wrong_with_it() {
    let scripted = Scripted::start();
    scripted.script(json!([{"when": {"last_role": "user"}, "reply": {"text": "fine"}}]));
    let frontdesk = Frontdesk::start(Options::upstream(&scripted));
    let raw = async |path: &str, body: Vec<u8>| {
        let request = frontdesk.request("POST", path).header("content-type", "application/json").body(body);
        answer(path, request).await
    };
    let chat = "/v1/chat/completions";
    let long = "x".repeat(40 << 20);
    let forty_megabytes_of_question = shop::say(&long, false).to_string().into_bytes();
    let forty_megabytes = json!({ "model": "up/scripted", "messages": [{ "role": "user", "content": long }] });
    for (path, body, status, says) in [
        (chat, b"{\"model\": oops}".to_vec(), 400, "line 1"),
        (chat, br#"{"model":"up/scripted"}"#.to_vec(), 400, "messages"),
        (chat, br#"{"model":"skripted","messages":[{"role":"user","content":"x"}]}"#.to_vec(), 404, "does not exist"),
        (chat, forty_megabytes.to_string().into_bytes(), 413, "32"),
        ("/v1/nothing/here", b"{}".to_vec(), 404, "/v1/nothing/here"),
        ("/v1/agents", br#"{"agent_config":{"instructions":"x"}}"#.to_vec(), 400, "model"),
        ("/v1/agents", br#"{"agent_config":{"model":"m","toolgroups":["none"]}}"#.to_vec(), 400, "none"),
        ("/v1/agents/agent_none/session", br#"{"session_name":"x"}"#.to_vec(), 404, "agent_none"),
        (
            "/v1/agents/agent_none/session/sess_none/turn",
            br#"{"messages":[{"role":"user","content":"x"}]}"#.to_vec(),
            404,
            "sess_none",
        ),
        ("/v1/agents/a/session/s/turn", br#"{"messages":[]}"#.to_vec(), 400, "messages"),
        ("/v1/agents/a/session/s/turn", forty_megabytes_of_question.clone(), 413, "32"),
        (
            "/v1/toolgroups",
            br#"{"toolgroup_id":"shop","provider_id":"wasm","args":{"component":"file_none"}}"#.to_vec(),
            404,
            "file_none",
        ),
        ("/v1/vector_stores/vs_none/files", br#"{"file_id":"f"}"#.to_vec(), 404, "vs_none"),
        ("/v1/safety/run-shield", br#"{"shield_id":"none","messages":[]}"#.to_vec(), 404, "none"),
    ] {
        let (got, said) = raw(path, body).await;
        let message = said["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(got, status, "{path}: {said}");
        assert!(message.contains(says), "{path}: '{message}' should speak of {says}");
        assert!(said["request_id"].is_string(), "{path}: {said}");
    }
    let (status, said) = answer("no key", frontdesk.open("GET", "/v1/models")).await;
    assert_eq!((status, said["error"]["type"].as_str()), (401, Some("authentication_error")));
    let (status, _) = answer("wrong key", frontdesk.open("GET", "/v1/models").bearer_auth("fd_wrong")).await;
    assert_eq!(status, 401);
    let good = json!({ "model": "up/scripted", "messages": [{ "role": "user", "content": "still there?" }] });
    assert_eq!(frontdesk.post(chat, &good).await.0, 200, "the process lives");
}

/// A model that calls a tool for ever: the turn ends at its limit, and what was done is there for the next one.
#[tokio::test]
async fn a_model_that_loops_is_stopped_and_nothing_is_lost() {
    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    shop::register_tools(&frontdesk, "shop").await;
    let call = json!({ "name": "lookup_order", "arguments": { "order_id": "10001" } });
    let looping = json!([
        { "when": { "last_user_contains": "go" }, "reply": { "tool_call": call } },
        { "when": { "last_user_contains": "and now" }, "reply": { "text": "Here I am." } }
    ]);
    scripted.script(looping.clone());
    let config = json!({ "name": "eager", "toolgroups": ["shop"], "max_infer_iters": 4 });
    let agent = shop::agent(&frontdesk, config).await;
    let path = shop::session(&frontdesk, &agent).await;
    let turn = shop::ask(&frontdesk, &path, "go").await;
    assert_eq!(
        (&turn["frontdesk"]["state"], &turn["frontdesk"]["error"]["code"]),
        (&json!("incomplete"), &json!("max_steps"))
    );
    let (thought, called) = (shop::steps(&turn, "inference"), shop::steps(&turn, "tool_execution"));
    assert_eq!((thought.len(), called.len()), (4, 4), "{turn}");
    for step in called.iter().chain(&thought) {
        assert_eq!(step["frontdesk"]["state"], "done", "{step}");
    }
    let one = format!("{path}/{}", turn["turn_id"].as_str().expect("an id"));
    assert_eq!(frontdesk.get(&one).await.1["steps"], turn["steps"]);
    let next = shop::ask(&frontdesk, &path, "and now?").await;
    assert_eq!((&next["frontdesk"]["state"], shop::answer(&next)), (&json!("completed"), "Here I am."));
    let seen = scripted.requests();
    let told = seen.last().expect("a prompt").json()["messages"].clone();
    let role = |role: &str| told.as_array().expect("messages").iter().filter(|m| m["role"] == role).count();
    assert_eq!((role("tool"), role("user")), (4, 2), "{told}");

    // The same as a response, whose conversation takes the next one.
    let (_, conversation) = frontdesk.post("/v1/conversations", &json!({})).await;
    let ask = |input: &str| json!({ "model": "agent/eager", "input": input, "conversation": conversation["id"] });
    let (status, looped) = frontdesk.post("/v1/responses", &ask("go")).await;
    assert_eq!((status, &looped["status"]), (200, &json!("incomplete")), "{looped}");
    let calls = looped["output"].as_array().expect("items");
    assert_eq!((calls.len(), calls.iter().all(|call| call["status"] == "completed")), (4, true), "{looped}");
    let (status, next) = frontdesk.post("/v1/responses", &ask("and now?")).await;
    assert_eq!((status, &next["status"]), (200, &json!("completed")), "{next}");
    assert_eq!(frontdesk.texts("SELECT id FROM step WHERE state = 'intent'").await, [""; 0], "none is left open");
}

#[test]
fn a_bad_configuration_stops_the_start_and_names_the_key() {
    for (yaml, says) in [
        ("lissen: 127.0.0.1:0", "lissen"),
        ("providers: { inference: [ { id: a, type: opnai, config: {} } ] }", "openai"),
        ("providers: { inference: [ { id: a, type: openai, config: { base_url: \"localhost\" } } ] }", "base_url"),
        ("models: [ { id: default, targets: [ { model: nowhere/m } ] } ]", "models[0]"),
    ] {
        let start = Frontdesk::try_start(Options::new().config(yaml));
        let refused = start.err().unwrap_or_else(|| panic!("{yaml} was accepted"));
        assert!(refused.status.is_some_and(|s| !s.success()), "{yaml}: {}", refused.log);
        assert!(refused.log.contains(says), "{yaml}: {}", refused.log);
    }
}

#[test]
fn a_database_that_is_not_there_stops_the_start_and_keeps_its_password() {
    let options = Options::new().lane(Lane::Sqlite).config("database_url: postgres://shop:s3cret@127.0.0.1:1/orders");
    let refused = Frontdesk::try_start(options).err().expect("there is no such database");
    assert!(refused.status.is_some_and(|s| !s.success()), "{}", refused.log);
    assert!(refused.log.contains("orders") && refused.log.contains("127.0.0.1"), "{}", refused.log);
    assert!(!refused.log.contains("s3cret"), "{}", refused.log);
}

#[tokio::test]
async fn a_database_that_is_newer_stops_the_start_and_stays_as_it_is() {
    let mut frontdesk = Frontdesk::start(Options::new());
    assert!(frontdesk.stop().expect("it ends").success());
    let changed = "UPDATE _sqlx_migrations SET version = 9999 WHERE version = 4 RETURNING CAST(version AS TEXT)";
    assert_eq!(frontdesk.texts(changed).await, ["9999"]);
    let refused = frontdesk.start_again().expect_err("the schema is newer");
    assert!(refused.status.is_some_and(|s| !s.success()), "{}", refused.log);
    assert!(refused.log.contains("newer"), "{}", refused.log);
}
