//! Vertex AI: its addresses, and a service account's token, which is fetched once, shared, renewed before it ends and
//! told about when it cannot be had.

mod server;

use frontdesk_api::{
    ChatRequest, Inference, Kind,
    chat::{Chat, Message, Role},
    provider::Status,
};
use futures::future::join_all;
use serde_json::{Value, json};
use server::{Hand, Tokens, at, body_of, cx, gemini, json_answer, serve, tokens};

/// Made for these tests, opens nothing.
const KEY: &str = include_str!("key.pem");

const PATH: &str = "/v1beta/projects/p/locations/eu/publishers/google/models/m";

fn account(tokens: &Tokens) -> Value {
    let file =
        json!({ "client_email": "a@p.iam", "private_key_id": "k1", "private_key": KEY, "token_uri": tokens.url });
    json!({ "vertex": { "project": "p", "location": "eu", "service_account": file.to_string() }, "models": ["m"] })
}

fn whole() -> ChatRequest {
    let mut asked =
        ChatRequest::typed("m", Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() });
    asked.stream = false;
    asked
}

fn granted(n: usize) -> String {
    json_answer(
        "200 OK",
        &json!({ "access_token": format!("t{n}"), "expires_in": 3600, "token_type": "Bearer" }).to_string(),
    )
}

fn bearer(request: &str) -> &str {
    request.lines().find_map(|line| line.strip_prefix("authorization: Bearer ")).expect("a token")
}

#[tokio::test]
async fn a_token_is_sent_and_the_project_named() {
    let server = serve(vec![json_answer("200 OK", "{}"), json_answer("200 OK", r#"{"totalTokens":3}"#)]).await;
    let config = json!({ "vertex": { "project": "p", "location": "eu", "access_token": "t" }, "models": ["m"] });
    let up = gemini(&server, config);
    up.chat(&cx(), whole()).await.expect("an answer");
    assert_eq!(up.count_tokens(&cx(), whole()).await.expect("a count"), Some(3.into()));
    let asked = server.asked().await;
    assert!(asked[0].starts_with(&format!("POST {PATH}:generateContent HTTP")), "{}", asked[0]);
    assert!(asked[1].starts_with(&format!("POST {PATH}:countTokens HTTP")), "{}", asked[1]);
    assert_eq!((bearer(&asked[0]), bearer(&asked[1])), ("t", "t"));
    assert_eq!(body_of(&asked[1]), json!({ "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }] }));
}

#[tokio::test]
async fn many_who_need_a_token_at_once_wait_for_one() {
    let tokens = tokens(granted).await;
    let server = serve(vec![json_answer("200 OK", "{}"); 5]).await;
    let up = gemini(&server, account(&tokens));
    let cx = cx();
    let asking = join_all((0..5).map(|_| up.chat(&cx, whole())));
    // The token's server holds its answer until all five have asked for one and wait.
    let letting = async { tokens.go.notify_one() };
    let (answers, ()) = futures::join!(asking, letting);
    assert!(answers.iter().all(Result::is_ok));
    let asked = server.asked().await;
    assert!(asked.iter().all(|request| bearer(request) == "t1"));
    let seen = tokens.seen.lock().expect("alone").clone();
    assert_eq!(seen.len(), 1, "one exchange for all");
    assert!(
        seen[0].starts_with("POST /token HTTP") && seen[0].contains("content-type: application/x-www-form-urlencoded")
    );
    let (_, form) = seen[0].split_once("\r\n\r\n").expect("a body");
    let assertion = form.strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
    assert_eq!(assertion.expect("an assertion").split('.').count(), 3);
}

#[tokio::test]
async fn a_token_is_kept_and_renewed_before_it_ends() {
    let tokens = tokens(|n| if n == 3 { json_answer("503 Busy", "") } else { granted(n) }).await;
    tokens.go.notify_one();
    let server = serve(vec![json_answer("200 OK", "{}"); 5]).await;
    let clock = Hand::at(1_000);
    let up = at(&server, account(&tokens), clock.clone());
    // Seconds after the first token: in its life; near its end; in the second's life; near that end, while the token's
    // server is busy; after it.
    for second in [1_000, 1_000 + 3_400, 1_000 + 3_500, 1_000 + 6_800, 1_000 + 7_200] {
        clock.set(second);
        up.chat(&cx(), whole()).await.expect("an answer");
    }
    let asked = server.asked().await;
    let sent: Vec<&str> = asked.iter().map(|request| bearer(request)).collect();
    assert_eq!(sent, ["t1", "t2", "t2", "t2", "t4"]);
}

#[tokio::test]
async fn an_account_that_is_refused_is_the_operator_s_to_mend() {
    let refused =
        |_| json_answer("400 Bad", r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#);
    for (answer, code, says) in [
        (refused as fn(usize) -> String, Some("provider_credentials"), "invalid_grant: Invalid JWT Signature."),
        (|_| json_answer("500 Oops", "<html>"), None, "refused (500)"),
        (|_| json_answer("200 OK", r#"{"id_token":"x"}"#), None, "no token"),
        (|_| json_answer("200 OK", "{\"access_token\":\"a\\nb\",\"expires_in\":5}"), None, "cannot carry"),
    ] {
        let tokens = tokens(answer).await;
        tokens.go.notify_one();
        let server = serve(vec![]).await;
        let up = gemini(&server, account(&tokens));
        let error = up.chat(&cx(), whole()).await.err().expect("refused");
        assert_eq!((error.kind, error.code.as_deref()), (Kind::Upstream, code));
        assert!(error.message.contains(says) && error.message.contains("'gem' cannot sign in"), "{}", error.message);
        let health = up.health().await;
        assert!(health.status == Status::Error && health.message.expect("a reason").contains("cannot sign in"));
    }
}
