//! Every route that takes an id, walked by the admin of another tenant with the ids of this one.
//!
//! The routes come from the running program's own OpenAPI document, so a new one cannot be forgotten: a path with a
//! parameter that this file has no id for fails the test.

use std::collections::BTreeMap;

use frontdesk_tests::{Frontdesk, Scripted, frontdesk::answer};
use serde_json::{Value, json};

use crate::{approvals, questions, shop};

/// What is the operator's for all tenants; and where people sign in, which no key opens but the state they were sent with
/// (`http/sign_in` tests it).
const EVERYBODYS: [&str; 6] = [
    "/v1/providers/{provider_id}",
    "/v1/providers/{provider_id}/load",
    "/v1/providers/{provider_id}/unload",
    "/v1/shields/{shield_id}",
    "/v1/toolgroup-sign-in/{place}",
    "/v1/toolgroup-sign-in/{place}/begin",
];

fn id(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("an id: {value}")).to_owned()
}

async fn made(frontdesk: &Frontdesk, path: &str, body: Value) -> Value {
    let (status, said) = frontdesk.post(path, &body).await;
    assert!(status < 300, "POST {path}: {status} {said}");
    said
}

/// One of everything: the name of a parameter, behind the path where a name means several things, and its id.
async fn everything(frontdesk: &Frontdesk, scripted: &Scripted) -> BTreeMap<String, String> {
    let (turns, turn, approval) = approvals::waiting(frontdesk, scripted).await;
    let (_, question) = questions::waiting(frontdesk, scripted, &questions::Booking::start()).await;
    let of: Vec<&str> = turns.split('/').collect();
    let (_, shown) = frontdesk.get(&format!("{turns}/{turn}")).await;
    let step = id(&shown["steps"][0]["step_id"]);
    let file = shop::upload(frontdesk, "returns.md", b"# Returns\n\nReturns are free within 30 days.").await;
    let store = id(&made(frontdesk, "/v1/vector_stores", json!({ "name": "pages" })).await["id"]);
    made(frontdesk, &format!("/v1/vector_stores/{store}/files"), json!({ "file_id": file })).await;

    let people = json!({ "frontdesk": { "hand_off": { "message": "A colleague takes over." } } });
    let agent = shop::agent(frontdesk, people).await;
    let handing = shop::session(frontdesk, &agent).await;
    let call = json!({ "name": "hand_off", "arguments": { "reason": "customer_request" } });
    scripted.script(json!([{ "reply": { "tool_call": call } }]));
    shop::ask(frontdesk, &handing, "a person, please").await;
    let handoff = id(&frontdesk.get("/v1/handoffs").await.1["data"][0]["id"]);

    scripted.script(json!([{ "times": 9, "reply": { "text": "hello" } }]));
    let chat = json!({ "model": "up/scripted", "messages": [{ "role": "user", "content": "hi" }] });
    let mut stored = chat.clone();
    stored["store"] = json!(true);
    let completion = id(&made(frontdesk, "/v1/chat/completions", stored).await["id"]);
    let words = json!({ "items": [{ "type": "message", "role": "user", "content": "hi" }] });
    let talk = id(&made(frontdesk, "/v1/conversations", words).await["id"]);
    let (_, items) = frontdesk.get(&format!("/v1/conversations/{talk}/items")).await;
    let response = id(&made(frontdesk, "/v1/responses", json!({ "model": "up/scripted", "input": "hi" })).await["id"]);
    let model = json!({ "model_id": "mine", "provider_id": "up", "provider_model_id": "scripted" });
    made(frontdesk, "/v1/models", model).await;
    let key = id(&made(frontdesk, "/v1/keys", json!({ "name": "app" })).await["id"]);
    let prompt = id(&made(frontdesk, "/v1/prompts", json!({ "prompt": "Be brief." })).await["prompt_id"]);
    let customers = json!({ "algorithm": "HS256", "audience": "shop" });
    let customer_key = id(&made(frontdesk, "/v1/customer-keys", customers).await["id"]);
    let secret = json!({ "name": "crm", "value": "12345678", "hosts": ["api.crm.example"] });
    let secret = id(&made(frontdesk, "/v1/secrets", secret).await["name"]);
    let line = json!({ "custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": chat }).to_string();
    let lines = shop::upload_for(frontdesk, "batch", "batch.jsonl", line.as_bytes()).await;
    let batch = json!({ "input_file_id": lines, "endpoint": "/v1/chat/completions", "completion_window": "24h" });
    let batch = id(&made(frontdesk, "/v1/batches", batch).await["id"]);
    let mut params = chat;
    params["max_tokens"] = json!(9);
    let messages = json!({ "requests": [{ "custom_id": "a", "params": params }] });
    let messages = id(&made(frontdesk, "/v1/messages/batches", messages).await["id"]);

    let container = id(&made(frontdesk, "/v1/containers", json!({ "name": "code", "file_ids": [file] })).await["id"]);
    let (_, held) = frontdesk.get(&format!("/v1/containers/{container}/files")).await;
    let change = id(&frontdesk.get("/v1/toolgroup-changes?toolgroup_id=shop").await.1["data"][0]["id"]);

    let ids = [
        ("container_id", container.as_str()),
        ("container_file_id", &id(&held["data"][0]["id"])),
        ("agent_id", of[3]),
        ("session_id", of[5]),
        ("turn_id", &turn),
        ("step_id", &step),
        ("approval_id", &approval),
        ("question_id", &question),
        ("handoff_id", &handoff),
        ("version", "1"),
        ("file_id", &file),
        ("vector_store_id", &store),
        ("completion_id", &completion),
        ("conversation_id", &talk),
        ("item_id", &id(&items["data"][0]["id"])),
        ("response_id", &response),
        ("model_id", "mine"),
        ("prompt_id", &prompt),
        ("/v1/keys/{key_id}", &key),
        ("/v1/customer-keys/{key_id}", &customer_key),
        ("/v1/batches/{batch_id}", &batch),
        ("/v1/messages/batches/{batch_id}", &messages),
        ("secret_name", &secret),
        ("toolgroup_id", "shop"),
        ("change_id", &change),
        ("tool_name", "lookup_order"),
    ];
    ids.into_iter().map(|(name, id)| (name.to_owned(), id.to_owned())).collect()
}

