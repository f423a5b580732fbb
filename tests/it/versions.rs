//! An agent from its first version to a draft, a publication and back, with conversations that stay where they began.

use frontdesk_tests::{Frontdesk, Scripted, frontdesk::answer};
use serde_json::{Value, json};

use crate::shop;

/// What the model was told as its instructions by the call number `n`.
fn told(scripted: &Scripted, n: usize) -> String {
    let seen = scripted.requests();
    seen[n].json()["messages"][0]["content"].as_str().expect("instructions").to_owned()
}

async fn patch(frontdesk: &Frontdesk, path: &str, body: &Value) -> (u16, Value) {
    answer(path, frontdesk.request("PATCH", path).json(body)).await
}

#[tokio::test]
async fn a_draft_is_published_and_rolled_back_and_conversations_stay() {
    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    let reply = |n: u32| json!({"reply": {"text": format!("answer {n}")}});
    scripted.script(json!([reply(0), reply(1), reply(2), reply(3), reply(4)]));
    let agent = shop::agent(&frontdesk, json!({ "name": "shop", "instructions": "one" })).await;
    let at = format!("/v1/agents/{agent}");
    let first = shop::session(&frontdesk, &agent).await;
    shop::ask(&frontdesk, &first, "hello").await;
    assert_eq!(told(&scripted, 0), "one");

    // A draft is not live.
    let (status, draft) = patch(&frontdesk, &format!("{at}?note=try"), &json!({ "instructions": "two" })).await;
    assert_eq!((status, draft["version"].as_i64(), &draft["published"]), (200, Some(2), &json!(false)), "{draft}");
    assert!(draft["created_by"].is_string() && draft["note"] == "try", "{draft}");
    let (_, shown) = frontdesk.get(&at).await;
    assert_eq!((&shown["version"], &shown["newest_version"]), (&json!(1), &json!(2)));
    assert_eq!(shown["agent_config"]["instructions"], "one");
    shop::ask(&frontdesk, &shop::session(&frontdesk, &agent).await, "hello").await;
    assert_eq!(told(&scripted, 1), "one");

    // Published: new conversations have it, the one that began before stays.
    let publish =
        |version: i64, expected: i64| format!("{at}/versions/{version}/publish?expected_published={expected}");
    let (status, published) = frontdesk.post(&publish(2, 1), &json!({})).await;
    assert_eq!((status, &published["published"]), (200, &json!(true)), "{published}");
    let second = shop::session(&frontdesk, &agent).await;
    shop::ask(&frontdesk, &second, "hello").await;
    shop::ask(&frontdesk, &first, "still there?").await;
    assert_eq!((told(&scripted, 2), told(&scripted, 3)), ("two".into(), "one".into()));

    // Who looked too early is told both numbers; then back to the first.
    let (status, refused) = frontdesk.post(&publish(1, 1), &json!({})).await;
    assert_eq!((status, refused["error"]["code"].as_str()), (409, Some("version_changed")), "{refused}");
    assert!(refused["error"]["message"].as_str().expect("words").contains("is 2, not 1"), "{refused}");
    let (status, back) = frontdesk.post(&publish(1, 2), &json!({})).await;
    assert_eq!(status, 200, "{back}");
    shop::ask(&frontdesk, &second, "and you?").await;
    assert_eq!(told(&scripted, 4), "two", "it began with the second version");
    let (_, shown) = frontdesk.get(&at).await;
    assert_eq!(shown["agent_config"]["instructions"], "one");

    let (_, page) = frontdesk.get(&format!("{at}/versions?limit=1")).await;
    assert_eq!(
        (&page["data"][0]["version"], &page["has_more"], &page["last_id"]),
        (&json!(2), &json!(true), &json!("2"))
    );
    let (_, page) = frontdesk.get(&format!("{at}/versions?limit=1&after=2")).await;
    assert_eq!((&page["data"][0]["version"], &page["has_more"]), (&json!(1), &json!(false)));
    for (path, code) in [
        (format!("{at}/versions/7"), "version_not_found"),
        (format!("{at}/versions/x"), "version_not_found"),
        ("/v1/agents/agent_x/versions".to_owned(), "agent_not_found"),
    ] {
        let (status, refused) = frontdesk.get(&path).await;
        assert_eq!((status, refused["error"]["code"].as_str()), (404, Some(code)), "{path}: {refused}");
    }
}

/// Responses that follow one another, in a conversation or each naming the one before it.
struct Thread {
    conversation: Option<Value>,
    last: Option<Value>,
}

impl Thread {
    async fn begun(frontdesk: &Frontdesk, in_conversation: bool) -> Self {
        let conversation = match in_conversation {
            true => Some(frontdesk.post("/v1/conversations", &json!({})).await.1["id"].clone()),
            false => None,
        };
        Self { conversation, last: None }
    }

    /// Asks an agent; what its model was told as instructions.
    async fn ask(&mut self, frontdesk: &Frontdesk, scripted: &Scripted, agent: &str) -> String {
        let mut body = json!({ "model": format!("agent/{agent}"), "input": "hello" });
        match (&self.conversation, &self.last) {
            (Some(conversation), _) => body["conversation"] = conversation.clone(),
            (None, Some(last)) => body["previous_response_id"] = last.clone(),
            (None, None) => {}
        }
        let (status, response) = frontdesk.post("/v1/responses", &body).await;
        assert_eq!((status, &response["status"]), (200, &json!("completed")), "{response}");
        self.last = Some(response["id"].clone());
        told(scripted, scripted.requests().len() - 1)
    }
}

