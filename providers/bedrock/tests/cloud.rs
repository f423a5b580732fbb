//! What Amazon Bedrock sends when it is well and when it is not, byte by byte over a socket, and what it is sent.

mod server;

use std::time::Duration;

use frontdesk_api::{
    ChatEvent, ChatReply, ChatRequest, Error, Frame, Inference, Kind,
    chat::{Chat, Dialect, FinishReason, Message, Role, Usage},
    inference::ModelKind,
};
use futures::StreamExt;
use serde_json::{Value, json};
use server::{body_of, cx, json_answer, server, with_key};

fn stream_head(more: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\nx-amzn-requestid: req_up\r\n{more}\r\n\r\n")
        .into_bytes()
}

fn streamed(messages: &[Vec<u8>]) -> Vec<u8> {
    [stream_head("connection: close"), messages.concat()].concat()
}

/// One message of an event stream; its headers are text.
fn message(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
    let mut head = vec![];
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).expect("short"));
        head.extend_from_slice(name.as_bytes());
        head.push(7);
        head.extend_from_slice(&u16::try_from(value.len()).expect("short").to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let number = |n: usize| u32::try_from(n).expect("short").to_be_bytes();
    let mut out = [number(16 + head.len() + payload.len()), number(head.len())].concat();
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload.as_bytes());
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out
}

fn event(kind: &str, payload: &Value) -> Vec<u8> {
    let headers = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
    message(&headers, &payload.to_string())
}

fn exception(kind: &str, payload: &Value) -> Vec<u8> {
    let headers = [(":exception-type", kind), (":content-type", "application/json"), (":message-type", "exception")];
    message(&headers, &payload.to_string())
}

fn head() -> Vec<u8> {
    event("messageStart", &json!({ "role": "assistant" }))
}

fn words() -> Vec<u8> {
    event("contentBlockDelta", &json!({ "contentBlockIndex": 0, "delta": { "text": "Gr\u{fc}\u{df}e" } }))
}

fn tail() -> Vec<u8> {
    let usage = json!({ "inputTokens": 3, "outputTokens": 9, "totalTokens": 16, "cacheReadInputTokens": 4 });
    [
        event("contentBlockStop", &json!({ "contentBlockIndex": 0 })),
        event("messageStop", &json!({ "stopReason": "end_turn" })),
        event("metadata", &json!({ "usage": usage, "metrics": { "latencyMs": 5 } })),
    ]
    .concat()
}

fn typed(model: &str) -> ChatRequest {
    ChatRequest::typed(model, Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() })
}

async fn all(reply: ChatReply) -> (Vec<Frame>, Option<Error>) {
    let mut frames = vec![];
    let mut stream = reply.frames;
    while let Some(next) = stream.next().await {
        match next {
            Ok(frame) => frames.push(frame),
            Err(e) => return (frames, Some(e)),
        }
    }
    (frames, None)
}

fn events(frames: &[Frame]) -> Vec<ChatEvent> {
    frames.iter().flat_map(|f| f.events.clone()).collect()
}

fn begun() -> ChatEvent {
    ChatEvent::Start { id: String::new(), model: String::new(), created: 0 }
}

