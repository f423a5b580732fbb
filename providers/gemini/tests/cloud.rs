//! What the Gemini API and Vertex AI send when they are well and when they are not, byte by byte over a socket, and
//! what they are sent.

mod server;

use frontdesk_api::{
    ChatEvent, ChatReply, ChatRequest, Error, Frame, Inference, Kind,
    chat::{Chat, Dialect, FinishReason, Message, Role, Usage},
    inference::ModelKind,
};
use frontdesk_wire::openai::peek;
use futures::StreamExt;
use serde_json::{Value, json};
use server::{body_of, cx, gemini, json_answer, serve};

const SSE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

fn typed() -> ChatRequest {
    ChatRequest::typed("m", Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() })
}

/// What an OpenAI client sent.
fn openai(body: &'static str) -> ChatRequest {
    let mut request = peek::request(body.as_bytes().into()).expect("a request");
    request.model = "m".into();
    request
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

const HEAD: &str = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Gr\u{fc}\u{df}e\"}],\"role\":\"model\"}}],\"usageMetadata\":{\"promptTokenCount\":7,\"cachedContentTokenCount\":4},\"modelVersion\":\"m-1\",\"responseId\":\"r1\"}\r\n\r\n";
const TAIL: &str = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\",\"args\":{}}}],\"role\":\"model\"},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":7,\"candidatesTokenCount\":9}}\r\n\r\n";
const OVERLOADED: &str =
    "data: {\"error\":{\"code\":503,\"message\":\"The model is overloaded.\",\"status\":\"UNAVAILABLE\"}}\r\n\r\n";

fn counted(output_tokens: u64) -> ChatEvent {
    ChatEvent::Usage(Usage { input_tokens: 7, output_tokens, cached_input_tokens: 4, ..Usage::default() })
}

fn head() -> [ChatEvent; 3] {
    let text = ChatEvent::Text { choice: 0, text: "Gr\u{fc}\u{df}e".into() };
    [ChatEvent::Start { id: "r1".into(), model: "m-1".into(), created: 0 }, text, counted(0)]
}

#[tokio::test]
async fn a_request_is_written_in_gemini_s_words_and_its_stream_read() {
    let server = serve(vec![format!("{SSE}{HEAD}{TAIL}")]).await;
    let up = gemini(&server, json!({ "api_key": "secret", "headers": { "x-more": "yes" } }));
    let mut cx = cx();
    cx.traceparent = Some("00-a-b-01".into());
    let reply = up.chat(&cx, typed()).await.expect("an answer");
    assert_eq!((reply.head.dialect, reply.head.streaming), (Dialect::Gemini, true));
    let (frames, error) = all(reply).await;
    assert!(error.is_none());
    let [start, text, usage] = head();
    let call = ChatEvent::ToolCall {
        choice: 0,
        index: 0,
        id: Some("fdcall_00000000000000000000000001_0_0".into()),
        name: Some("f".into()),
        arguments: "{}".into(),
    };
    let finish = ChatEvent::Finish { choice: 0, reason: FinishReason::ToolCalls };
    assert_eq!(events(&frames), [start, text, usage, call, finish, counted(9)]);
    let asked = server.asked().await.remove(0);
    for line in [
        "POST /v1beta/models/m:streamGenerateContent?alt=sse HTTP/1.1",
        "x-goog-api-key: secret",
        "x-more: yes",
        "content-type: application/json",
        "traceparent: 00-a-b-01",
    ] {
        assert!(asked.lines().any(|l| l == line), "{line} in {asked}");
    }
    assert_eq!(body_of(&asked), json!({ "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }] }));
}

#[tokio::test]
async fn a_whole_answer_is_one_frame_and_one_call_where_one_is_wanted() {
    let body = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"id":"a","name":"f","args":{}}},{"functionCall":{"id":"b","name":"f","args":{}}}]},"finishReason":"STOP"}],"responseId":"r1"}"#;
    let server = serve(vec![json_answer("200 OK", body); 2]).await;
    let up = gemini(&server, json!({}));
    for (asked, calls) in [
        (r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#, vec!["a", "b"]),
        (r#"{"model":"m","parallel_tool_calls":false,"messages":[{"role":"user","content":"hi"}]}"#, vec!["a"]),
    ] {
        let (frames, error) = all(up.chat(&cx(), openai(asked)).await.expect("an answer")).await;
        assert!(error.is_none() && frames.len() == 1);
        let ids: Vec<String> = events(&frames)
            .into_iter()
            .filter_map(|event| if let ChatEvent::ToolCall { id, .. } = event { id } else { None })
            .collect();
        assert_eq!(ids, calls);
    }
    assert!(server.asked().await[0].starts_with("POST /v1beta/models/m:generateContent HTTP"));
}

#[tokio::test]
async fn a_refusal_keeps_its_meaning() {
    let error = |status: &str| {
        let retry = json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.5s" });
        json!({ "error": { "code": 1, "message": "as said", "status": status, "details": [retry] } }).to_string()
    };
    for (status, word, want) in [
        ("503 Busy", "UNAVAILABLE", Kind::Unavailable),
        ("429 Too Many", "RESOURCE_EXHAUSTED", Kind::RateLimited),
        ("403 No", "PERMISSION_DENIED", Kind::Upstream),
        ("400 Bad", "INVALID_ARGUMENT", Kind::Invalid),
    ] {
        let server = serve(vec![json_answer(status, &error(word))]).await;
        let error = gemini(&server, json!({})).chat(&cx(), typed()).await.err().expect("refused");
        assert_eq!((error.kind, error.retry_after), (want, Some(std::time::Duration::from_millis(1500))), "{word}");
        assert!(error.message.contains("as said"), "{}", error.message);
    }
    let server = serve(vec![]).await;
    let mut asked = typed();
    asked.model = "../../secrets".into();
    let error = gemini(&server, json!({})).chat(&cx(), asked).await.err().expect("refused");
    assert_eq!((error.kind, error.code.as_deref()), (Kind::NotFound, Some("model_not_found")));
}

#[tokio::test]
async fn a_stream_that_breaks_off_shows_what_came_and_why() {
    let chunked = SSE.replace("connection: close", "transfer-encoding: chunked");
    let cut = format!("{chunked}{:x}\r\n{HEAD}\r\n", HEAD.len()); // no final chunk
    for (answer, kind, says) in [
        (format!("{SSE}{HEAD}{OVERLOADED}"), Kind::Unavailable, "broke off its answer: The model is overloaded."),
        (format!("{SSE}{HEAD}data: <html>\n\n"), Kind::Upstream, "not a chat answer"),
        (format!("{SSE}{HEAD}data: {}", "x".repeat(9 * 1024)), Kind::Upstream, "more than 8192 bytes"),
        (cut, Kind::Upstream, "broke off in the middle"),
    ] {
        let server = serve(vec![answer]).await;
        let up = gemini(&server, json!({ "max_event_kb": 8 }));
        let (frames, error) = all(up.chat(&cx(), typed()).await.expect("an answer")).await;
        assert_eq!(events(&frames), head());
        let error = error.expect("a fault");
        assert_eq!(error.kind, kind);
        assert!(error.message.contains(says), "{}", error.message);
    }
}

#[tokio::test]
async fn an_answer_of_another_form_is_the_server_s_fault() {
    for answer in [json_answer("200 OK", "[]"), SSE.to_owned()] {
        let server = serve(vec![answer.clone()]).await;
        let stream = !answer.contains("event-stream");
        let mut asked = typed();
        asked.stream = stream;
        let error = gemini(&server, json!({})).chat(&cx(), asked).await.err().expect("refused");
        assert_eq!(error.kind, Kind::Upstream, "{}", error.message);
    }
}

#[tokio::test]
async fn who_may_turn_to_another_provider_is_told_where_the_answer_begins() {
    let counting = "data: {\"usageMetadata\":{\"promptTokenCount\":7},\"responseId\":\"r1\"}\n\n";
    let server = serve(vec![format!("{SSE}: hi\n\n{counting}{HEAD}{TAIL}"), json_answer("200 OK", "{}")]).await;
    let up = gemini(&server, json!({}));
    let mut asked = typed();
    asked.wants_preamble = true;
    let (frames, error) = all(up.chat(&cx(), asked).await.expect("an answer")).await;
    assert!(error.is_none() && !frames.last().expect("a frame").preamble);
    let begun = frames.iter().position(|frame| frame.events.iter().any(ChatEvent::is_content)).expect("words");
    assert!(frames.iter().enumerate().all(|(i, frame)| frame.preamble == (i < begun)));
    let whole = openai(r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#);
    let (_, error) = all(up.chat(&cx(), whole).await.expect("a head")).await;
    assert!(error.expect("no answer").message.contains("holds none"));
}

#[tokio::test]
async fn models_are_listed_page_by_page_and_those_that_chat_or_embed_are_kept() {
    let model = |name: &str, methods: Value| json!({ "name": name, "supportedGenerationMethods": methods, "inputTokenLimit": 1_048_576 });
    let first = json!({ "nextPageToken": "a/b+c=", "models": [
        model("models/gemini-2.5-flash", json!(["generateContent", "countTokens"])),
        model("models/gemini-embedding-001", json!(["embedContent", "countTokens"])),
        model("models/veo-3", json!(["predictLongRunning"])) ] });
    let last = json!({ "models": [{ "name": "tunedModels/mine", "supportedGenerationMethods": ["generateContent", "embedContent"] }, { "name": "models/x" }] });
    let answers = vec![
        json_answer("200 OK", &first.to_string()),
        json_answer("200 OK", &last.to_string()),
        json_answer("200 OK", "{}"),
        json_answer("200 OK", "<html>"),
    ];
    let server = serve(answers).await;
    let up = gemini(&server, json!({ "api_key": "secret" }));
    let listed: Vec<(String, ModelKind)> =
        up.models(&cx()).await.expect("a list").into_iter().map(|m| (m.id, m.kind)).collect();
    let want = [
        ("gem/gemini-2.5-flash", ModelKind::Llm),
        ("gem/gemini-embedding-001", ModelKind::Embedding),
        ("gem/tunedModels/mine", ModelKind::Llm),
    ];
    assert_eq!(listed, want.map(|(id, kind)| (id.to_owned(), kind)));
    assert_eq!((up.context_window("gemini-2.5-flash"), up.context_window("tunedModels/mine")), (Some(1_048_576), None));
    assert!(up.models(&cx()).await.expect("a list of none").is_empty());
    assert_eq!(up.models(&cx()).await.expect_err("no list").kind, Kind::Upstream);
    let asked = server.asked().await;
    assert!(asked[0].starts_with("GET /v1beta/models?pageSize=1000 HTTP"), "{}", asked[0]);
    assert!(asked[1].starts_with("GET /v1beta/models?pageSize=1000&pageToken=a%2Fb%2Bc%3D HTTP"), "{}", asked[1]);
}

#[tokio::test]
async fn tokens_are_counted_of_the_whole_request() {
    let server = serve(vec![json_answer("200 OK", r#"{"totalTokens":12}"#), json_answer("200 OK", "{}")]).await;
    let up = gemini(&server, json!({ "models": ["m"] }));
    let asked = r#"{"model":"m","max_tokens":5,"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"}]}"#;
    assert_eq!(up.count_tokens(&cx(), openai(asked)).await.expect("a count"), Some(12.into()));
    assert_eq!(up.count_tokens(&cx(), typed()).await.expect_err("no count").kind, Kind::Upstream);
    let asked = server.asked().await;
    assert!(asked[0].starts_with("POST /v1beta/models/m:countTokens HTTP"), "{}", asked[0]);
    let want = json!({ "generateContentRequest": { "model": "models/m", "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }],
        "systemInstruction": { "role": "user", "parts": [{ "text": "be brief" }] }, "generationConfig": { "maxOutputTokens": 5 } } });
    assert_eq!(body_of(&asked[0]), want);
}
