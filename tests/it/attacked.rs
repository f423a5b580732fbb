//! Agents that call uploaded tools which attack: the turn ends by the limit that is named, and nobody else is held up.

use std::cell::Cell;

use frontdesk_tests::{Frontdesk, Scripted, frontdesk::answer};
use serde_json::{Value, json};

use crate::shop;

/// Each of [`ATTACKS`], and `count`, which keeps its number for the conversation (providers/wasm/tests/kept.rs builds
/// it).
pub const ATTACKER: &[u8] = include_bytes!("../fixtures/tools/attacker.wasm");

const ATTACKS: [(&str, &str); 7] = [
    ("loop", "the tool exceeded its cpu time limit of 1000 ms"),
    ("hoard", "the tool exceeded its memory limit of 67108864 bytes"),
    ("flood", "the tool exceeded its output limit of 262144 bytes"),
    ("asks", "the tool exceeded its host calls limit of 1000"),
    ("recursion", "the tool exceeded its stack limit of 524288 bytes"),
    ("widens", "the tool exceeded its table limit of 20000 elements"),
    ("traps", "the tool crashed: wasm trap: wasm `unreachable` instruction executed"),
];

async fn registered(frontdesk: &Frontdesk) -> String {
    let file = shop::upload(frontdesk, "attacker.wasm", ATTACKER).await;
    let group = |grants: Value| json!({ "toolgroup_id": "attacker", "provider_id": "wasm", "args": { "component": file, "grants": grants } });
    let (status, said) = frontdesk.post("/v1/toolgroups", &group(json!([]))).await;
    assert_eq!((status, said["error"]["param"].as_str()), (400, Some("args.grants")), "{said}");
    let message = said["error"]["message"].as_str().expect("a message");
    assert!(message.contains("it asks for 'clock'"), "{said}");
    let (status, said) = frontdesk.post("/v1/toolgroups", &group(json!(["clock", "keep"]))).await;
    assert_eq!(status, 200, "{said}");
    shop::agent(frontdesk, json!({ "toolgroups": ["attacker"] })).await
}

/// What the tool of a turn came to.
fn told(turn: &Value) -> &str {
    let step = shop::steps(turn, "tool_execution").remove(0);
    step["tool_responses"][0]["content"].as_str().unwrap_or_else(|| panic!("no content: {step}"))
}

