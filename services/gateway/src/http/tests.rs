//! What holds for every route: keys, ids, bad input, routes that do not exist.

use axum::{
    body::Body,
    http::{Request, request::Builder},
};

use frontdesk_api::{ChatReply, ChatRequest, Cx, inference::Model};

use crate::testing::{ADMIN, Frames, TestGateway};

async fn gateway() -> TestGateway {
    TestGateway::start(Frames::whole()).await
}

const MODELS: &str = "models: [ { id: default, targets: [ { model: up/echo } ] } ]";

const QUESTION: &str = r#"{"model":"up/echo","messages":[{"role":"user","content":"hi"}]}"#;

/// A good request, for any path in the document.
fn request(method: &str, path: &str) -> Builder {
    Request::builder().method(method).uri(path)
}

#[tokio::test]
async fn nothing_but_the_open_routes_answers_without_a_key() {
    let gateway = gateway().await;
    let document: serde_json::Value = serde_json::from_slice(&gateway.app.document().json).expect("JSON");
    let mut open = vec![];
    for (method, path) in &gateway.app.document().routes {
        let (template, path) = (path, path.replace("{model_id}", "up/echo").replace(['{', '}'], ""));
        let answer = gateway.send(request(method, &path).body(Body::empty()).expect("a request")).await;
        if answer.status == 401 {
            let asked = answer.headers["www-authenticate"].to_str().expect("text");
            // At /mcp it says more.
            assert!(asked == "Bearer" || (path == "/mcp" && asked.starts_with("Bearer ")), "{method} {path}");
            let error = &answer.json()["error"];
            let code = error.get("code").unwrap_or(&error["details"]["error_code"]);
            assert_eq!(code, "missing_api_key", "{method} {path}");
        } else {
            // What the document says of keys is what holds.
            let item = &document["paths"][template][method.to_lowercase()];
            assert_eq!(item["security"], serde_json::json!([{}]), "{method} {template}");
            open.push(if method == "GET" { template.clone() } else { format!("{method} {template}") });
        }
    }
    open.sort();
    let expected = [
        "/",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
        "/assets/console.css",
        "/assets/console.js",
        "/docs",
        "/openapi.json",
        "/v1/health",
        "/v1/health/ready",
        "/v1/toolgroup-sign-in/{place}",
        "/v1/toolgroup-sign-in/{place}/begin",
        "POST /v1/toolgroup-sign-in/{place}/begin",
    ];
    assert_eq!(open, expected);
}

#[tokio::test]
async fn head_asks_for_the_key_that_get_asks_for() {
    let gateway = gateway().await;
    let keyless = request("HEAD", "/v1/models").body(Body::empty()).expect("a request");
    assert_eq!(gateway.send(keyless).await.status, 401);
    let keyed = gateway.request("HEAD", "/v1/models").body(Body::empty()).expect("a request");
    assert_eq!(gateway.send(keyed).await.status, 200);
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_not_repeated() {
    let gateway = gateway().await;
    let wrong = request("GET", "/v1/models").header("authorization", "Bearer fd_wrong_secret");
    let answer = gateway.send(wrong.body(Body::empty()).expect("a request")).await;
    assert_eq!(answer.status, 401);
    assert!(!answer.text().contains("wrong_secret"), "{}", answer.text());
}

#[tokio::test]
async fn a_callers_request_id_comes_back_and_a_bad_one_is_replaced() {
    let gateway = gateway().await;
    let named = gateway.request("GET", "/v1/nowhere").header("x-request-id", "my-id-7");
    let answer = gateway.send(named.body(Body::empty()).expect("a request")).await;
    assert_eq!(answer.headers["x-request-id"], "my-id-7");
    assert_eq!(answer.json()["request_id"], "my-id-7");
    let bad = gateway.request("GET", "/v1/version").header("x-request-id", "two words");
    let answer = gateway.send(bad.body(Body::empty()).expect("a request")).await;
    assert!(answer.headers["x-request-id"].to_str().expect("text").starts_with("req_"));
}

#[tokio::test]
async fn routes_and_methods_that_do_not_exist_say_so() {
    let gateway = gateway().await;
    insta::assert_snapshot!(gateway.get("/v1/nowhere").await.shown(), @r#"
    404
    {
      "error": {
        "message": "there is no route GET /v1/nowhere; /docs lists them",
        "type": "not_found_error",
        "param": null,
        "code": "unknown_route"
      },
      "request_id": "req_00000000000000000000000002"
    }
    "#);
    let answer = gateway.get("/v1/embeddings").await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.headers["allow"], "POST");
    assert_eq!(answer.json()["error"]["code"], "method_not_allowed");
}

#[tokio::test]
async fn a_connection_ends_with_the_refusal_of_a_body_that_nobody_read() {
    let gateway = gateway().await;
    let closes = async |method: &str, path: &str, body: &'static str| {
        let request = gateway.request(method, path).body(Body::from(body)).expect("a request");
        let answer = gateway.send(request).await;
        assert!(answer.status.is_client_error(), "{path}");
        answer.headers.get("connection").map(|value| value.to_str().expect("text").to_owned())
    };
    let close = Some("close".to_owned());
    assert_eq!(closes("POST", "/v1/nowhere", "{}").await, close);
    assert_eq!(closes("PUT", "/v1/embeddings", "{}").await, close);
    assert_eq!(closes("POST", "/v1/conversations?name=x", "{}").await, close);
    assert_eq!(closes("POST", "/v1/conversations?name=x", "").await, None, "there is nothing to read");
    assert_eq!(closes("POST", "/v1/embeddings", "{").await, None, "it was read");
    let unknown = Request::post("/v1/embeddings").header("authorization", "Bearer wrong").body(Body::from("{}"));
    let refused = gateway.send(unknown.expect("a request")).await;
    assert_eq!((refused.status.as_u16(), refused.headers["connection"].as_bytes()), (401, &b"close"[..]));
}

