//! The upstream zoo: what real servers send when they are well, odd or broken, byte by byte over a socket.

use bytes::Bytes;
use frontdesk_api::{
    ChatEvent, ChatReply, ChatRequest, Cx, Error, Frame, Inference, Kind,
    chat::{Chat, Dialect, Message, Role},
};
use frontdesk_openai::{Config, OpenAi, preset::Preset};
use frontdesk_wire::{
    anthropic,
    openai::{completions, peek},
};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::oneshot,
    task::JoinHandle,
};

const SSE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// What is sent, each behind the gate that holds it.
type Pieces = Vec<(Option<oneshot::Receiver<()>>, Vec<u8>)>;

/// Accepts one connection, reads one request, sends `pieces`, holding each until the one before was let go,
/// then closes. Gives back what was asked.
async fn server(pieces: Pieces) -> (OpenAi, JoinHandle<String>) {
    configured(pieces, |_| {}).await
}

/// As [`server`], with settings of its own.
async fn configured(pieces: Pieces, settings: impl FnOnce(&mut Config)) -> (OpenAi, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut config = Config::at(format!("http://{}/v1", listener.local_addr().expect("address")));
    config.max_event_kb = 16;
    settings(&mut config);
    let task = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a caller");
        let mut seen = vec![];
        let mut buffer = [0; 4096];
        loop {
            let n = socket.read(&mut buffer).await.expect("a request");
            seen.extend_from_slice(&buffer[..n]);
            let text = String::from_utf8_lossy(&seen);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("content-length: "))
                .map_or(0, |n| n.parse().expect("a number"));
            if body.len() >= length {
                break;
            }
        }
        for (gate, piece) in pieces {
            if let Some(gate) = gate {
                gate.await.expect("let go");
            }
            // A caller that has hung up is part of the zoo.
            let _ = socket.write_all(&piece).await;
        }
        String::from_utf8_lossy(&seen).into_owned()
    });
    (OpenAi::new("up", config).expect("a good config"), task)
}

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

fn plain(pieces: &[&[u8]]) -> Pieces {
    pieces.iter().map(|p| (None, p.to_vec())).collect()
}

fn typed() -> ChatRequest {
    ChatRequest::typed("m", Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() })
}

fn passthrough(body: &'static str) -> ChatRequest {
    peek::request(Bytes::from_static(body.as_bytes())).expect("a good request")
}