#[tokio::test]
async fn a_request_is_signed_and_its_stream_read() {
    let keys = json!({ "access_key_id": "AKID", "secret_access_key": "s", "session_token": "tok", "headers": { "x-more": "yes" },
        "guardrail": { "id": "g1", "version": "DRAFT", "trace": "enabled" } });
    let stream = [head(), words(), tail()];
    let (up, server) = server(keys, vec![streamed(&stream)]).await;
    let mut cx = cx();
    cx.traceparent = Some("00-a-b-01".into());
    let reply = up.chat(&cx, typed("eu.anthropic.claude-v1:0")).await.expect("an answer");
    assert_eq!((reply.head.dialect, reply.head.streaming), (Dialect::BedrockConverse, true));
    assert_eq!(reply.head.upstream_request.as_deref(), Some("req_up"));
    let (frames, error) = all(reply).await;
    assert!(error.is_none());
    assert_eq!(frames.iter().flat_map(|f| f.raw.to_vec()).collect::<Vec<u8>>(), stream.concat());
    let want = [
        begun(),
        ChatEvent::Text { choice: 0, text: "Gr\u{fc}\u{df}e".into() },
        ChatEvent::Finish { choice: 0, reason: FinishReason::Stop },
        ChatEvent::Usage(Usage { input_tokens: 7, output_tokens: 9, cached_input_tokens: 4, ..Usage::default() }),
    ];
    assert_eq!(events(&frames), want);
    let asked = server.await.expect("the request").remove(0);
    for line in [
        "POST /model/eu.anthropic.claude-v1%3A0/converse-stream HTTP/1.1",
        "x-amz-date: 20261124T034821Z",
        "x-amz-security-token: tok",
        "x-more: yes",
        "content-type: application/json",
        "traceparent: 00-a-b-01",
    ] {
        assert!(asked.lines().any(|l| l == line), "{line} in {asked}");
    }
    let signed = "authorization: AWS4-HMAC-SHA256 Credential=AKID/20261124/eu-central-1/bedrock/aws4_request, \
                  SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=";
    assert!(asked.contains(signed), "{asked}");
    let guardrail = json!({ "guardrailIdentifier": "g1", "guardrailVersion": "DRAFT", "trace": "enabled" });
    let want = json!({ "messages": [{ "role": "user", "content": [{ "text": "hi" }] }], "guardrailConfig": guardrail });
    assert_eq!(body_of(&asked), want);
}

#[tokio::test]
async fn a_key_of_bedrock_s_is_a_bearer_token_and_an_arn_one_segment() {
    let body = json!({ "output": { "message": { "role": "assistant", "content": [{ "text": "hi" }] } },
        "stopReason": "max_tokens", "usage": { "inputTokens": 1, "outputTokens": 2, "totalTokens": 3 } })
    .to_string();
    let (up, server) = server(with_key(), vec![json_answer("200 OK", "", &body)]).await;
    let mut request = typed("arn:aws:bedrock:eu-central-1:1:inference-profile/own");
    request.stream = false;
    let (frames, _) = all(up.chat(&cx(), request).await.expect("an answer")).await;
    assert_eq!((frames.len(), &frames[0].raw[..]), (1, body.as_bytes()));
    assert!(frames[0].events.contains(&ChatEvent::Finish { choice: 0, reason: FinishReason::Length }));
    let asked = server.await.expect("the request").remove(0);
    let path = "POST /model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A1%3Ainference-profile%2Fown/converse HTTP/1.1";
    assert!(asked.starts_with(path), "{asked}");
    assert!(asked.contains("authorization: Bearer secret\r\n") && !asked.contains("x-amz-date"), "{asked}");
}

#[tokio::test]
async fn a_name_that_would_lead_to_another_path_is_no_model() {
    let (up, _server) = server(with_key(), vec![]).await;
    for name in ["..", ".", &"x".repeat(70_000)] {
        assert_eq!(up.chat(&cx(), typed(name)).await.err().expect("refused").kind, Kind::NotFound);
    }
}

