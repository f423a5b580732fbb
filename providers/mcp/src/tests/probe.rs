//! How it is found out whether a server speaks the newest revision.

use super::*;

fn found(asked: &Asked) -> Reply {
    let found = json!({ "supportedVersions": ["2026-07-28"], "capabilities": {} });
    Reply::Json(200, json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": found }))
}

fn count(server: &Server, method: &str) -> usize {
    server.asked().iter().filter(|asked| asked.method() == method).count()
}

#[tokio::test]
async fn a_server_that_refuses_to_say_or_says_nothing_is_greeted_and_that_is_remembered() {
    let plain = |status| Reply::Plain(status, "text/plain", String::new());
    for said in [plain(400), plain(403), plain(404), plain(405), Reply::Hang] {
        let reply = said.clone();
        let server = Server::start(move |asked| match asked.method() {
            "server/discover" => reply.clone(),
            "tools/call" => Reply::text(asked, "done"),
            _ => fake::usual(asked),
        })
        .await;
        // The limit is the question's own: silence may be longer elsewhere.
        let provider = provider(json!({ "timeout_s": 600 }));
        let source = registered(&provider, &server).await;
        for session in ["sess_1", "sess_2"] {
            let cx = Cx { session: Some(session.into()), ..cx() };
            assert_eq!(call(&provider, &cx, &source, "echo").await.expect("a result").content, "done", "{said:?}");
        }
        assert_eq!((count(&server, "server/discover"), count(&server, "initialize")), (1, 3), "{said:?}");
    }
}

#[tokio::test]
async fn a_fault_is_the_calls_and_decides_nothing() {
    let plain = |status| Reply::Plain(status, "text/plain", String::new());
    for said in [plain(429), plain(500), plain(503)] {
        let reply = said.clone();
        let server = Server::start(move |asked| match asked.method() {
            "server/discover" if asked.count("server/discover") == 1 => reply.clone(),
            "server/discover" => found(asked),
            _ => fake::usual(asked),
        })
        .await;
        let provider = provider(json!({}));
        let error = provider.inspect(&cx(), &source(&server.url)).await.expect_err("a fault");
        assert_eq!((error.kind, error.code), (Kind::Upstream, None), "{said:?} {}", error.message);
        registered(&provider, &server).await;
        assert_eq!((count(&server, "server/discover"), count(&server, "initialize")), (2, 0), "{said:?}");
    }
}

/// So does a server whose handler fails at a method that it does not know; another time it may be one that was down.
#[tokio::test]
async fn a_server_that_breaks_off_is_greeted_and_nothing_is_remembered() {
    let server = Server::start(|asked| match asked.method() {
        "server/discover" => Reply::Raw(String::new()),
        "tools/call" => Reply::text(asked, "done"),
        _ => fake::usual(asked),
    })
    .await;
    let provider = provider(json!({}));
    let source = registered(&provider, &server).await;
    assert_eq!(call(&provider, &cx(), &source, "echo").await.expect("a result").content, "done");
    let other = Cx { session: Some("sess_2".into()), ..cx() };
    assert_eq!(call(&provider, &other, &source, "echo").await.expect("a result").content, "done");
    assert_eq!(count(&server, "server/discover"), count(&server, "initialize"));
}

#[tokio::test]
async fn answers_are_not_sent_by_another_revision_than_asked() {
    let server = Server::start(fake::usual).await;
    let provider = provider(json!({}));
    let source = registered(&provider, &server).await;
    let answered = Answered { answers: vec![], state: Some("s-1".into()) };
    let cx = Cx { asking: Some(Asking { answered: Some(answered), person: None }), ..cx() };
    let error = call(&provider, &cx, &source, "echo").await.expect_err("it is greeted");
    assert!(error.message.contains("the answers were not sent"), "{}", error.message);
    assert_eq!(count(&server, "tools/call"), 0, "the call does not start anew");
}