#[tokio::test]
async fn broken_json_names_line_and_column() {
    let gateway = gateway().await;
    insta::assert_snapshot!(gateway.post_text("/v1/chat/completions", "{\n \"model\": oops}").await.shown(), @r#"
    400
    {
      "error": {
        "message": "the body is not valid JSON (line 2, column 11): expected value",
        "type": "invalid_request_error",
        "param": null,
        "code": "invalid_json"
      },
      "request_id": "req_00000000000000000000000002"
    }
    "#);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_names_the_limit() {
    let gateway = TestGateway::configured(&format!("{MODELS}\nlimits: {{ max_body_mb: 8 }}"), Frames::whole()).await;
    let big = format!(r#"{{"model":"up/echo","messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(10 << 20));
    let declared = gateway.request("POST", "/v1/chat/completions").header("content-length", big.len());
    let answer = gateway.send(declared.body(Body::from(big.clone())).expect("a request")).await;
    insta::assert_snapshot!(answer.shown(), @r#"
    413
    {
      "error": {
        "message": "the request body of 10.0 MiB is larger than the limit of 8 MiB (limits.max_body_mb)",
        "type": "request_too_large",
        "param": null,
        "code": "request_too_large"
      },
      "request_id": "req_00000000000000000000000002"
    }
    "#);
    // Chunked: nobody knows the size before it is too much.
    let pieces = futures::stream::iter(big.into_bytes().chunks(1 << 16).map(<[u8]>::to_vec).collect::<Vec<_>>());
    let chunked = Body::from_stream(futures::StreamExt::map(pieces, Ok::<_, std::io::Error>));
    let answer = gateway.send(gateway.request("POST", "/v1/chat/completions").body(chunked).expect("a request")).await;
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("limits.max_body_mb"), "{}", answer.text());
}

/// A chat whose text has so many KiB, in pieces of which nobody knows the number, or with its size said.
fn chat_of(gateway: &TestGateway, kib: usize, says_size: bool) -> Request<Body> {
    let body = QUESTION.replace("hi", &"x".repeat(kib << 10));
    let body = match says_size {
        true => Body::from(body),
        false => {
            let pieces: Vec<_> =
                body.into_bytes().chunks(1 << 14).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect();
            Body::from_stream(futures::stream::iter(pieces))
        }
    };
    gateway.request("POST", "/v1/chat/completions").body(body).expect("a request")
}

#[tokio::test]
async fn large_bodies_wait_for_room_and_are_asked_to_come_again_where_there_is_none() {
    let hasty = format!("{MODELS}\nlimits: {{ body_memory_mb: 1, upload_wait_s: 0 }}");
    let gateway = TestGateway::configured(&hasty, Frames::whole()).await;
    let all = usize::MAX;
    let full = gateway.app.bodies.take(all).await.expect("all of it");
    for says_size in [true, false] {
        assert_eq!(gateway.send(chat_of(&gateway, 8, says_size)).await.status, 200, "small ones need none");
        let refused = gateway.send(chat_of(&gateway, 200, says_size)).await;
        assert_eq!((refused.status.as_u16(), &refused.headers["retry-after"]), (503, &"5".parse().expect("a header")));
        let error = &refused.json()["error"];
        assert_eq!(error["code"], "bodies_busy");
        assert!(error["message"].as_str().is_some_and(|said| said.contains("limits.body_memory_mb")), "{error}");
    }
    drop(full);
    for says_size in [true, false] {
        assert_eq!(gateway.send(chat_of(&gateway, 200, says_size)).await.status, 200);
        assert!(gateway.app.bodies.take(all).await.is_ok(), "room is given back");
        assert_eq!(gateway.send(chat_of(&gateway, 2_000, says_size)).await.status, 200, "larger than all of it");
    }
    // One that breaks off gives it back too.
    let pieces = [Ok(vec![b'x'; 200 << 10]), Err(std::io::Error::other("gone"))];
    let broken = Body::from_stream(futures::stream::iter(pieces));
    let broken = gateway.request("POST", "/v1/chat/completions").body(broken).expect("a request");
    assert_eq!(gateway.send(broken).await.json()["error"]["message"], "the request body broke off");
    assert!(gateway.app.bodies.take(all).await.is_ok());

    let patient = format!("{MODELS}\nlimits: {{ body_memory_mb: 1, upload_wait_s: 3600 }}");
    let gateway = TestGateway::configured(&patient, Frames::whole()).await;
    let full = gateway.app.bodies.take(all).await.expect("all of it");
    let mut waiting = Box::pin(gateway.send(chat_of(&gateway, 200, true)));
    assert!(futures::poll!(&mut waiting).is_pending());
    assert_eq!(gateway.send(chat_of(&gateway, 8, true)).await.status, 200, "others are served meanwhile");
    drop(full);
    assert_eq!(waiting.await.status, 200);
}

/// Answers once it is told to.
struct Slow(std::sync::Arc<tokio::sync::Notify>);

#[async_trait::async_trait]
impl frontdesk_api::Inference for Slow {
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> frontdesk_api::Result<ChatReply> {
        self.0.notified().await;
        Frames::whole().chat(cx, request).await
    }

    async fn models(&self, cx: &Cx) -> frontdesk_api::Result<Vec<Model>> {
        Frames::whole().models(cx).await
    }
}

#[tokio::test]
async fn a_large_body_keeps_its_room_until_it_is_answered_or_its_client_has_left() {
    let config = format!("{MODELS}\nlimits: {{ body_memory_mb: 1, upload_wait_s: 0 }}");
    let answer = std::sync::Arc::new(tokio::sync::Notify::new());
    let gateway = TestGateway::configured(&config, Slow(std::sync::Arc::clone(&answer))).await;
    for leaves in [false, true] {
        let mut asked = Box::pin(gateway.send(chat_of(&gateway, 600, false)));
        assert!(futures::poll!(&mut asked).is_pending());
        assert!(gateway.app.bodies.take(600 << 10).await.is_err());
        assert!(gateway.app.bodies.take(400 << 10).await.is_ok(), "it takes its own size, not the largest");
        if leaves {
            drop(asked);
        } else {
            answer.notify_one();
            assert_eq!(asked.await.status, 200);
        }
        assert!(gateway.app.bodies.take(usize::MAX).await.is_ok());
    }
}

#[tokio::test]
async fn a_panic_costs_its_own_request_only() {
    let gateway = gateway().await;
    let answer = gateway.post_text("/v1/chat/completions", &QUESTION.replace("echo", "panic")).await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.json()["request_id"], answer.headers["x-request-id"].to_str().expect("text"));
    assert!(!answer.text().contains("asked to"), "{}", answer.text());
    assert_eq!(gateway.post_text("/v1/chat/completions", QUESTION).await.status, 200);
}

#[tokio::test]
async fn x_api_key_opens_what_bearer_opens() {
    let gateway = gateway().await;
    let plain = request("GET", "/v1/version").header("x-api-key", ADMIN);
    assert_eq!(gateway.send(plain.body(Body::empty()).expect("a request")).await.status, 200);
}

#[tokio::test]
async fn the_document_is_openapi_3_1_and_resolves() {
    let gateway = gateway().await;
    let answer = gateway.send(request("GET", "/openapi.json").body(Body::empty()).expect("a request")).await;
    let document = answer.json();
    assert!(document["openapi"].as_str().expect("version").starts_with("3.1"));
    assert!(document["paths"]["/v1/models/{model_id}"]["get"].is_object());
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(document["components"]["schemas"][reference].is_object(), "{reference} is not described");
    }
}
