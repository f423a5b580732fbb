//! What happens in the middle of a call: questions to a person, and calls that are tasks.

use std::sync::atomic::{AtomicUsize, Ordering};

use frontdesk_api::client_keys::ClientKeys;

use super::*;

#[tokio::test]
async fn a_question_is_cancelled_and_the_model_reads_what_was_asked() {
    let server = Server::start(|asked| match asked.tool() {
        Some("echo") => {
            let form = json!({ "message": "How many?", "requestedSchema": { "properties": { "count": {} } } });
            let ask = json!({ "jsonrpc": "2.0", "id": "q1", "method": "elicitation/create", "params": form });
            Reply::Stream(vec![event(None, &ask), event(None, &fake::response(asked, "not booked"))])
        }
        _ => fake::usual(asked),
    })
    .await;
    let provider = provider(json!({}));
    let source = registered(&provider, &server).await;
    let said = call(&provider, &cx(), &source, "echo").await.expect("a result").content;
    assert!(said.starts_with("not booked\n[the server asked") && said.contains("'How many?' (count)"), "{said}");
    let answered = server.until(|asked| asked.body["id"] == "q1").await;
    assert_eq!(answered.body["result"], json!({ "action": "cancel" }));
}

#[tokio::test]
async fn a_page_that_a_person_has_to_visit_is_named() {
    let server = Server::start(|asked| match asked.tool() {
        Some("echo") => {
            let pages = json!([{ "mode": "url", "url": "https://h/sign", "message": "Sign in", "elicitationId": "e" }]);
            let mut error = fake::error(asked, -32042, "first a page");
            error["error"]["data"] = json!({ "elicitations": pages });
            Reply::Json(200, error)
        }
        _ => fake::usual(asked),
    })
    .await;
    let provider = provider(json!({}));
    let source = registered(&provider, &server).await;
    let error = call(&provider, &cx(), &source, "echo").await.expect_err("a page first");
    assert!(error.message.contains("https://h/sign first: Sign in"), "{}", error.message);
}

