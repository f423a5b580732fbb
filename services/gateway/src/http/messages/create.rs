//! `POST /v1/messages`, streamed and not: Anthropic's way to ask any model here.
//!
//! The body is looked at just enough to route it; how it is answered is `http::reply`.

use axum::{Extension, extract::State, response::Response};
use frontdesk_wire::anthropic::{self, answer::Answer, stream::Writer};

use crate::{
    app::App,
    auth::Caller,
    http::{
        edge::Arrival,
        extract::{Key, Raw},
        messages::chosen::Chosen,
        reply,
    },
    problem::Problem,
};

/// Create a message
///
/// Anthropic's request and answer, for the model of any provider. `model` is `provider/model`, an alias,
/// or `agent/NAME` for a stored agent.
/// With `stream: true` the answer comes as Anthropic's events and ends with `message_stop`; an error after the first
/// event comes as an event `error`. Errors have Anthropic's shape: `{"type": "error", "error": {"type", "message"},
/// "request_id"}`, and a model that is not ready is 529, `overloaded_error`.
///
/// Where the provider speaks another dialect the request is translated: what only Anthropic's own service can do
/// (its server tools, `container`, `mcp_servers`, `inference_geo`, files by id, continuing the assistant's message) is
/// an error; hints (`thinking`, `cache_control`, `service_tier`) are left out where the provider has no such notion;
/// members that Anthropic's API does not have travel on as they are.
#[utoipa::path(
    post, path = "/v1/messages", tag = "inference",
    params(
        ("anthropic-version" = Option<String>, Header, description = "Version of the API; sent on to a provider of type `anthropic`, whose configuration has it where it is absent."),
        ("Idempotency-Key" = Option<String>, Header, description = "With an agent: its answer goes on when the client leaves, and the same request gets it"),
        ("anthropic-beta" = Option<String>, Header, description = "Features in beta, with commas between them; sent on to a provider of type `anthropic`, beside those of its configuration."),
    ),
    request_body(content = CreateMessageRequest, description = "Anthropic's request to create a message"),
    responses((status = 200, description = "Anthropic's message, or its event stream", body = serde_json::Value))
)]
pub async fn create(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    Caller(cx): Caller,
    Chosen(headers): Chosen,
    Key(key): Key,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let mut request = anthropic::peek::request(body)?;
    (request.headers, request.idempotency_key) = (headers, key);
    let id = format!("msg_{}", arrival.id);
    reply::answer(&app, &cx, request, arrival, |model| Writer::new(Answer::new(id, model))).await
}

/// The request's members that Frontdesk itself reads; all others are for the provider.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)] // describes the wire; the codec reads it
pub struct CreateMessageRequest {
    /// `provider/model` or an alias.
    #[schema(example = "anthropic/claude-haiku-4-5")]
    model: String,
    /// The most tokens that the answer may have.
    max_tokens: u32,
    messages: Vec<Message>,
    /// Answer as server-sent events.
    stream: Option<bool>,
}

/// A message of the conversation.
#[derive(utoipa::ToSchema)]
#[schema(as = AnthropicMessage)]
#[allow(dead_code)] // describes the wire; the codec reads it
pub struct Message {
    /// `user` or `assistant`.
    role: String,
    /// Text, or a list of content blocks.
    content: serde_json::Value,
}

/// A provider whose own dialect this is.
#[cfg(test)]
pub(crate) mod native {
    use async_trait::async_trait;
    use frontdesk_api::{
        ChatReply, ChatRequest, Cx, Inference, Result,
        chat::Dialect,
        inference::{Counted, Model},
    };

    use crate::testing::Frames;

    pub(crate) struct Native(pub(crate) Frames);

    #[async_trait]
    impl Inference for Native {
        async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
            assert!(!request.needs_events(Dialect::AnthropicMessages), "its bytes are passed on");
            let mut reply = self.0.chat(cx, request).await?;
            reply.head.dialect = Dialect::AnthropicMessages;
            Ok(reply)
        }

