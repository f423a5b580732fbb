//! What happens in the middle of a call: questions to a person, and calls that are tasks.

use std::sync::atomic::{AtomicUsize, Ordering};

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
