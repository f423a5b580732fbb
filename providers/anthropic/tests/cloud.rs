//! What Anthropic's API sends when it is well and when it is not, byte by byte over a socket, and what it is sent.

use bytes::Bytes;
use frontdesk_anthropic::{Anthropic, Config};
use frontdesk_api::{
    ChatEvent, ChatReply, ChatRequest, Cx, Error, Frame, Inference, Kind,
    chat::{Chat, Dialect, FinishReason, Marks, Message, Role, Source, Usage},
};
use frontdesk_wire::openai::peek;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

const SSE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nrequest-id: req_up\r\nconnection: close\r\n\r\n";

fn json_answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nretry-after: 7\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// Answers one connection after the other with these bytes. Gives back what was asked.
async fn server(config: Value, answers: Vec<String>) -> (Anthropic, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut config = config;
    config["base_url"] = json!(format!("http://{}/v1", listener.local_addr().expect("address")));
    let task = tokio::spawn(async move {
        let mut all = vec![];
        for answer in answers {
            let (mut socket, _) = listener.accept().await.expect("a caller");
            let (mut seen, mut buffer) = (vec![], [0; 4096]);
            loop {
                let n = socket.read(&mut buffer).await.expect("a request");
                seen.extend_from_slice(&buffer[..n]);
                let text = String::from_utf8_lossy(&seen);
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |n| n.parse().expect("a number")) {
                    break;
                }
            }
            socket.write_all(answer.as_bytes()).await.expect("a caller that stays");
            all.push(String::from_utf8_lossy(&seen).into_owned());
        }
        all
    });
    let up = Anthropic::new("claude", Config::read(config).expect("readable")).expect("a good config");
    (up, task)
}

fn cx() -> Cx {
    Cx::internal("t", "r")
}

fn typed() -> ChatRequest {
    ChatRequest::typed("m", Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() })
}