async fn ask(up: &OpenAi, request: ChatRequest) -> Result<ChatReply, Error> {
    up.chat(&Cx::internal("t", "r"), request).await
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

fn text(frames: &[Frame]) -> String {
    let events = frames.iter().flat_map(|f| &f.events);
    events.filter_map(|e| if let ChatEvent::Text { text, .. } = e { Some(text.as_str()) } else { None }).collect()
}

const HI: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Gr\u{fc}\u{df}e\"}}]}\n\n";
const FINISH: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

#[tokio::test]
async fn the_first_frame_is_here_before_the_second_exists() {
    let (release, gate) = oneshot::channel();
    let first = [SSE.as_bytes(), &chunk(HI)].concat();
    let (up, _server) = server(vec![(None, first), (Some(gate), [chunk(DONE), chunk("")].concat())]).await;
    let mut reply = ask(&up, typed()).await.expect("an answer");
    let frame = reply.frames.next().await.expect("a frame").expect("a good one");
    assert_eq!(frame.raw, HI);
    release.send(()).expect("the server waits");
    assert_eq!(reply.frames.next().await.expect("a frame").expect("a good one").raw, DONE);
    assert!(reply.frames.next().await.is_none());
}

#[tokio::test]
async fn an_answer_that_nobody_ended_was_broken_off() {
    // Its connection was closed as it should be; decoded or passed through, it is not whole.
    for (typed_by, more, whole) in [
        (true, "", false),
        (true, FINISH, true),
        (true, DONE, true),
        (false, "", false),
        (false, FINISH, true),
        (false, DONE, true),
    ] {
        let body = [SSE.as_bytes(), &chunk(&format!("{HI}{more}")), &chunk("")].concat();
        let (up, _server) = server(plain(&[&body])).await;
        let request = if typed_by {
            typed()
        } else {
            passthrough(r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#)
        };
        let (frames, error) = all(ask(&up, request).await.expect("an answer")).await;
        assert!(frames[0].raw.starts_with(HI.as_bytes()));
        let said = error.map(|error| error.message);
        assert_eq!(said.is_none(), whole, "{typed_by} {more}: {said:?}");
        assert!(said.is_none_or(|said| said.contains("before it was whole")));
    }
}

#[tokio::test]
async fn cuts_inside_a_letter_do_not_matter() {
    let bytes = HI.as_bytes();
    let at = HI.find('\u{fc}').expect("an umlaut") + 1;
    let mut pieces = vec![SSE.as_bytes().to_vec()];
    for half in [&bytes[..at], &bytes[at..]] {
        pieces.push([format!("{:x}\r\n", half.len()).as_bytes(), half, b"\r\n"].concat());
    }
    pieces.push(chunk(FINISH));
    pieces.push(chunk(""));
    let (up, _server) = server(pieces.into_iter().map(|p| (None, p)).collect()).await;
    let (frames, error) = all(ask(&up, typed()).await.expect("an answer")).await;
    assert_eq!((text(&frames).as_str(), error.is_none()), ("Gr\u{fc}\u{df}e", true)); // and no [DONE] is no fault
}

#[tokio::test]
async fn a_passthrough_keeps_every_byte_and_marks_the_usage() {
    let odd = ": ping\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":null,\"new\":1}\r\n\r\n";
    let body = [SSE.as_bytes(), &chunk(&format!("{odd}{USAGE}{DONE}")), &chunk("")].concat();
    let (up, server) = server(plain(&[&body])).await;
    let sent = r#"{"model":"up/m","messages":[{"role":"user","content":"hi"}],"stream":true,"future":{"a":[1]}}"#;
    let mut request = passthrough(sent);
    request.model = "m".into();
    let (frames, error) = all(ask(&up, request).await.expect("an answer")).await;
    assert!(error.is_none());
    let raw: Vec<&[u8]> = frames.iter().map(|f| &f.raw[..]).collect();
    assert_eq!(raw, [odd.as_bytes(), USAGE.as_bytes(), DONE.as_bytes()]);
    assert_eq!(frames.iter().map(|f| f.usage_only).collect::<Vec<_>>(), [false, true, false]);
    assert!(matches!(frames[1].events[..], [ChatEvent::Usage(u)] if u.input_tokens == 3));
    let asked = server.await.expect("the request");
    let want = r#"{"stream_options":{"include_usage":true},"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"future":{"a":[1]}}"#;
    assert!(asked.ends_with(want), "{asked}");
}

#[tokio::test]
async fn a_request_of_another_dialect_is_translated_and_its_answer_decoded() {
    let body = [SSE.as_bytes(), &chunk(&format!("{HI}{USAGE}{DONE}")), &chunk("")].concat();
    let (up, server) = server(plain(&[&body])).await;
    let sent = r#"{"model":"up/m","max_tokens":9,"system":"be kind","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
    let mut request = anthropic::peek::request(Bytes::from_static(sent.as_bytes())).expect("a good request");
    request.model = "m".into();
    let (frames, error) = all(ask(&up, request).await.expect("an answer")).await;
    assert_eq!((text(&frames).as_str(), error.is_none()), ("Gr\u{fc}\u{df}e", true));
    let asked = server.await.expect("the request");
    let asked: Value = serde_json::from_str(asked.split_once("\r\n\r\n").expect("a body").1).expect("JSON");
    assert_eq!(asked["messages"][0], serde_json::json!({ "role": "system", "content": "be kind" }));
    assert_eq!((asked["model"].as_str(), asked["max_tokens"].as_u64()), (Some("m"), Some(9)));
}

#[tokio::test]
async fn a_text_completion_goes_to_its_own_path_as_it_was_sent() {
    let said = "data: {\"choices\":[{\"index\":0,\"text\":\"x\",\"finish_reason\":null}],\"usage\":null}\n\n";
    let body = [SSE.as_bytes(), &chunk(&format!("{said}{USAGE}{DONE}")), &chunk("")].concat();
    let (up, server) = server(plain(&[&body])).await;
    let sent = r#"{"model":"up/m","prompt":[1,2],"echo":true,"stream":true}"#;
    let mut request = completions::request::request(Bytes::from_static(sent.as_bytes())).expect("a good request");
    request.model = "m".into();
    let reply = ask(&up, request).await.expect("an answer");
    assert_eq!(reply.head.dialect, Dialect::OpenaiCompletions);
    let (frames, error) = all(reply).await;
    assert!(error.is_none());
    assert_eq!(
        frames.iter().map(|f| &f.raw[..]).collect::<Vec<_>>(),
        [said.as_bytes(), USAGE.as_bytes(), DONE.as_bytes()]
    );
    let asked = server.await.expect("the request");
    assert!(asked.starts_with("POST /v1/completions HTTP"), "{asked}");
    let want = r#"{"stream_options":{"include_usage":true},"model":"m","prompt":[1,2],"echo":true,"stream":true}"#;
    assert!(asked.ends_with(want), "{asked}");
}

#[tokio::test]
async fn a_server_without_text_completions_is_asked_for_a_chat() {
    let body = [SSE.as_bytes(), &chunk(&format!("{HI}{USAGE}{DONE}")), &chunk("")].concat();
    let (up, server) = configured(plain(&[&body]), |config| config.completions = false).await;
    let sent = r#"{"model":"up/m","prompt":"hi","stream":true}"#;
    let mut request = completions::request::request(Bytes::from_static(sent.as_bytes())).expect("a good request");
    request.model = "m".into();
    let reply = ask(&up, request).await.expect("an answer");
    assert_eq!(reply.head.dialect, Dialect::OpenaiChat);
    assert_eq!(text(&all(reply).await.0), "Gr\u{fc}\u{df}e");
    let asked = server.await.expect("the request");
    assert!(asked.starts_with("POST /v1/chat/completions HTTP") && asked.contains(r#""content":"hi""#), "{asked}");
}

#[tokio::test]
async fn a_cut_stream_shows_what_came_and_then_says_so() {
    let body = [SSE.as_bytes(), &chunk(HI)].concat(); // no final chunk
    let (up, _server) = server(plain(&[&body])).await;
    let (frames, error) = all(ask(&up, typed()).await.expect("an answer")).await;
    assert_eq!(text(&frames), "Gr\u{fc}\u{df}e");
    let error = error.expect("a fault");
    assert_eq!(error.kind, Kind::Upstream);
    assert!(error.message.contains("provider 'up'") && error.message.contains("broke off"), "{}", error.message);
}

#[tokio::test]
async fn nonsense_in_a_stream_ends_it_with_a_reason() {
    let endless = format!("data: {}", "x".repeat(20_000));
    for (sent, says) in [
        ("data: <html>\n\n", "not a chat answer"),
        ("data: {\"error\":{\"message\":\"overloaded\"}}\n\n", "broke off its answer: overloaded"),
        (endless.as_str(), "more than 16384 bytes"),
    ] {
        let body = [SSE.as_bytes(), &chunk(HI), &chunk(sent), &chunk("")].concat();
        let (up, _server) = server(plain(&[&body])).await;
        let (frames, error) = all(ask(&up, typed()).await.expect("an answer")).await;
        let error = error.expect("a fault");
        assert_eq!(text(&frames), "Gr\u{fc}\u{df}e");
        assert!(error.kind == Kind::Upstream && error.message.contains(says), "{}", error.message);
    }
}

// Oracle: openrouter.ai/docs, "Streaming", "Handling errors during streaming".
#[tokio::test]
async fn an_error_inside_a_piece_ends_a_passthrough_where_servers_do_that() {
    let sent = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
    let broken = "data: {\"id\":\"x\",\"error\":{\"code\":502,\"message\":\"disconnected\"},\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}]}\n\n";
    let waiting = ": OPENROUTER PROCESSING\n\n";
    let router = || Preset::named("openrouter").expect("a row");
    for (known, piece) in [(true, broken), (false, "data: {\"error\":{\"code\":502,\"message\":\"disconnected\"}}\n\n")]
    {
        let body = [SSE.as_bytes(), &chunk(waiting), &chunk(HI), &chunk(piece), &chunk("")].concat();
        let settings = |config: &mut Config| {
            if known {
                config.preset = router();
            }
        };
        let (up, _server) = configured(plain(&[&body]), settings).await;
        let (frames, error) = all(ask(&up, passthrough(sent)).await.expect("an answer")).await;
        let raw: Vec<u8> = frames.iter().flat_map(|frame| frame.raw.to_vec()).collect();
        assert_eq!(String::from_utf8_lossy(&raw), format!("{waiting}{HI}"));
        let error = error.expect("a fault");
        assert!(error.message.contains("broke off its answer: disconnected"), "{}", error.message);
        assert_eq!(error.code.as_deref(), Some("502"));
    }
}

// Oracle: the pieces Azure sends with its asynchronous filter, as reported in openai/openai-python#1677.
#[tokio::test]
async fn azures_notes_of_its_filter_are_no_words_and_no_end() {
    let before = "data: {\"id\":\"\",\"object\":\"\",\"created\":0,\"model\":\"\",\"prompt_filter_results\":[{\"prompt_index\":0}],\"choices\":[],\"usage\":null}\n\n";
    let after = "data: {\"id\":\"\",\"object\":\"\",\"created\":0,\"model\":\"\",\"choices\":[{\"index\":0,\"finish_reason\":null,\"content_filter_results\":{},\"content_filter_offsets\":{\"check_offset\":44}}],\"usage\":null}\n\n";
    let body = [SSE.as_bytes(), &chunk(&format!("{before}{HI}{after}{USAGE}{DONE}")), &chunk("")].concat();
    for request in [typed(), passthrough(r#"{"model":"m","messages":[{}],"stream":true}"#)] {
        let (events, (up, _server)) = (request.wants_events, server(plain(&[&body])).await);
        let (frames, error) = all(ask(&up, request).await.expect("an answer")).await;
        assert!(error.is_none());
        let raw: Vec<u8> = frames.iter().flat_map(|frame| frame.raw.to_vec()).collect();
        assert_eq!(String::from_utf8_lossy(&raw), format!("{before}{HI}{after}{USAGE}{DONE}"));
        assert_eq!(text(&frames), if events { "Gr\u{fc}\u{df}e" } else { "" });
        assert!(!frames.iter().flat_map(|f| &f.events).any(|e| matches!(e, ChatEvent::Finish { .. })));
    }
}

// Oracle: api.together.xyz's list as reported in lidge-jun/opencodex#617.
#[tokio::test]
async fn a_list_without_an_object_around_it_is_one() {
    let list = r#"[{"id":"a/b","object":"model","created":7,"type":"chat","context_length":4096},{"id":"c","type":"embedding"}]"#;
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{list}", list.len());
    let (up, _server) = server(plain(&[head.as_bytes()])).await;
    let models = up.models(&Cx::internal("t", "r")).await.expect("a list");
    assert_eq!(models.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), ["up/a/b", "up/c"]);
    assert_eq!(up.context_window("a/b"), Some(4096));
}

// DeepSeek keeps a whole answer's connection alive with blank lines (api-docs.deepseek.com, "Rate limit").
#[tokio::test]
async fn blank_lines_before_a_whole_answer_do_not_matter() {
    let json = "\n\n\n{\"choices\":[{\"index\":0,\"message\":{\"content\":\"hi\"}}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}";
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{json}", json.len());
    let (up, _server) = server(plain(&[head.as_bytes()])).await;
    let (frames, error) =
        all(ask(&up, passthrough(r#"{"model":"m","messages":[{}]}"#)).await.expect("an answer")).await;
    assert!(error.is_none() && frames.len() == 1 && frames[0].raw == json);
}

#[tokio::test]
async fn a_page_instead_of_an_answer_is_named() {
    let page = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";
    let (up, _server) = server(plain(&[page])).await;
    let error = ask(&up, typed()).await.err().expect("no answer");
    assert!(error.kind == Kind::Upstream && error.message.contains("text/html"), "{}", error.message);
}

#[tokio::test]
async fn a_refusal_keeps_its_status_meaning_and_retry_after() {
    let body = r#"{"error":{"message":"slow down","type":"rate_limit_error"}}"#;
    let head = format!("HTTP/1.1 429 Too Many\r\nretry-after: 7\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let (up, _server) = server(plain(&[head.as_bytes()])).await;
    let error = ask(&up, typed()).await.err().expect("refused");
    assert_eq!((error.kind, error.retry_after), (Kind::RateLimited, Some(std::time::Duration::from_secs(7))));
    assert!(error.message.contains("slow down"));
}

#[tokio::test]
async fn a_whole_answer_is_one_frame_of_its_bytes() {
    let json = r#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1},"vendor":{"k":1}}"#;
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{json}", json.len());
    let (up, _server) = server(plain(&[head.as_bytes()])).await;
    let sent = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let (frames, error) = all(ask(&up, passthrough(sent)).await.expect("an answer")).await;
    assert!(error.is_none() && frames.len() == 1);
    assert_eq!(frames[0].raw, json);
    assert!(frames[0].events.iter().any(|e| matches!(e, ChatEvent::Usage(u) if u.output_tokens == 1)));
}

#[tokio::test]
async fn a_window_is_known_once_the_servers_own_list_told_it() {
    let list = r#"{"data":[{"id":"vllm","max_model_len":8192},{"id":"router","context_length":128000},
        {"id":"groq","context_window":131072},{"id":"odd","max_model_len":0},{"id":"openai"}]}"#;
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{list}", list.len());
    let (up, _server) = server(plain(&[head.as_bytes()])).await;
    assert_eq!(up.context_window("vllm"), None, "nobody was asked");
    assert_eq!(up.models(&Cx::internal("t", "r")).await.expect("a list").len(), 5);
    let windows = ["vllm", "router", "groq", "odd", "openai", "none"].map(|model| up.context_window(model));
    assert_eq!(windows, [Some(8192), Some(128_000), Some(131_072), None, None, None]);
}

/// What came back from a server of this kind that answers a count with `said`, and what it was asked.
async fn counted(preset: &str, said: &str) -> (Result<Option<u64>, Error>, String) {
    let status = if said.contains("input_tokens") || said.contains("count") { "200 OK" } else { "404 Not Found" };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{said}", said.len());
    let preset = Preset::named(preset).expect("a row");
    let (up, server) = configured(plain(&[answer.as_bytes()]), |config| config.preset = preset).await;
    let body = r#"{"model":"m","max_tokens":5,"system":"Be brief.","messages":[{"role":"user","content":"hi"}],
        "tools":[{"name":"look","input_schema":{"type":"object"}}]}"#;
    let request = anthropic::peek::count(Bytes::from_static(body.as_bytes())).expect("a good request");
    let counted = up.count_tokens(&Cx::internal("t", "r"), request).await;
    (counted.map(|counted| counted.map(|counted| counted.tokens)), server.await.expect("asked"))
}

// The servers' own sources: vLLM 0.33.0, `vllm/entrypoints/serve/tokenize`; llama.cpp, `handle_count_tokens`.
#[tokio::test]
async fn vllm_and_llama_cpp_count_each_at_its_own_address() {
    let (tokens, asked) = counted("vllm", r#"{"count":12,"max_model_len":4096,"tokens":[1],"token_strs":null}"#).await;
    assert_eq!(tokens.expect("a count"), Some(12));
    let (head, body) = asked.split_once("\r\n\r\n").expect("a request");
    assert!(head.starts_with("POST /tokenize HTTP/1.1"), "{head}");
    let function = json!({ "name": "look", "parameters": { "type": "object" } });
    let said = json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "hi" }]);
    let tools = json!([{ "type": "function", "function": function }]);
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(body, json!({ "model": "m", "messages": said, "tools": tools }));

    let (tokens, asked) = counted("llama_cpp", r#"{"input_tokens":9,"object":"response.input_tokens"}"#).await;
    assert_eq!(tokens.expect("a count"), Some(9));
    let (head, body) = asked.split_once("\r\n\r\n").expect("a request");
    assert!(head.starts_with("POST /v1/chat/completions/input_tokens HTTP/1.1"), "{head}");
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((&body["messages"], &body["tools"]), (&said, &tools));
}

#[tokio::test]
async fn a_server_without_the_address_cannot_count_and_another_answer_is_its_fault() {
    for (preset, said) in [
        ("vllm", r#"{"detail":"Not Found"}"#),
        ("llama_cpp", r#"{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}"#),
        ("llama_cpp", "404 page not found"),
    ] {
        assert_eq!(counted(preset, said).await.0.expect("no fault"), None, "{said}");
    }
    let error = counted("vllm", r#"{"input_tokens":9}"#).await.0.expect_err("no count");
    assert!(error.kind == Kind::Upstream && error.message.contains("not a count of tokens"), "{error}");
    // OpenAI has the address: what is not there is the model.
    let said = r#"{"error":{"message":"The model 'm' does not exist","code":"model_not_found"}}"#;
    assert_eq!(counted("openai", said).await.0.expect_err("no model").kind, Kind::NotFound);
}