#[tokio::test]
async fn a_refusal_keeps_its_meaning() {
    for (status, kind, want) in [
        ("429 Too Many Requests", "ThrottlingException", Kind::RateLimited),
        ("429 Too Many Requests", "ModelNotReadyException", Kind::Unavailable),
        ("403 Forbidden", "AccessDeniedException", Kind::Upstream),
        ("400 Bad Request", "ValidationException", Kind::Invalid),
    ] {
        let header = format!("x-amzn-ErrorType: {kind}:http://internal.amazon.com/\r\n");
        let (up, _server) = server(with_key(), vec![json_answer(status, &header, r#"{"message":"as said"}"#)]).await;
        let error = up.chat(&cx(), typed("m")).await.err().expect("refused");
        assert_eq!((error.kind, error.retry_after), (want, Some(Duration::from_secs(7))), "{kind}");
        assert!(error.message.contains("as said"), "{}", error.message);
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_shows_what_came_and_why() {
    let mut bad = words();
    let last = bad.len() - 6;
    bad[last] ^= 1;
    let said = |text: &str| json!({ "message": text });
    let model = json!({ "message": "The model broke", "originalStatusCode": 500, "originalMessage": "CUDA" });
    let error =
        message(&[(":message-type", "error"), (":error-code", "InternalFailure"), (":error-message", "ups")], "");
    for (then, kind, code, says) in [
        (bad, Kind::Upstream, None, "sent an event whose checksum does not match"),
        (words()[..40].to_vec(), Kind::Upstream, None, "broke off in the middle of an event"),
        (b"<html>we are sorry</html>".to_vec(), Kind::Upstream, None, "checksum"),
        (event("contentBlockDelta", &json!([])), Kind::Upstream, None, "not a chat answer"),
        (
            exception("throttlingException", &said("Slow down")),
            Kind::RateLimited,
            Some("ThrottlingException"),
            "broke off its answer: Slow down",
        ),
        (
            exception("serviceUnavailableException", &said("Gone")),
            Kind::Unavailable,
            Some("ServiceUnavailableException"),
            "Gone",
        ),
        (exception("validationException", &said("Too long")), Kind::Invalid, Some("ValidationException"), "Too long"),
        (
            exception("modelStreamErrorException", &model),
            Kind::Upstream,
            Some("ModelStreamErrorException"),
            "The model broke: CUDA",
        ),
        (exception("ofTomorrow", &said("New")), Kind::Upstream, Some("OfTomorrow"), "New"),
        (error, Kind::Upstream, Some("InternalFailure"), "ups"),
    ] {
        let (up, _server) = server(with_key(), vec![streamed(&[head(), then])]).await;
        let (frames, error) = all(up.chat(&cx(), typed("m")).await.expect("an answer")).await;
        assert_eq!(events(&frames), [begun()], "{says}");
        let error = error.expect("a fault");
        assert_eq!((error.kind, error.code.as_deref()), (kind, code), "{}", error.message);
        assert!(error.message.contains(says), "{}", error.message);
    }
    let chunk = head();
    let cut = [
        stream_head("transfer-encoding: chunked"),
        format!("{:x}\r\n", chunk.len()).into_bytes(),
        chunk,
        b"\r\n".to_vec(),
    ];
    let (up, _server) = server(with_key(), vec![cut.concat()]).await; // no final chunk
    let (frames, error) = all(up.chat(&cx(), typed("m")).await.expect("an answer")).await;
    assert_eq!((events(&frames), error.expect("a fault").kind), (vec![begun()], Kind::Upstream));
}

#[tokio::test]
async fn an_event_over_the_limit_is_refused_before_it_is_here() {
    let mut config = with_key();
    config["max_event_kb"] = 1.into();
    let long = event("contentBlockDelta", &json!({ "contentBlockIndex": 0, "delta": { "text": "x".repeat(2000) } }));
    let (up, _server) = server(config, vec![streamed(&[head(), long[..100].to_vec()])]).await;
    let (frames, error) = all(up.chat(&cx(), typed("m")).await.expect("an answer")).await;
    assert_eq!(events(&frames), [begun()]);
    assert!(error.expect("a fault").message.contains("an event of more than 1024 bytes"));
}

#[tokio::test]
async fn an_answer_of_another_form_is_none() {
    let sse = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: {}\n\n".to_vec();
    let (up, _server) = server(with_key(), vec![sse]).await;
    let error = up.chat(&cx(), typed("m")).await.err().expect("refused");
    assert!(error.message.contains("text/event-stream where an event stream"), "{}", error.message);
}

#[tokio::test]
async fn models_are_discovered_beside_those_that_are_written() {
    let model = |id: &str, gives: &str, kind: &str| json!({ "modelId": id, "outputModalities": [gives], "inferenceTypesSupported": [kind] });
    let models = json!({ "modelSummaries": [model("a", "TEXT", "ON_DEMAND"), model("b", "TEXT", "INFERENCE_PROFILE"),
        model("cohere.embed-english-v3", "EMBEDDING", "ON_DEMAND"), model("amazon.rerank-v1:0", "TEXT", "ON_DEMAND")] });
    let profile = |id: &str| {
        json!({ "inferenceProfileId": id, "inferenceProfileArn": "arn", "type": "SYSTEM_DEFINED",
        "models": [{ "modelArn": "arn:aws:bedrock:eu-west-1::foundation-model/b" }] })
    };
    let first = json!({ "inferenceProfileSummaries": [profile("eu.b")], "nextToken": "t=" });
    let last = json!({ "inferenceProfileSummaries": [profile("global.b")] });
    let answers = [models, first, last].map(|body| json_answer("200 OK", "", &body.to_string()));
    let config = json!({ "access_key_id": "AKID", "secret_access_key": "s", "models": ["own", "a"], "discover": true });
    let (up, server) = server(config, answers.to_vec()).await;
    let listed: Vec<(String, ModelKind)> =
        up.models(&cx()).await.expect("a list").into_iter().map(|m| (m.id, m.kind)).collect();
    let want = [
        ("aws/own", ModelKind::Llm),
        ("aws/a", ModelKind::Llm),
        ("aws/cohere.embed-english-v3", ModelKind::Embedding),
        ("aws/amazon.rerank-v1:0", ModelKind::Rerank),
        ("aws/eu.b", ModelKind::Llm),
        ("aws/global.b", ModelKind::Llm),
    ];
    assert_eq!(listed, want.map(|(id, kind)| (id.to_owned(), kind)));
    let asked = server.await.expect("the requests");
    assert!(asked[0].starts_with("GET /foundation-models HTTP"), "{}", asked[0]);
    assert!(asked[2].starts_with("GET /inference-profiles?maxResults=1000&nextToken=t%3D HTTP"), "{}", asked[2]);
    assert!(asked.iter().all(|r| r.contains("SignedHeaders=host;x-amz-date, ")), "{asked:?}");
}

#[tokio::test]
async fn a_list_that_is_written_asks_nobody() {
    let mut config = with_key();
    config["models"] = json!(["a", "us.cohere.embed-v4:0"]);
    let (up, _server) = server(config, vec![]).await;
    let listed: Vec<(String, ModelKind)> =
        up.models(&cx()).await.expect("a list").into_iter().map(|m| (m.id, m.kind)).collect();
    let want = [("aws/a", ModelKind::Llm), ("aws/us.cohere.embed-v4:0", ModelKind::Embedding)];
    assert_eq!(listed, want.map(|(id, kind)| (id.to_owned(), kind)));
}

#[tokio::test]
async fn tokens_are_counted_by_the_service() {
    let answers = vec![json_answer("200 OK", "", r#"{"inputTokens":12}"#), json_answer("200 OK", "", "{}")];
    let (up, server) = server(with_key(), answers).await;
    assert_eq!(up.count_tokens(&cx(), typed("m")).await.expect("a count"), Some(12.into()));
    assert_eq!(up.count_tokens(&cx(), typed("m")).await.expect_err("no count").kind, Kind::Upstream);
    let asked = server.await.expect("the requests").remove(0);
    assert!(asked.starts_with("POST /model/m/count-tokens HTTP"), "{asked}");
    let messages = json!([{ "role": "user", "content": [{ "text": "hi" }] }]);
    assert_eq!(body_of(&asked), json!({ "input": { "converse": { "messages": messages } } }));
}