#[tokio::test]
async fn a_turn_that_calls_an_attacking_tool_ends_by_the_named_limit_while_another_tenants_goes_on() {
    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    let says = |word: &str, tool: &str, arguments: Value| {
        json!({ "when": { "last_role": "user", "last_contains": word },
                "reply": { "tool_call": { "name": tool, "arguments": arguments } } })
    };
    let reads = |words: &str, text: &str| json!({ "when": { "last_role": "tool", "last_contains": words }, "reply": { "text": text } });
    let mut script = vec![
        says("order", "lookup_order", json!({ "order_id": "99999" })),
        reads("order 99999 not found", "There is none."),
    ];
    for (name, limit) in ATTACKS {
        script.extend([says(name, name, json!({})), reads(limit, &format!("{name} was ended."))]);
    }
    scripted.script(Value::Array(script));
    let turns = {
        let agent = registered(&frontdesk).await;
        shop::session(&frontdesk, &agent).await
    };

    // Another tenant with a tool of its own.
    let (_, tenant) = frontdesk.post("/v1/tenants", &json!({ "name": "other" })).await;
    let key = json!({ "tenant": tenant["id"], "name": "theirs", "scopes": ["write"] });
    let (_, key) = frontdesk.post("/v1/keys", &key).await;
    let key = key["key"].as_str().expect("the key, shown once");
    let theirs = async |path: &str, body: &Value| {
        let (status, said) = answer(path, frontdesk.open("POST", path).bearer_auth(key).json(body)).await;
        assert!(status < 300, "{path}: {status} {said}");
        said
    };
    let form = shop::form(&[("purpose", "assistants")], "shop-tools.wasm", shop::SHOP_TOOLS);
    let upload = frontdesk.open("POST", "/v1/files").bearer_auth(key).header("content-type", shop::FORM).body(form);
    let (_, file) = answer("upload", upload).await;
    let args = json!({ "component": file["id"], "grants": ["kv"] });
    theirs("/v1/toolgroups", &json!({ "toolgroup_id": "shop", "provider_id": "wasm", "args": args })).await;
    let agent =
        json!({ "agent_config": { "model": "up/scripted", "instructions": "Be brief.", "toolgroups": ["shop"] } });
    let agent = theirs("/v1/agents", &agent).await["agent_id"].as_str().expect("an agent").to_owned();
    let session = format!("/v1/agents/{agent}/session");
    let made = theirs(&session, &json!({ "session_name": "test" })).await;
    let their_turns = format!("{session}/{}/turn", made["session_id"].as_str().expect("a session"));
    let honest = async || {
        let turn = theirs(&their_turns, &shop::say("my order?", false)).await;
        assert_eq!((told(&turn), shop::answer(&turn)), (r#"{"error":"order 99999 not found"}"#, "There is none."));
    };

    for (name, limit) in ATTACKS {
        let over = Cell::new(false);
        let (turn, answered) = tokio::join!(
            async {
                let turn = shop::ask(&frontdesk, &turns, name).await;
                over.set(true);
                turn
            },
            async {
                let mut answered = 0;
                while !over.get() {
                    honest().await;
                    answered += usize::from(!over.get());
                }
                answered
            }
        );
        assert_eq!(told(&turn), json!({ "error": limit }).to_string());
        assert_eq!(shop::answer(&turn), format!("{name} was ended."), "the model read it");
        // The others are over too soon.
        assert!(name != "loop" || answered > 0, "nobody else was answered meanwhile");
        honest().await;
    }
}

#[tokio::test]
async fn what_a_tool_keeps_is_there_in_the_conversations_next_turn_and_nowhere_else() {
    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    scripted.script(json!([
        { "when": { "last_role": "user" }, "reply": { "tool_call": { "name": "count", "arguments": {} } } },
        { "when": { "last_role": "tool" }, "reply": { "text": "Counted." } },
    ]));
    let agent = registered(&frontdesk).await;
    let (mine, other) = (shop::session(&frontdesk, &agent).await, shop::session(&frontdesk, &agent).await);
    for (turns, number) in [(&mine, "1"), (&mine, "2"), (&other, "1"), (&mine, "3")] {
        assert_eq!(told(&shop::ask(&frontdesk, turns, "count").await), number);
    }
    // A call outside of conversations has nothing to go on with, and leaves nothing.
    for _ in 0..2 {
        let (_, said) = frontdesk.post("/v1/tool-runtime/invoke", &json!({ "tool_name": "count", "kwargs": {} })).await;
        assert_eq!(said["content"], "1", "{said}");
    }
    // Off and on again is another registration, and so is the version before, brought back.
    for (path, body) in [("PATCH", json!({ "disabled": true })), ("PATCH", json!({ "disabled": false }))] {
        let (status, said) = answer(path, frontdesk.request(path, "/v1/toolgroups/attacker").json(&body)).await;
        assert_eq!(status, 200, "{said}");
    }
    assert_eq!(told(&shop::ask(&frontdesk, &mine, "count").await), "1");
    assert_eq!(told(&shop::ask(&frontdesk, &mine, "count").await), "2");
    let (_, changes) = frontdesk.get("/v1/toolgroup-changes?toolgroup_id=attacker&order=asc").await;
    let first = changes["data"][0]["id"].as_str().expect("a change");
    let (status, group) = frontdesk.post(&format!("/v1/toolgroup-changes/{first}/restore"), &json!({})).await;
    assert_eq!((status, &group["args"]["grants"]), (200, &json!(["clock", "keep"])), "{group}");
    let (_, changes) = frontdesk.get("/v1/toolgroup-changes?toolgroup_id=attacker&limit=1").await;
    assert_eq!(changes["data"][0]["detail"]["restored"], first, "{changes}");
    assert_eq!(told(&shop::ask(&frontdesk, &mine, "count").await), "1");
}