/// `path` with its parameters filled in.
fn filled(path: &str, ids: &BTreeMap<String, String>) -> String {
    let mut filled = path.to_owned();
    while let Some((front, rest)) = filled.split_once('{') {
        let (name, rest) = rest.split_once('}').expect("a parameter ends");
        let of_path = ids.iter().find(|(key, _)| path.starts_with(key.as_str())).map(|(_, id)| id);
        let id = of_path.or_else(|| ids.get(name));
        let id = id.unwrap_or_else(|| panic!("{path} takes a '{name}': give this test one of its own"));
        filled = format!("{front}{id}{rest}");
    }
    filled
}

#[tokio::test]
async fn no_route_finds_or_changes_anything_of_another_tenant() {
    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(questions::options(&scripted));
    let ids = everything(&frontdesk, &scripted).await;
    let tenant = id(&made(&frontdesk, "/v1/tenants", json!({ "name": "other" })).await["id"]);
    let key = json!({ "tenant": tenant, "name": "theirs", "scopes": ["admin"] });
    let key = id(&made(&frontdesk, "/v1/keys", key).await["key"]);

    let (_, document) = frontdesk.get("/openapi.json").await;
    let mut walked = vec![];
    for (path, item) in document["paths"].as_object().expect("paths") {
        if path.contains('{') && !EVERYBODYS.contains(&path.as_str()) {
            let methods = item.as_object().expect("methods").keys();
            walked.extend(methods.map(|method| (method.to_uppercase(), filled(path, &ids))));
        }
    }
    assert!(walked.len() > 40, "{walked:?}");
    // What was begun in the background has its end before it is looked at twice.
    for path in
        walked.iter().map(|(_, path)| path).filter(|path| path.contains("batches/") && !path.ends_with("results"))
    {
        while !path.ends_with("cancel") {
            let batch = frontdesk.get(path).await.1;
            if batch["status"] == "completed" || batch["processing_status"] == "ended" {
                break;
            }
            let open = ["validating", "in_progress", "finalizing"];
            let state = batch["status"].as_str().or(batch["processing_status"].as_str()).unwrap_or_default();
            assert!(open.contains(&state), "{path}: {batch}");
            tokio::task::yield_now().await;
        }
    }
    let gets: Vec<&String> = walked.iter().filter(|(method, _)| method == "GET").map(|(_, path)| path).collect();
    let text = async |path: &str| {
        let answer = frontdesk.request("GET", path).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    let mut before = vec![];
    for path in &gets {
        let shown = text(path).await;
        assert_eq!(shown.0, 200, "its owner finds {path}: {}", shown.1);
        before.push(shown);
    }
    for (method, path) in &walked {
        let request = frontdesk.open(method, path).bearer_auth(&key);
        let with_body = ["POST", "PUT", "PATCH"].contains(&method.as_str());
        let whole = path.starts_with("/v1/vector_stores/") && path.contains("/files/");
        let body = if whole { json!({ "attributes": { "theirs": true } }) } else { json!({}) };
        let request = if with_body { request.json(&body) } else { request };
        let (status, said) = answer(path, request).await;
        // An empty body may be refused before anything is looked up.
        let expected = status == 404 || (with_body && !whole && status == 400);
        assert!(expected, "{method} {path}: {status} {said}");
    }
    for (path, before) in gets.iter().zip(before) {
        assert_eq!(text(path).await, before, "{path} is as it was");
    }
}