#[tokio::test]
async fn responses_stay_on_the_versions_that_their_thread_began_with() {
    for in_conversation in [true, false] {
        let scripted = Scripted::start();
        let frontdesk = Frontdesk::start(shop::options(&scripted));
        let (frontdesk, scripted) = (&frontdesk, &scripted);
        scripted.script(json!([{ "reply": { "text": "yes" }, "times": 9 }]));
        let hands = json!({ "message": "One moment.", "targets": [{ "to": "billing" }] });
        let named = |name: &str| json!({ "name": name, "instructions": format!("{name} one") });
        let other = shop::agent(frontdesk, named("other")).await;
        let billing = shop::agent(frontdesk, named("billing")).await;
        let mut config = named("shop");
        config["frontdesk"] = json!({ "hand_off": hands });
        let shop = shop::agent(frontdesk, config).await;
        let publish_new = async |agent: &str, instructions: &str| {
            let path = format!("/v1/agents/{agent}?publish=true");
            let (status, said) = patch(frontdesk, &path, &json!({ "instructions": instructions })).await;
            assert_eq!((status, &said["published"]), (200, &json!(true)), "{said}");
        };
        let mut first = Thread::begun(frontdesk, in_conversation).await;
        assert_eq!(first.ask(frontdesk, scripted, "shop").await, "shop one");

        publish_new(&shop, "shop two").await;
        assert_eq!(first.ask(frontdesk, scripted, "shop").await, "shop one");
        let mut second = Thread::begun(frontdesk, in_conversation).await;
        assert_eq!(second.ask(frontdesk, scripted, "shop").await, "shop two");

        let (status, back) = frontdesk.post(&format!("/v1/agents/{shop}/versions/1/publish"), &json!({})).await;
        assert_eq!(status, 200, "{back}");
        assert_eq!(second.ask(frontdesk, scripted, "shop").await, "shop two", "rolled back for new ones alone");
        let mut third = Thread::begun(frontdesk, in_conversation).await;
        assert_eq!(third.ask(frontdesk, scripted, "shop").await, "shop one");

        // Another agent that comes in begins as it is then, and stays so.
        publish_new(&other, "other two").await;
        assert_eq!(second.ask(frontdesk, scripted, "other").await, "other two");
        publish_new(&other, "other three").await;
        assert_eq!(second.ask(frontdesk, scripted, "other").await, "other two");
        assert_eq!(second.ask(frontdesk, scripted, "shop").await, "shop two");

        // Whom it is handed to stays as it was at the hand-over.
        let call = json!({ "name": "hand_off", "arguments": { "reason": "customer_request", "to": "billing" } });
        scripted.script(
            json!([{ "reply": { "tool_call": call }, "times": 1 }, { "reply": { "text": "yes" }, "times": 9 }]),
        );
        assert_eq!(second.ask(frontdesk, scripted, "shop").await, "shop two");
        publish_new(&billing, "billing two").await;
        // In a conversation the client goes on naming the first agent.
        let asks = if in_conversation { "shop" } else { "billing" };
        assert_eq!(second.ask(frontdesk, scripted, asks).await, "billing one");
        assert_eq!(second.ask(frontdesk, scripted, asks).await, "billing one");
        if !in_conversation {
            assert_eq!(second.ask(frontdesk, scripted, "shop").await, "shop two");
        }
    }
}

#[tokio::test]
async fn an_agent_travels_as_a_file() {
    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    let config = json!({ "name": "shop", "frontdesk": { "greeting": "Hello!", "limits": { "max_tool_calls": 7 } } });
    let agent = shop::agent(&frontdesk, config).await;
    let export = format!("/v1/agents/{agent}/export");
    let file = frontdesk.request("GET", &export).send().await.expect("an answer");
    assert_eq!(file.headers()["content-type"], "application/yaml");
    let file = file.text().await.expect("text");
    assert!(file.starts_with("# An agent of Frontdesk") && file.contains("greeting: Hello!"), "{file}");
    assert!(!file.contains("max_steps"), "defaults are left out: {file}");

    // Under its own name it is a draft; under another a new agent, whose file is the same but for the name.
    let import =
        async |text: &str| answer("import", frontdesk.request("POST", "/v1/agents/import").body(text.to_owned())).await;
    let (status, draft) = import(&file).await;
    assert_eq!((status, &draft["agent_id"], &draft["version"]), (200, &json!(agent), &json!(2)), "{draft}");
    assert_eq!(draft["published"], false);
    let (status, made) = import(&file.replace("name: shop", "name: other")).await;
    assert_eq!((status, &made["version"], &made["published"]), (200, &json!(1), &json!(true)), "{made}");
    let other = made["agent_id"].as_str().expect("an id");
    let again = frontdesk.request("GET", &format!("/v1/agents/{other}/export")).send().await.expect("an answer");
    let again = again.text().await.expect("text");
    let body = |text: &str| text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    assert_eq!(body(&again), body(&file).replace("name: shop", "name: other"));

    let (status, refused) = import("model: m\nlimits:\n  max_step: 3\n").await;
    assert_eq!((status, refused["error"]["param"].as_str()), (400, Some("limits.max_step")), "{refused}");
    assert!(refused["error"]["message"].as_str().expect("words").contains("did you mean 'max_steps'"), "{refused}");
}
