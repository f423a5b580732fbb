//! Two tenants in one house: whatever one has, the other's key finds nothing and changes nothing.

use frontdesk_tests::{Frontdesk, Scripted, frontdesk::answer};
use serde_json::{Value, json};

use crate::shop;

#[tokio::test]
async fn another_tenants_key_finds_nothing() {
    let scripted = Scripted::start();
    scripted.script(json!([{"when": {"last_role": "user"}, "reply": {"text": "hello"}}]));
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    shop::register_tools(&frontdesk, "shop").await;
    let file = shop::upload(&frontdesk, "returns.md", b"# Returns\n\nReturns are free within 30 days.").await;
    let (status, store) = frontdesk.post("/v1/vector_stores", &json!({ "name": "pages" })).await;
    assert_eq!(status, 200, "{store}");
    let store = store["id"].as_str().expect("a store id");
    let agent = shop::agent(&frontdesk, json!({ "toolgroups": ["shop"] })).await;
    let turns = shop::session(&frontdesk, &agent).await;
    let turn = shop::ask(&frontdesk, &turns, "hello").await;
    let turn = turn["turn_id"].as_str().expect("a turn id");

    let (status, made) = frontdesk.post("/v1/tenants", &json!({ "name": "other" })).await;
    assert!(status < 300, "{made}");
    let tenant = made["id"].as_str().expect("a tenant id");
    let (status, made) =
        frontdesk.post("/v1/keys", &json!({ "tenant": tenant, "name": "theirs", "scopes": ["write"] })).await;
    assert!(status < 300, "{made}");
    let key = made["key"].as_str().expect("the key, shown once").to_owned();
    let theirs = async |method: &str, path: &str, body: Option<Value>| {
        let mut request = frontdesk.open(method, path).bearer_auth(&key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(path, request).await
    };

    let session = turns.trim_end_matches("/turn");
    for path in [
        format!("/v1/agents/{agent}"),
        session.to_owned(),
        format!("{turns}/{turn}"),
        format!("/v1/files/{file}"),
        format!("/v1/files/{file}/content"),
        format!("/v1/vector_stores/{store}"),
        "/v1/toolgroups/shop".into(),
        "/v1/tools/lookup_order".into(),
    ] {
        let (status, said) = theirs("GET", &path, None).await;
        assert_eq!(status, 404, "GET {path}: {said}");
    }
    for path in [
        format!("/v1/agents/{agent}"),
        session.to_owned(),
        format!("/v1/files/{file}"),
        format!("/v1/vector_stores/{store}"),
        "/v1/toolgroups/shop".into(),
    ] {
        let (status, said) = theirs("DELETE", &path, None).await;
        assert_eq!(status, 404, "DELETE {path}: {said}");
    }
    for (path, body) in [
        (turns.clone(), shop::say("hello", false)),
        (format!("/v1/agents/{agent}/session"), json!({ "session_name": "x" })),
        (format!("/v1/vector_stores/{store}/search"), json!({ "query": "returns" })),
        (format!("/v1/vector_stores/{store}/files"), json!({ "file_id": file })),
        ("/v1/tool-runtime/invoke".into(), json!({ "tool_name": "lookup_order", "kwargs": { "order_id": "1" } })),
    ] {
        let (status, said) = theirs("POST", &path, Some(body)).await;
        assert_eq!(status, 404, "POST {path}: {said}");
    }
    for path in ["/v1/agents", "/v1/files", "/v1/vector_stores", "/v1/toolgroups"] {
        let (status, listed) = theirs("GET", path, None).await;
        // Built-in groups are everybody's.
        let theirs = listed["data"].as_array().into_iter().flatten();
        let theirs = theirs.filter(|one| !one["identifier"].as_str().is_some_and(|id| id.starts_with("builtin::")));
        assert_eq!((status, theirs.count()), (200, 0), "{path}: {listed}");
    }
    // Nothing was changed by any of it.
    for path in
        [format!("/v1/agents/{agent}"), session.to_owned(), format!("/v1/files/{file}"), "/v1/toolgroups/shop".into()]
    {
        assert_eq!(frontdesk.get(&path).await.0, 200, "{path}");
    }
    assert_eq!(frontdesk.texts("SELECT id FROM turn").await.len(), 1);
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say() {
    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    let (status, made) = frontdesk.post("/v1/keys", &json!({ "name": "app", "scopes": ["use"] })).await;
    assert!(status < 300, "{made}");
    let key = made["key"].as_str().expect("the key");
    let ask = |method: &str, path: &str| frontdesk.open(method, path).bearer_auth(key).json(&json!({}));
    assert_eq!(answer("models", frontdesk.open("GET", "/v1/models").bearer_auth(key)).await.0, 200);
    let (status, said) = answer("agents", ask("POST", "/v1/agents")).await;
    assert_eq!(status, 403, "{said}");
    assert!(said["error"]["message"].as_str().is_some_and(|m| m.contains("write")), "{said}");
    assert_eq!(answer("keys", ask("POST", "/v1/keys")).await.0, 403);
    // A revoked key is no key.
    let id = made["id"].as_str().expect("an id");
    let revoked = frontdesk.request("DELETE", &format!("/v1/keys/{id}")).send().await.expect("an answer");
    assert!(revoked.status().is_success());
    assert_eq!(answer("models", frontdesk.open("GET", "/v1/models").bearer_auth(key)).await.0, 401);
}
