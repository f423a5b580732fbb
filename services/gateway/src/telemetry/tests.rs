//! The numbers of a gateway in this process: counted exactly, bounded, and nobody's words among them.

use std::sync::Arc;

use async_trait::async_trait;
use frontdesk_api::{
    ChatEvent, ChatReply, ChatRequest, Cx, Effort, Error, Frame, Inference, Kind, Result,
    attempt::{Attempt, Outcome},
    chat::{Chat, FinishReason, Reuse, Usage},
    embed::{EmbedRequest, Embeddings},
    inference::Model,
};
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::observed::Observed;
use crate::testing::{Answer, Frames, TestGateway, frame};

/// The value of a line of `/metrics`, by its name and labels as they are written there; 0 where there is none.
async fn value(gateway: &TestGateway, series: &str) -> f64 {
    let answer = gateway.get("/metrics").await;
    let found = answer.text().lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    found.unwrap_or_default()
}

async fn all(gateway: &TestGateway) -> String {
    gateway.get("/metrics").await.text().to_owned()
}

fn question(model: &str, stream: bool) -> Value {
    json!({ "model": model, "stream": stream, "messages": [{ "role": "user", "content": "the secret word" }] })
}

async fn ask(gateway: &TestGateway, model: &str, stream: bool) -> Answer {
    gateway.post("/v1/chat/completions", &question(model, stream)).await
}

/// A stream of two pieces and what it cost.
fn two_pieces() -> Vec<Result<Frame>> {
    let usage =
        Usage { input_tokens: 7, output_tokens: 3, cached_input_tokens: 5, reasoning_tokens: 2, ..Usage::default() };
    let text = |text: &str| ChatEvent::Text { choice: 0, text: text.into() };
    let finish = ChatEvent::Finish { choice: 0, reason: FinishReason::Stop };
    vec![
        Ok(Frame { events: vec![text("an answer")], ..frame("data: {\"a\":1}\n\n") }),
        Ok(Frame { events: vec![text(" of words"), finish, ChatEvent::Usage(usage)], ..frame("data: {\"a\":2}\n\n") }),
    ]
}

const ECHO: &str = r#"gen_ai_operation_name="chat",gen_ai_provider_name="up",gen_ai_request_model="up/echo",gen_ai_response_model="echo""#;

