//! Errors after a server had the call, and what goes along with whom: no call is made twice because a token ended.

use frontdesk_api::sign_in::Unauthorized;

use super::*;

fn unauthorized() -> Reply {
    Reply::Challenged(401, "Bearer error=\"invalid_token\"".into())
}

fn result(asked: &Asked, result: Value) -> Reply {
    Reply::Json(200, json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": result }))
}

/// A server whose tool is a task; `at` says what it refuses.
async fn with_task(status: &'static str, at: &'static str) -> Server {
    Server::start(move |asked| {
        let task = |status: &str| json!({ "taskId": "t-1", "status": status, "pollInterval": 50 });
        match asked.method() {
            method if method == at => unauthorized(),
            "tools/list" => result(
                asked,
                json!({ "tools": [{ "name": "echo", "inputSchema": { "type": "object" },
                                    "execution": { "taskSupport": "required" } }] }),
            ),
            "tools/call" => result(asked, json!({ "task": task("working") })),
            "tasks/get" => result(asked, task(status)),
            _ => fake::usual(asked),
        }
    })
    .await
}

/// A server whose stream breaks off; whoever picks it up is answered so.
async fn with_stream(again: Reply) -> Server {
    Server::start(move |asked| match (asked.verb.as_str(), asked.tool()) {
        (_, Some("echo")) => Reply::Stream(vec!["id: e-1\nretry: 1\ndata:\n\n".into()]),
        ("GET", _) => again.clone(),
        _ => fake::usual(asked),
    })
    .await
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_of_a_call_does_not_have_it_made_again() {
    for (server, at) in [
        (with_task("working", "tasks/get").await, "a look at the task"),
        (with_task("completed", "tasks/result").await, "its result"),
        (with_task("failed", "tasks/result").await, "what it failed by"),
        (with_stream(unauthorized()).await, "the stream that broke off"),
        (with_stream(Reply::Plain(404, "text/plain", String::new())).await, "a session that is forgotten in it"),
        (with_stream(Reply::Plain(500, "text/plain", String::new())).await, "a stream that is not picked up"),
    ] {
        let provider = provider(json!({}));
        let source = registered(&provider, &server).await;
        let error = call(&provider, &cx(), &source, "echo").await.expect_err(at);
        assert!(Unauthorized::of(&error).is_none(), "{at}: {error:?}");
        if at != "what it failed by" {
            assert!(error.message.contains("not known"), "{at}: {}", error.message);
        }
        assert_eq!(server.asked().iter().filter(|asked| asked.tool().is_some()).count(), 1, "{at}");
    }
}

#[tokio::test]
async fn a_call_that_was_not_let_in_says_so() {
    for at in ["initialize", "tools/list", "tools/call"] {
        let server = with_task("working", at).await;
        let provider = provider(json!({}));
        let called = call(&provider, &cx(), &source(&server.url), "echo").await.expect_err(at);
        assert!(Unauthorized::of(&called).is_some(), "{at}: {called:?}");
    }
}

#[tokio::test]
async fn whoever_shares_a_session_sends_what_they_came_with() {
    let first = Arc::new(tokio::sync::Notify::new());
    let (second, seen) = (Arc::clone(&first), Arc::new(std::sync::Mutex::new(vec![])));
    let told = Arc::clone(&seen);
    let server = Server::start(move |asked| {
        let token = asked.headers.get("authorization").cloned().unwrap_or_default();
        match (asked.verb.as_str(), asked.tool()) {
            (_, Some("echo")) if token == "Bearer old-12345678" => {
                first.notify_one();
                Reply::Stream(vec![format!("id: e-{}\nretry: 300\ndata:\n\n", asked.body["id"])])
            }
            (_, Some("echo")) => Reply::text(asked, "new"),
            ("GET", _) => {
                told.lock().expect("the tokens").push(token);
                let id: u64 = asked.headers["last-event-id"].trim_start_matches("e-").parse().expect("the id");
                let response = json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [] } });
                Reply::Stream(vec![event(None, &response)])
            }
            _ => fake::usual(asked),
        }
    })
    .await;
    let provider = provider(json!({}));
    let with = |token: &str| {
        let kept = json!({ "id": "ann", "server": server.url, "resource": server.url, "issuer": "i", "token_endpoint": "t",
                           "client": { "id": "c", "proof": "none" }, "grant": "authorization_code", "access_token": token });
        ToolSource { signed: Some(SecretArgs(kept.as_object().expect("an object").clone())), ..source(&server.url) }
    };
    let (cx, old, new) = (cx(), with("old-12345678"), with("new-12345678"));
    let renewed = async {
        second.notified().await;
        call(&provider, &cx, &new, "echo").await
    };
    let (slow, quick) = tokio::join!(call(&provider, &cx, &old, "echo"), renewed);
    assert_eq!(
        (slow.expect("a result").content, quick.expect("a result").content),
        ("(no content)".into(), "new".into())
    );
    assert_eq!(*seen.lock().expect("the tokens"), ["Bearer old-12345678"]);
    assert_eq!(server.asked().iter().filter(|asked| asked.method() == "initialize").count(), 1);
}