        async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
            self.0.models(cx).await
        }

        async fn count_tokens(&self, _: &Cx, request: ChatRequest) -> Result<Option<Counted>> {
            assert_eq!(request.model, "echo");
            let raw = (Dialect::AnthropicMessages, bytes::Bytes::from_static(br#"{"input_tokens":7, "x":1.50}"#));
            Ok(Some(Counted { tokens: 7, raw: Some(raw) }))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use frontdesk_api::{
        ChatEvent, Error, Frame,
        chat::{FinishReason, Usage},
    };
    use serde_json::json;

    use super::native::Native;
    use crate::testing::{Frames, TestGateway, frame};

    fn question(stream: bool) -> serde_json::Value {
        json!({ "model": "up/echo", "max_tokens": 9, "stream": stream, "messages": [{ "role": "user", "content": "hi" }] })
    }

    fn events(events: Vec<ChatEvent>) -> frontdesk_api::Result<Frame> {
        // The bytes of another dialect: nobody may see them here.
        Ok(Frame { events, ..frame("data: {\"choices\":[]}\n\n") })
    }

    fn hello() -> Vec<ChatEvent> {
        vec![
            ChatEvent::Start { id: "c1".into(), model: "echo".into(), created: 1 },
            ChatEvent::Text { choice: 0, text: "hello".into() },
        ]
    }

    fn bye() -> Vec<ChatEvent> {
        let usage = Usage { input_tokens: 3, output_tokens: 1, cached_input_tokens: 2, ..Usage::default() };
        vec![ChatEvent::Finish { choice: 0, reason: FinishReason::Stop }, ChatEvent::Usage(usage)]
    }

    #[tokio::test]
    async fn the_answer_of_another_dialect_is_written_out_of_its_events() {
        let frames = || vec![events([hello(), bye()].concat())];
        let gateway = TestGateway::start(Frames { streaming: false, frames }).await;
        let answer = gateway.post("/v1/messages", &question(false)).await;
        insta::assert_snapshot!(answer.shown(), @r#"
        200
        {
          "id": "c1",
          "type": "message",
          "role": "assistant",
          "model": "echo",
          "content": [
            {
              "type": "text",
              "text": "hello"
            }
          ],
          "stop_reason": "end_turn",
          "stop_sequence": null,
          "usage": {
            "input_tokens": 1,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 2,
            "output_tokens": 1
          }
        }
        "#);
        assert_eq!(answer.headers["request-id"], answer.headers["x-request-id"]);
        assert!(answer.headers.contains_key("x-frontdesk-overhead-us"));
    }

    #[tokio::test]
    async fn a_stream_of_another_dialect_is_written_out_of_its_events() {
        let frames = || vec![events(hello()), Ok(frame("data: [DONE]\n\n")), events(bye())];
        let gateway = TestGateway::start(Frames { streaming: true, frames }).await;
        let answer = gateway.post("/v1/messages", &question(true)).await;
        assert_eq!(answer.headers["content-type"], "text/event-stream; charset=utf-8");
        let names: Vec<&str> = answer.text().lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        let want = [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ];
        assert_eq!(names, want);
        assert!(!answer.text().contains("choices") && !answer.text().contains("[DONE]"), "{}", answer.text());
    }

    #[tokio::test]
    async fn an_error_after_the_first_byte_is_an_event_and_the_last() {
        let frames = || vec![events(hello()), Err(Error::upstream("provider 'up' broke off")), events(bye())];
        let gateway = TestGateway::start(Frames { streaming: true, frames }).await;
        let answer = gateway.post("/v1/messages", &question(true)).await;
        let (_, last) = answer.text().split_once("event: error\ndata: ").expect("an error");
        let error: serde_json::Value = serde_json::from_str(last.trim_end()).expect("one event");
        let want = json!({
            "type": "error",
            "error": { "type": "api_error", "message": "provider 'up' broke off" },
            "request_id": answer.headers["request-id"].to_str().expect("text"),
        });
        assert_eq!(error, want);
    }

    #[tokio::test]
    async fn the_bytes_of_a_provider_of_this_dialect_go_out_as_they_came() {
        let gateway = TestGateway::start(Native(Frames::whole())).await;
        let answer = gateway.post("/v1/messages", &question(false)).await;
        assert_eq!(answer.text(), r#"{"id":"c1","choices":[],"x_vendor":{"kept":true}}"#);
        let frames = || vec![Ok(frame("event: ping\ndata: {}\n\n")), Ok(frame("event: new\ndata: {\"a\":1}\n\n"))];
        let gateway = TestGateway::start(Native(Frames { streaming: true, frames })).await;
        let answer = gateway.post("/v1/messages", &question(true)).await;
        assert_eq!(answer.text(), "event: ping\ndata: {}\n\nevent: new\ndata: {\"a\":1}\n\n");
    }

    #[tokio::test]
    async fn an_unknown_model_is_404_in_anthropics_shape() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let mut body = question(false);
        body["model"] = json!("ecoh");
        insta::assert_snapshot!(gateway.post("/v1/messages", &body).await.shown(), @r#"
        404
        {
          "type": "error",
          "error": {
            "type": "not_found_error",
            "message": "model 'ecoh' does not exist; the nearest are: up/echo, default",
            "details": {
              "error_code": "model_not_found",
              "param": "model"
            }
          },
          "request_id": "req_00000000000000000000000002"
        }
        "#);
    }

    #[tokio::test]
    async fn every_failure_on_these_paths_has_anthropics_shape() {
        let frames = || vec![Err(Error::unavailable("loading"))];
        let gateway = TestGateway::start(Frames { streaming: false, frames }).await;
        let mut panics = question(false);
        panics["model"] = json!("up/panic");
        let unauthenticated = http::Request::builder().method("POST").uri("/v1/messages");
        let unauthenticated = gateway.send(unauthenticated.body(Body::empty()).expect("a request")).await;
        for (answer, status, kind) in [
            (unauthenticated, 401, "authentication_error"),
            (gateway.get("/v1/messages").await, 405, "invalid_request_error"),
            (gateway.get("/v1/messages/batches/none").await, 404, "not_found_error"),
            (gateway.post_text("/v1/messages", "{").await, 400, "invalid_request_error"),
            (gateway.post_text("/v1/messages", &"x".repeat(33 << 20)).await, 413, "request_too_large"),
            (gateway.post("/v1/messages", &question(false)).await, 529, "overloaded_error"),
            (gateway.post("/v1/messages", &panics).await, 500, "api_error"),
        ] {
            let body = answer.json();
            assert_eq!((answer.status.as_u16(), &body["error"]["type"]), (status, &json!(kind)), "{body}");
            assert_eq!(
                (&body["type"], body["request_id"].as_str()),
                (&json!("error"), answer.headers["request-id"].to_str().ok())
            );
        }
        let elsewhere = gateway.get("/v1/messagesx").await;
        assert!(elsewhere.json().get("type").is_none() && !elsewhere.headers.contains_key("request-id"));
    }
}