#[tokio::test]
async fn a_stream_moves_each_counter_by_what_it_was() {
    let gateway = TestGateway::start(Frames { streaming: true, frames: two_pieces }).await;
    for _ in 0..2 {
        assert_eq!(ask(&gateway, "up/echo", true).await.status, 200);
    }
    for (series, want) in [
        (format!("gen_ai_client_operation_duration_seconds_count{{error_type=\"\",{ECHO}}}"), 2.0),
        (format!("gen_ai_client_operation_time_to_first_chunk_seconds_count{{{ECHO}}}"), 2.0),
        (format!("gen_ai_client_operation_time_per_output_chunk_seconds_count{{{ECHO}}}"), 2.0),
        (format!("gen_ai_server_request_duration_seconds_count{{error_type=\"\",{ECHO}}}"), 2.0),
        (format!("gen_ai_server_time_to_first_token_seconds_count{{{ECHO}}}"), 2.0),
        (format!("gen_ai_server_time_per_output_token_seconds_count{{{ECHO}}}"), 2.0),
        (format!("gen_ai_client_token_usage_sum{{{ECHO},gen_ai_token_type=\"input\"}}"), 14.0),
        (format!("gen_ai_client_token_usage_sum{{{ECHO},gen_ai_token_type=\"output\"}}"), 6.0),
        (format!("frontdesk_tokens_cached_input_total{{{ECHO}}}"), 10.0),
        (format!("frontdesk_tokens_reasoning_output_total{{{ECHO}}}"), 4.0),
        (r#"http_server_request_duration_seconds_count{http_request_method="POST",http_response_status_code="200",http_route="/v1/chat/completions"}"#.into(), 2.0),
        ("frontdesk_overhead_seconds_count".into(), 2.0),
        ("frontdesk_streams_open".into(), 0.0),
        // This look itself.
        ("http_server_active_requests".into(), 1.0),
    ] {
        assert_eq!(value(&gateway, &series).await, want, "{series}\n{}", all(&gateway).await);
    }
}

#[tokio::test]
async fn a_whole_answer_is_no_stream() {
    let gateway = TestGateway::start(Frames::whole()).await;
    assert_eq!(ask(&gateway, "default", false).await.status, 200);
    let default = ECHO.replace("up/echo", "default");
    let series = format!("gen_ai_client_operation_duration_seconds_count{{error_type=\"\",{default}}}");
    assert_eq!(value(&gateway, &series).await, 1.0);
    assert_eq!(value(&gateway, "frontdesk_overhead_seconds_count").await, 1.0);
    let shown = all(&gateway).await;
    assert!(!shown.contains("time_to_first"), "{shown}");
    assert!(!shown.contains("gen_ai_client_token_usage"), "no usage was told: {shown}");
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_once_as_cancelled() {
    let gateway = TestGateway::start(Frames { streaming: true, frames: two_pieces }).await;
    let request = gateway.request("POST", "/v1/chat/completions");
    let request = request.body(question("up/echo", true).to_string().into()).expect("a request");
    let response = gateway.begin(request).await;
    assert_eq!(value(&gateway, "frontdesk_streams_open").await, 1.0);
    assert_eq!(value(&gateway, "http_server_active_requests").await, 2.0);
    drop(response);
    assert_eq!(value(&gateway, "frontdesk_streams_open").await, 0.0);
    for family in ["gen_ai_client_operation_duration", "gen_ai_server_request_duration"] {
        let series = format!("{family}_seconds_count{{error_type=\"cancelled\",{ECHO}}}");
        assert_eq!(value(&gateway, &series).await, 1.0, "{}", all(&gateway).await);
    }
    assert!(!all(&gateway).await.contains("time_to_first_token"));
}

#[tokio::test]
async fn names_that_nothing_answers_to_make_no_series() {
    let gateway = TestGateway::start(Frames::whole()).await;
    for i in 0..300 {
        assert_eq!(ask(&gateway, &format!("up/made-up-{i}"), false).await.status, 404);
        assert_eq!(gateway.get(&format!("/v1/nowhere/{i}")).await.status, 404);
    }
    let shown = all(&gateway).await;
    assert!(!shown.contains("made-up") && !shown.contains("nowhere"), "{shown}");
    let other = r#"gen_ai_client_operation_duration_seconds_count{error_type="not_found",gen_ai_operation_name="chat",gen_ai_provider_name="other",gen_ai_request_model="other",gen_ai_response_model="other"}"#;
    assert_eq!(value(&gateway, other).await, 300.0);
    let nowhere = r#"http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="404",http_route=""}"#;
    assert_eq!(value(&gateway, nowhere).await, 300.0);
}

#[tokio::test]
async fn what_was_said_is_never_among_the_numbers() {
    let gateway = TestGateway::start(Frames { streaming: true, frames: two_pieces }).await;
    ask(&gateway, "up/echo", true).await;
    let shown = all(&gateway).await;
    for said in ["secret", "an answer", "frontdesk-tests-admin-key", "default_tenant", "tenant"] {
        assert!(!shown.contains(said), "{said}: {shown}");
    }
}

/// Embeds everything as the same two numbers.
struct Embeds;

#[async_trait]
impl Inference for Embeds {
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
        Frames::whole().chat(cx, request).await
    }

    async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
        Frames::whole().models(cx).await
    }

    async fn embed(&self, _: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        let usage = Some(Usage { input_tokens: 3, ..Usage::default() });
        Ok(Embeddings {
            provider: "up".into(),
            model: request.model,
            raw: None,
            vectors: vec![vec![0.5, 1.0]],
            usage,
            reuse: None,
            effort: Effort::default(),
        })
    }
}