/// A server whose tool is a task that ends as `end` after two looks; `None`: it never does.
async fn with_tasks(end: Option<&'static str>) -> Server {
    let looks = AtomicUsize::new(0);
    Server::start(move |asked| {
        let result = |result: Value| Reply::Json(200, json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": result }));
        let task = |status: &str| {
            json!({ "taskId": "t-1", "status": status, "statusMessage": "so it goes", "pollInterval": 50, "ttl": 60000 })
        };
        match asked.method() {
            "tools/list" => result(json!({ "tools": [{ "name": "echo", "inputSchema": { "type": "object" },
                                                       "execution": { "taskSupport": "required" } }] })),
            "tools/call" => result(json!({ "task": task("working") })),
            "tasks/get" => {
                let n = looks.fetch_add(1, Ordering::SeqCst);
                result(task(end.filter(|_| n > 0).unwrap_or("working")))
            }
            "tasks/result" if end == Some("failed") => Reply::Json(200, fake::error(asked, -32603, "lost")),
            "tasks/result" => result(json!({ "content": [{ "type": "text", "text": "at last" }] })),
            "tasks/cancel" => result(task("cancelled")),
            _ => fake::usual(asked),
        }
    })
    .await
}

#[tokio::test]
async fn a_tool_that_is_a_task_is_looked_after_to_its_end() {
    for (end, want) in [
        ("completed", Ok("at last")),
        ("failed", Err("failed: so it goes")),
        ("cancelled", Err("cancelled its task: so it goes")),
        ("input_required", Err("nobody was there")),
    ] {
        let server = with_tasks(Some(end)).await;
        let provider = provider(json!({}));
        let source = registered(&provider, &server).await;
        let done = call(&provider, &cx(), &source, "echo").await;
        match want {
            Ok(text) => assert_eq!(done.expect(end).content, text),
            Err(words) => {
                let error = done.expect_err(end);
                assert!(error.message.contains(words), "{}", error.message);
            }
        }
        let asked = server.asked();
        let made = asked.iter().find(|asked| asked.tool().is_some()).expect("a call");
        assert!(made.body["params"]["task"]["ttl"].is_u64());
        assert_eq!(asked.iter().filter(|asked| asked.method() == "tasks/get").count(), 2);
        if end == "input_required" {
            server.until(|asked| asked.method() == "tasks/cancel").await;
        }
    }
}

#[tokio::test]
async fn a_task_that_nobody_waits_for_is_cancelled_at_the_server() {
    let server = with_tasks(None).await;
    let provider = provider(json!({}));
    let source = registered(&provider, &server).await;
    let cx = cx();
    let stop = async {
        server.until(|asked| asked.method() == "tasks/get").await;
        cx.cancel.cancel();
    };
    let (called, ()) = tokio::join!(call(&provider, &cx, &source, "echo"), stop);
    assert_eq!(called.expect_err("cancelled").kind, Kind::Cancelled);
    let cancelled = server.until(|asked| asked.method() == "tasks/cancel").await;
    assert_eq!(cancelled.body["params"]["taskId"], "t-1");
}

/// A server of the newest revision; `echo` answers these results in order, and the last again.
async fn newest(results: Vec<Value>) -> Server {
    let calls = AtomicUsize::new(0);
    Server::start(move |asked| match asked.method() {
        "initialize" => Reply::Json(400, fake::error(asked, -32601, "no such method")),
        "tools/call" => {
            let n = calls.fetch_add(1, Ordering::SeqCst).min(results.len() - 1);
            Reply::Json(200, json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": results[n] }))
        }
        "server/discover" => {
            let found = json!({ "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {} });
            Reply::Json(200, json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": found }))
        }
        _ => fake::usual(asked),
    })
    .await
}

fn wants(requests: Value) -> Value {
    json!({ "resultType": "input_required", "inputRequests": requests, "requestState": "s-1" })
}

fn elicits(params: Value) -> Value {
    wants(json!({ "q": { "method": "elicitation/create", "params": params } }))
}

fn ends() -> Value {
    json!({ "resultType": "complete", "content": [{ "type": "text", "text": "booked" }] })
}

/// A call by somebody who can ask a person, and heard this before.
async fn asking(provider: &McpTools, source: &ToolSource, answered: Option<Answered>) -> Outcome {
    let cx = Cx { asking: Some(Asking { answered, person: None }), ..cx() };
    let call = ToolCall { id: "key_1".into(), name: "echo".into(), arguments: "{}".into() };
    provider.call(&cx, source, &call, Arc::new(Nothing)).await.expect("an outcome")
}

#[tokio::test]
async fn what_a_server_asks_is_handed_on_and_the_answer_goes_back_with_its_state() {
    let form = json!({ "message": "How many?", "requestedSchema": { "properties": { "n": { "type": "integer" } } } });
    let server = newest(vec![elicits(form), ends()]).await;
    let provider = provider(json!({}));
    let source = registered(&provider, &server).await;
    let Outcome::NeedsInput(request) = asking(&provider, &source, None).await else { panic!("a question") };
    assert_eq!((request.questions[0].0.as_str(), request.state.as_deref()), ("q", Some("s-1")));
    assert!(request.words().starts_with("How many?"), "{request:?}");
    let answer = |action, content: Value| Answer { action, content: content.as_object().cloned(), key_id: None, at: 0 };
    let answers = vec![
        ("q".to_owned(), answer(Action::Accept, json!({ "n": 3 }))),
        ("p".to_owned(), answer(Action::Decline, Value::Null)),
    ];
    let answered = Answered { answers, state: request.state };
    let Outcome::Done(result) = asking(&provider, &source, Some(answered)).await else { panic!("a result") };
    assert_eq!(result.content, "booked");
    let asked = server.asked();
    let [first, second] = &asked.iter().filter(|asked| asked.tool().is_some()).collect::<Vec<_>>()[..] else {
        panic!("two calls")
    };
    let meta = &first.body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(*meta, json!({ "elicitation": { "form": {}, "url": {} } }));
    assert_eq!(first.body["params"]["inputResponses"], Value::Null);
    let responses = json!({ "q": { "action": "accept", "content": { "n": 3 } }, "p": { "action": "decline" } });
    assert_eq!(second.body["params"]["inputResponses"], responses);
    assert_eq!(second.body["params"]["requestState"], "s-1");
    assert_eq!(second.body["params"]["arguments"], first.body["params"]["arguments"]);
}

#[tokio::test]
async fn where_nobody_can_be_asked_a_server_is_not_told_that_it_could_and_the_model_reads_what_it_asked() {
    let server = newest(vec![elicits(json!({ "message": "Sure?" }))]).await;
    let provider = provider(json!({}));
    let source = registered(&provider, &server).await;
    // Nor where the client sends headers of its own: the answer would go out without them.
    let headers = json!({ &server.url: { "x-who": "me" } }).to_string();
    let client_keys = ClientKeys::new([("mcp_headers".to_owned(), headers)]);
    let own = Cx { client_keys, asking: Some(Asking::default()), ..cx() };
    for cx in [cx(), own] {
        let said = call(&provider, &cx, &source, "echo").await.expect("a result");
        assert!(said.is_error && said.content.contains("nobody was there to answer: 'Sure?'"), "{}", said.content);
    }
    let asked = server.asked();
    let made: Vec<_> = asked.iter().filter(|asked| asked.tool().is_some()).collect();
    assert_eq!(made.len(), 2);
    for made in made {
        assert_eq!(made.body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"], json!({}));
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_a_result_that_says_why() {
    let secret = "tok-123456789";
    let named = |key: &str| {
        let mut asked = json!({});
        asked[key] = json!({ "method": "elicitation/create", "params": { "message": "m" } });
        asked
    };
    let field = |name: &str| {
        elicits(json!({ "message": "m", "requestedSchema": { "properties": { name: { "type": "string" } } } }))
    };
    let with_state = |state: &str| {
        let mut result = elicits(json!({ "message": "m" }));
        result["requestState"] = json!(state);
        result
    };
    let many: Value =
        (0..11).map(|n| (n.to_string(), named("q")["q"].clone())).collect::<serde_json::Map<_, _>>().into();
    let said = "x".repeat(500);
    let fields: Value = (0..20)
        .map(|n| (n.to_string(), json!({ "type": "string", "description": said })))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let long: Value = (0..10)
        .map(|n| {
            let params = json!({ "message": "m", "requestedSchema": { "properties": fields } });
            (n.to_string(), json!({ "method": "elicitation/create", "params": params }))
        })
        .collect::<serde_json::Map<_, _>>()
        .into();
    for (result, why) in [
        (wants(long), "more than 65536 bytes"),
        (wants(json!({ "s": { "method": "sampling/createMessage", "params": {} } })), "'sampling/createMessage'"),
        (elicits(json!({ "mode": "url", "message": "m", "url": "http://h/" })), "not one over https"),
        (wants(many), "more than 10 questions"),
        (json!({ "resultType": "input_required" }), "does not say what"),
        (field(secret), "repeats a secret"),
        (wants(named(secret)), "repeats a secret"),
        (with_state(secret), "repeats a secret"),
        (with_state(&"x".repeat(70_000)), "too long"),
    ] {
        let server = newest(vec![result]).await;
        let provider = provider(json!({}));
        let token = json!({ "authorization": secret }).as_object().expect("an object").clone();
        let with = ToolSource { secrets: SecretArgs(token), ..source(&server.url) };
        let found = provider.inspect(&cx(), &with).await.expect("it is there");
        let Outcome::Done(result) = asking(&provider, &pinned(with, &found), None).await else { panic!("{why}") };
        assert!(result.is_error && result.content.contains(why), "{}", result.content);
        assert!(!result.content.contains(secret), "{}", result.content);
    }
    // In what a person reads it is written over.
    let server = newest(vec![elicits(json!({ "message": format!("Is {secret} yours?") }))]).await;
    let provider = provider(json!({}));
    let token = json!({ "authorization": secret }).as_object().expect("an object").clone();
    let with = ToolSource { secrets: SecretArgs(token), ..source(&server.url) };
    let found = provider.inspect(&cx(), &with).await.expect("it is there");
    let Outcome::NeedsInput(request) = asking(&provider, &pinned(with, &found), None).await else {
        panic!("a question")
    };
    assert_eq!(request.words(), "Is [secret] yours?");
}

#[tokio::test]
async fn a_server_that_wants_nothing_but_to_be_called_again_is() {
    let later = json!({ "resultType": "input_required", "requestState": "later" });
    let server = newest(vec![later.clone(), later, ends()]).await;
    let provider = provider(json!({}));
    let source = registered(&provider, &server).await;
    assert_eq!(call(&provider, &cx(), &source, "echo").await.expect("a result").content, "booked");
    let calls: Vec<Value> = server
        .asked()
        .iter()
        .filter(|asked| asked.tool().is_some())
        .map(|a| a.body["params"]["requestState"].clone())
        .collect();
    assert_eq!(calls, [Value::Null, json!("later"), json!("later")]);
}