/// A client's Messages request, which nobody may look into.
fn own(body: &'static str, stream: bool) -> ChatRequest {
    let member = body.find(r#""model""#).expect("a model") + r#""model""#.len();
    let name = member + body[member..].find('"').expect("a name");
    let length = body[name..].find([',', '}']).map(|end| body[name..name + end].trim_end().len()).expect("an end");
    let source = Source {
        dialect: Dialect::AnthropicMessages,
        bytes: Bytes::from_static(body.as_bytes()),
        decode: |_| panic!("a passthrough is not decoded"),
        marks: Marks { model: name..name + length, ..Marks::default() },
    };
    ChatRequest::from_source("m", stream, true, source)
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

fn body_of(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").expect("a body").1).expect("JSON")
}

const HEAD: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m-1\",\"content\":[],\"usage\":{\"input_tokens\":3,\"cache_read_input_tokens\":4,\"output_tokens\":1}}}\n\n";
const WORDS: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Gr\u{fc}\u{df}e\"}}\n\n";
const TAIL: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
const OVERLOADED: &str =
    "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";

fn counted(output_tokens: u64) -> ChatEvent {
    ChatEvent::Usage(Usage { input_tokens: 7, output_tokens, cached_input_tokens: 4, ..Usage::default() })
}

#[tokio::test]
async fn a_typed_request_is_written_in_anthropics_words() {
    let config = json!({ "api_key": "secret", "beta": ["a-1", "b-2"], "headers": { "x-more": "yes" } });
    let (up, server) = server(config, vec![format!("{SSE}{HEAD}{WORDS}{TAIL}")]).await;
    let mut cx = cx();
    cx.traceparent = Some("00-a-b-01".into());
    let reply = up.chat(&cx, typed()).await.expect("an answer");
    assert_eq!((reply.head.dialect, reply.head.streaming), (Dialect::AnthropicMessages, true));
    assert_eq!(reply.head.upstream_request.as_deref(), Some("req_up"));
    let (frames, error) = all(reply).await;
    assert!(error.is_none());
    let want = [
        ChatEvent::Start { id: "msg_1".into(), model: "m-1".into(), created: 0 },
        counted(1),
        ChatEvent::Text { choice: 0, text: "Gr\u{fc}\u{df}e".into() },
        ChatEvent::Finish { choice: 0, reason: FinishReason::Stop },
        counted(9),
    ];
    assert_eq!(events(&frames), want);
    let asked = server.await.expect("the request").remove(0);
    for line in [
        "POST /v1/messages HTTP/1.1",
        "x-api-key: secret",
        "anthropic-version: 2023-06-01",
        "anthropic-beta: a-1,b-2",
        "x-more: yes",
        "content-type: application/json",
        "traceparent: 00-a-b-01",
    ] {
        assert!(asked.lines().any(|l| l == line), "{line} in {asked}");
    }
    let want =
        json!({ "model": "m", "max_tokens": 8192, "messages": [{ "role": "user", "content": "hi" }], "stream": true });
    assert_eq!(body_of(&asked), want);
}

#[tokio::test]
async fn what_a_client_of_this_dialect_chooses_by_headers_goes_on() {
    let answer = json_answer("200 OK", r#"{"id":"msg_1","model":"m-1","content":[],"usage":{}}"#);
    let counts = json_answer("200 OK", r#"{"input_tokens":7}"#);
    let chose = |mut request: ChatRequest| {
        request.headers = vec![("anthropic-version", "2099-01-01".into()), ("anthropic-beta", "c-3,a-1".into())];
        request
    };
    let ours = || chose(own(r#"{"model":"m","messages":[]}"#, false));
    let theirs = chose(typed());
    let stream = format!("{SSE}{HEAD}{WORDS}{TAIL}");
    let (up, asked) = server(json!({ "beta": ["a-1"] }), vec![answer.clone(), counts, stream]).await;
    all(up.chat(&cx(), ours()).await.expect("an answer")).await;
    up.count_tokens(&cx(), ours()).await.expect("a count");
    all(up.chat(&cx(), theirs).await.expect("an answer")).await;
    let (pinned, alone) = server(json!({ "headers": { "anthropic-beta": "only" } }), vec![answer]).await;
    all(pinned.chat(&cx(), ours()).await.expect("an answer")).await;
    let asked = [asked.await.expect("requests"), alone.await.expect("a request")].concat();
    let lines = |asked: &str| -> Vec<String> {
        asked.lines().filter(|line| line.starts_with("anthropic-")).map(str::to_owned).collect()
    };
    let chosen = ["anthropic-version: 2099-01-01", "anthropic-beta: a-1,c-3"];
    assert_eq!(lines(&asked[0]), chosen);
    assert_eq!(lines(&asked[1]), chosen);
    assert_eq!(lines(&asked[2]), ["anthropic-version: 2023-06-01", "anthropic-beta: a-1"], "of another dialect");
    let mut pinned = lines(&asked[3]);
    pinned.sort();
    assert_eq!(pinned, ["anthropic-beta: only", "anthropic-version: 2099-01-01"]);
}

#[tokio::test]
async fn a_passthrough_keeps_every_byte_both_ways_and_counts() {
    let stream = format!(": hi\r\n\r\n{HEAD}{WORDS}event: brand_new\ndata: {{\"type\":\"brand_new\"}}\n\n{TAIL}");
    let (up, server) = server(json!({}), vec![format!("{SSE}{stream}")]).await;
    let sent = r#"{ "max_tokens" : 5, "model":"claude/m" ,"messages":[],"stream":true,"future":{"a":[1.50]}}"#;
    let (frames, error) = all(up.chat(&cx(), own(sent, true)).await.expect("an answer")).await;
    assert!(error.is_none());
    assert_eq!(frames.iter().flat_map(|f| f.raw.to_vec()).collect::<Vec<u8>>(), stream.as_bytes());
    assert_eq!(events(&frames), [counted(1), counted(9)]);
    let asked = server.await.expect("the request").remove(0);
    assert!(asked.ends_with(&sent.replace("claude/m", "m")), "{asked}");
}

#[tokio::test]
async fn a_whole_answer_is_one_frame_of_its_bytes() {
    let body = r#"{"id":"msg_1","type":"message","model":"m-1","content":[{"type":"text","text":"hi"}],"stop_reason":"max_tokens","usage":{"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":9},"new":1}"#;
    let (up, _server) = server(json!({}), vec![json_answer("200 OK", body); 2]).await;
    let (frames, _) = all(up.chat(&cx(), own(r#"{"model":"m"}"#, false)).await.expect("an answer")).await;
    assert_eq!((frames.len(), &frames[0].raw[..]), (1, body.as_bytes()));
    assert_eq!(frames[0].events, [counted(9)]);
    let openai = peek::request(Bytes::from_static(br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#));
    let (frames, _) = all(up.chat(&cx(), openai.expect("a request")).await.expect("an answer")).await;
    assert!(frames[0].events.contains(&ChatEvent::Finish { choice: 0, reason: FinishReason::Length }));
}

#[tokio::test]
async fn a_refusal_keeps_its_meaning() {
    let error = |kind: &str| json!({ "type": "error", "error": { "type": kind, "message": "as said" } }).to_string();
    for (status, kind, want) in [
        ("529 Overloaded", "overloaded_error", Kind::Unavailable),
        ("429 Too Many", "rate_limit_error", Kind::RateLimited),
        ("401 No", "authentication_error", Kind::Upstream),
        ("400 Bad", "invalid_request_error", Kind::Invalid),
    ] {
        let (up, _server) = server(json!({}), vec![json_answer(status, &error(kind))]).await;
        let error = up.chat(&cx(), typed()).await.err().expect("refused");
        assert_eq!((error.kind, error.retry_after), (want, Some(std::time::Duration::from_secs(7))), "{kind}");
        assert!(error.message.contains("as said"), "{}", error.message);
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_shows_what_came_and_why() {
    let chunked = SSE.replace("connection: close", "transfer-encoding: chunked");
    let cut = format!("{chunked}{:x}\r\n{HEAD}\r\n", HEAD.len()); // no final chunk
    for (answer, kind, says) in [
        (format!("{SSE}{HEAD}{OVERLOADED}"), Kind::Unavailable, "broke off its answer: Overloaded"),
        (format!("{SSE}{HEAD}data: <html>\n\n"), Kind::Upstream, "not a chat answer"),
        (cut, Kind::Upstream, "broke off in the middle"),
    ] {
        let (up, _server) = server(json!({}), vec![answer]).await;
        let (frames, error) = all(up.chat(&cx(), typed()).await.expect("an answer")).await;
        assert!(matches!(events(&frames)[..], [ChatEvent::Start { .. }, ChatEvent::Usage(_)]));
        let error = error.expect("a fault");
        assert_eq!(error.kind, kind);
        assert!(error.message.contains(says), "{}", error.message);
    }
    // The client of a passthrough reads the server's own words.
    let (up, _server) = server(json!({}), vec![format!("{SSE}{HEAD}{OVERLOADED}")]).await;
    let (frames, error) = all(up.chat(&cx(), own(r#"{"model":"m"}"#, true)).await.expect("an answer")).await;
    assert!(error.is_none() && frames.last().expect("a frame").raw.ends_with(OVERLOADED.as_bytes()));
}

#[tokio::test]
async fn models_are_listed_page_by_page_and_their_sizes_kept() {
    let first = json!({ "has_more": true, "first_id": "big", "last_id": "big", "data": [
        { "type": "model", "id": "big", "display_name": "Big", "created_at": "2025-09-29T00:00:00Z", "max_input_tokens": 200_000, "max_tokens": 64_000 }] });
    let last = json!({ "has_more": false, "last_id": "m", "data": [{ "id": "m", "max_tokens": 4096 }] });
    let body = r#"{"input_tokens":12}"#;
    let answers = vec![
        json_answer("200 OK", &first.to_string()),
        json_answer("200 OK", &last.to_string()),
        format!("{SSE}{HEAD}{TAIL}"),
        json_answer("200 OK", body),
    ];
    let (up, server) = server(json!({ "api_key": "secret" }), answers).await;
    let models = up.models(&cx()).await.expect("a list");
    let shown: Vec<_> = models.iter().map(|m| (m.id.as_str(), m.created)).collect();
    assert_eq!(shown, [("claude/big", 1_759_104_000), ("claude/m", 0)]);
    assert_eq!((up.context_window("big"), up.context_window("m")), (Some(200_000), None));
    all(up.chat(&cx(), typed()).await.expect("an answer")).await;
    assert_eq!(up.count_tokens(&cx(), typed()).await.expect("a count").expect("it counts").tokens, 12);
    let asked = server.await.expect("the requests");
    assert!(asked[0].starts_with("GET /v1/models?limit=1000 HTTP"), "{}", asked[0]);
    assert!(asked[1].starts_with("GET /v1/models?limit=1000&after_id=big HTTP"), "{}", asked[1]);
    assert_eq!(body_of(&asked[2])["max_tokens"], 4096, "no more than the model writes");
    assert!(asked[3].starts_with("POST /v1/messages/count_tokens HTTP"), "{}", asked[3]);
    assert_eq!(body_of(&asked[3]), json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] }));
}

#[tokio::test]
async fn a_fixed_list_of_models_asks_nobody() {
    let (up, _server) = server(json!({ "models": ["a", "b"] }), vec![]).await;
    let ids: Vec<String> = up.models(&cx()).await.expect("a list").into_iter().map(|m| m.id).collect();
    assert_eq!(ids, ["claude/a", "claude/b"]);
}