#[tokio::test]
async fn embeddings_are_an_operation_of_their_own_and_put_no_tokens_out() {
    let gateway = TestGateway::start(Embeds).await;
    let answer = gateway.post("/v1/embeddings", &json!({ "model": "up/echo", "input": "the secret word" })).await;
    assert_eq!(answer.status, 200, "{}", answer.shown());
    let echo = ECHO.replace(r#""chat""#, r#""embeddings""#);
    for (series, want) in [
        (format!("gen_ai_client_operation_duration_seconds_count{{error_type=\"\",{echo}}}"), 1.0),
        (format!("gen_ai_client_token_usage_sum{{{echo},gen_ai_token_type=\"input\"}}"), 3.0),
        ("frontdesk_overhead_seconds_count".into(), 1.0),
    ] {
        assert_eq!(value(&gateway, &series).await, want, "{series}\n{}", all(&gateway).await);
    }
    assert!(!all(&gateway).await.contains(r#"gen_ai_token_type="output""#));
}

/// Fails as a route does that has tried everything.
struct Exhausted;

#[async_trait]
impl Inference for Exhausted {
    async fn chat(&self, _: &Cx, _: ChatRequest) -> Result<ChatReply> {
        let attempt = |outcome| Attempt {
            provider: "up".into(),
            model: "echo".into(),
            outcome,
            took: std::time::Duration::ZERO,
            usage: None,
        };
        let attempts = vec![attempt(Outcome::Failed(Kind::Timeout)), attempt(Outcome::Outrun)];
        Err(Error::upstream("nobody answers").with_tried(attempts))
    }

    async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
        Ok(vec![])
    }
}

#[tokio::test]
async fn attempts_that_came_to_nothing_are_counted_by_provider() {
    let gateway = TestGateway::start(Frames::whole()).await;
    // In the router's place, which alone tells of attempts.
    let observed = Observed::new(Arc::new(Exhausted), &gateway.app.telemetry);
    let asked = observed.chat(&Cx::internal("t", "r"), ChatRequest::typed("up/echo", Chat::default())).await;
    assert_eq!(asked.err().expect("nobody").kind, Kind::Upstream);
    for word in ["timeout", "outrun"] {
        let series = format!("frontdesk_attempts_lost_total{{error_type=\"{word}\",gen_ai_provider_name=\"up\"}}");
        assert_eq!(value(&gateway, &series).await, 1.0, "{}", all(&gateway).await);
    }
}

/// Answers from what a route kept.
struct Kept;

#[async_trait]
impl Inference for Kept {
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
        let mut reply = Frames::whole().chat(cx, request).await?;
        reply.head.reuse = Some(Reuse::Hit);
        Ok(reply)
    }

    async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
        Frames::whole().models(cx).await
    }
}

#[tokio::test]
async fn what_clients_are_served_counts_though_nobody_was_asked_and_what_agents_ask_does_not() {
    let gateway = TestGateway::start(Frames::whole()).await;
    let request = || ChatRequest::typed("echo", Chat::default());
    let client = Cx::internal("t", "r");
    let agent = Cx { turn: Some("turn_1".into()), ..client.clone() };
    let kept = Observed::new(Arc::new(Kept), &gateway.app.telemetry);
    let asked = Observed::new(Arc::new(Frames::whole()), &gateway.app.telemetry);
    for (observed, cx) in [(&kept, &client), (&kept, &client), (&asked, &agent)] {
        let frames: Vec<_> = observed.chat(cx, request()).await.expect("an answer").frames.collect().await;
        assert!(frames.iter().all(Result::is_ok));
    }
    for (family, want) in [("gen_ai_server_request_duration", 2.0), ("gen_ai_client_operation_duration", 1.0)] {
        let shown = all(&gateway).await;
        let counts = shown.lines().filter(|line| line.starts_with(&format!("{family}_seconds_count")));
        let sum: f64 = counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum();
        assert_eq!(sum, want, "{family}: {shown}");
    }
    let hit = r#"frontdesk_cache_answers_total{frontdesk_cache_result="hit",gen_ai_request_model="echo"}"#;
    assert_eq!(value(&gateway, hit).await, 2.0, "{}", all(&gateway).await);
}
