//! `POST /v1/chat/completions`, streamed and not.
//!
//! The body is looked at just enough to route it; the provider's bytes go to the client as they came, unless
//! the provider speaks another dialect: then the answer is written out of its events.
//! Dropping the answer (the client left) drops the reply, which stops the work upstream.

use std::time::{Duration, Instant};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use frontdesk_api::{ChatReply, Error, chat::Dialect, clock::unix_seconds};
use frontdesk_wire::openai::{self, encode};
use futures::{StreamExt, stream};

use crate::{
    app::App,
    auth::Caller,
    http::{edge::Arrival, extract::Raw},
    problem::{self, Problem},
};

/// Microseconds of the request that were spent here and not upstream.
pub const OVERHEAD: HeaderName = HeaderName::from_static("x-frontdesk-overhead-us");

/// Answer a chat
///
/// OpenAI's request and answer, unknown members included. `model` is `provider/model` or an alias.
/// With `stream: true` the answer comes as server-sent events and ends with `data: [DONE]`; an error
/// after the first event comes as an event `{"error": …}`.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "inference",
    request_body(content = ChatCompletionRequest, description = "OpenAI's chat completion request"),
    responses((status = 200, description = "OpenAI's chat completion, or its event stream", body = serde_json::Value))
)]
pub async fn create(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    Caller(cx): Caller,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let request = openai::peek::request(body)?;
    let wants_usage = request.wants_usage;
    let asked = Instant::now();
    let reply = app.inference.chat(&cx, request).await?;
    let translated = (reply.head.dialect != Dialect::OpenaiChat).then(|| encode::Head {
        id: format!("chatcmpl-{}", arrival.id),
        model: reply.head.model.clone(),
        created: unix_seconds(app.clock.now()),
    });
    let body = match translated {
        Some(head) if reply.head.streaming => return Ok(streamed_anew(reply, head, wants_usage, arrival)),
        None if reply.head.streaming => return Ok(streamed(reply, wants_usage, arrival)),
        Some(head) => whole_anew(reply, head).await?,
        None => whole(reply).await?,
    };
    let upstream = asked.elapsed();
    Ok(answered(body, arrival.at.elapsed().saturating_sub(upstream)))
}

/// The request's members that Frontdesk itself reads; all others travel on as they are.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)] // describes the wire; the codec reads it
pub struct ChatCompletionRequest {
    /// `provider/model` or an alias.
    #[schema(example = "openai/gpt-4o-mini")]
    model: String,
    messages: Vec<serde_json::Value>,
    /// Answer as server-sent events.
    stream: Option<bool>,
}

/// The bytes of a whole answer, as the provider sent them.
///
/// # Errors
/// The answer's own; `Upstream` for an empty one.
pub(crate) async fn whole(mut reply: ChatReply) -> frontdesk_api::Result<Bytes> {
    let Some(first) = reply.frames.next().await else { return Err(empty(&reply)) };
    let first = first?.raw;
    let Some(second) = reply.frames.next().await else { return Ok(first) };
    let mut body = BytesMut::from(first);
    body.extend_from_slice(&second?.raw);
    while let Some(frame) = reply.frames.next().await {
        body.extend_from_slice(&frame?.raw);
    }
    Ok(body.freeze())
}

async fn whole_anew(mut reply: ChatReply, head: encode::Head) -> frontdesk_api::Result<Bytes> {
    let mut events = vec![];
    while let Some(frame) = reply.frames.next().await {
        events.extend(frame?.events);
    }
    if events.is_empty() {
        return Err(empty(&reply));
    }
    Ok(encode::whole(head, events).into())
}

fn empty(reply: &ChatReply) -> Error {
    Error::upstream(format!("the provider '{}' answered with an empty body", reply.head.provider))
}

/// A whole answer. `overhead`: what was spent here and not upstream.
pub(crate) fn answered(body: Bytes, overhead: Duration) -> Response {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(OVERHEAD, HeaderValue::from(u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX)));
    response
}

fn streamed(reply: ChatReply, wants_usage: bool, arrival: Arrival) -> Response {
    let frames = reply.frames.filter_map(move |frame| {
        let shown = match frame {
            Ok(frame) if frame.raw.is_empty() || (frame.usage_only && !wants_usage) => None,
            Ok(frame) => Some(frame.raw),
            Err(error) => Some(problem::sse_frame(&error, &arrival.id)),
        };
        std::future::ready(shown.map(Ok::<Bytes, std::convert::Infallible>))
    });
    event_stream(Body::from_stream(frames))
}

/// As [`streamed`], in another dialect than the provider's.
fn streamed_anew(reply: ChatReply, head: encode::Head, wants_usage: bool, arrival: Arrival) -> Response {
    let mut chunks = Some(encode::Chunks::new(head, wants_usage));
    let frames = reply.frames.map(Some).chain(stream::once(std::future::ready(None)));
    let frames = frames.filter_map(move |frame| {
        let shown = match (frame, &mut chunks) {
            (Some(Ok(frame)), Some(chunks)) => chunks.push(frame.events),
            // An answer that broke off has no end.
            (Some(Err(error)), chunks) => {
                *chunks = None;
                problem::sse_frame(&error, &arrival.id)
            }
            (_, chunks) => chunks.take().map(encode::Chunks::end).unwrap_or_default(),
        };
        std::future::ready((!shown.is_empty()).then_some(Ok::<Bytes, std::convert::Infallible>(shown)))
    });
    event_stream(Body::from_stream(frames))
}

/// A response of server-sent events that no proxy should hold back.
#[must_use]
pub fn event_stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx: do not buffer this answer.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Frames, TestGateway, frame};
    use async_trait::async_trait;
    use frontdesk_api::{
        ChatEvent, ChatRequest, Cx, Frame, Inference,
        chat::{FinishReason, Usage},
        inference::Model,
    };

    /// Says what [`Frames`] says in a dialect that no client here reads.
    struct Foreign(Frames);

    #[async_trait]
    impl Inference for Foreign {
        async fn chat(&self, cx: &Cx, request: ChatRequest) -> frontdesk_api::Result<ChatReply> {
            assert!(request.needs_events(Dialect::AnthropicMessages));
            let mut reply = self.0.chat(cx, request).await?;
            reply.head.dialect = Dialect::AnthropicMessages;
            Ok(reply)
        }

        async fn models(&self, cx: &Cx) -> frontdesk_api::Result<Vec<Model>> {
            self.0.models(cx).await
        }
    }

    /// What an answer of one word means, in two frames.
    fn one_word() -> Vec<frontdesk_api::Result<Frame>> {
        let usage = Usage { input_tokens: 3, output_tokens: 1, ..Usage::default() };
        let text = ChatEvent::Text { choice: 0, text: "hi".into() };
        let finish = ChatEvent::Finish { choice: 0, reason: FinishReason::Stop };
        vec![
            Ok(Frame { events: vec![text], ..frame("foreign bytes") }),
            Ok(Frame { events: vec![finish, ChatEvent::Usage(usage)], ..frame("more of them") }),
        ]
    }

    fn question(stream: bool) -> serde_json::Value {
        json!({ "model": "up/echo", "stream": stream, "messages": [{ "role": "user", "content": "hi" }] })
    }

    #[tokio::test]
    async fn an_answer_is_the_providers_bytes() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let answer = gateway.post("/v1/chat/completions", &question(false)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.text(), r#"{"id":"c1","choices":[],"x_vendor":{"kept":true}}"#);
        assert_eq!(answer.headers["content-type"], "application/json");
        answer.headers[OVERHEAD].to_str().expect("text").parse::<u64>().expect("microseconds");
    }

    #[tokio::test]
    async fn an_alias_is_answered_by_its_target() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let mut body = question(false);
        body["model"] = json!("default");
        assert_eq!(gateway.post("/v1/chat/completions", &body).await.status, 200);
    }

    #[tokio::test]
    async fn a_stream_hides_the_usage_that_was_not_asked_for() {
        let frames = || {
            vec![
                Ok(frame("data: {\"a\":1}\n\n")),
                Ok(Frame { usage_only: true, ..frame("data: {\"usage\":1}\n\n") }),
                Ok(frame("data: [DONE]\n\n")),
            ]
        };
        let gateway = TestGateway::start(Frames { streaming: true, frames }).await;
        let answer = gateway.post("/v1/chat/completions", &question(true)).await;
        assert_eq!(answer.text(), "data: {\"a\":1}\n\ndata: [DONE]\n\n");
        assert_eq!(answer.headers["content-type"], "text/event-stream; charset=utf-8");
        assert_eq!(answer.headers["x-accel-buffering"], "no");
        let mut asked = question(true);
        asked["stream_options"] = json!({ "include_usage": true });
        let answer = gateway.post("/v1/chat/completions", &asked).await;
        assert_eq!(answer.text(), "data: {\"a\":1}\n\ndata: {\"usage\":1}\n\ndata: [DONE]\n\n");
    }

    #[tokio::test]
    async fn an_error_after_the_first_byte_is_an_event() {
        let frames = || vec![Ok(frame("data: {\"a\":1}\n\n")), Err(Error::upstream("provider 'up' broke off"))];
        let gateway = TestGateway::start(Frames { streaming: true, frames }).await;
        let answer = gateway.post("/v1/chat/completions", &question(true)).await;
        assert_eq!(answer.status, 200);
        let last = answer.text().strip_prefix("data: {\"a\":1}\n\ndata: ").expect("the first event, then the error");
        let error: serde_json::Value = serde_json::from_str(last.trim_end()).expect("JSON");
        assert_eq!(error["error"]["type"], "upstream_error");
        assert_eq!(error["request_id"], answer.headers["x-request-id"].to_str().expect("text"));
    }

    #[tokio::test]
    async fn a_foreign_answer_is_written_in_the_clients_dialect() {
        let gateway = TestGateway::start(Foreign(Frames { streaming: false, frames: one_word })).await;
        insta::assert_snapshot!(gateway.post("/v1/chat/completions", &question(false)).await.shown(), @r#"
        200
        {
          "choices": [
            {
              "finish_reason": "stop",
              "index": 0,
              "logprobs": null,
              "message": {
                "content": "hi",
                "refusal": null,
                "role": "assistant"
              }
            }
          ],
          "created": 1795492101,
          "id": "chatcmpl-req_00000000000000000000000002",
          "model": "echo",
          "object": "chat.completion",
          "usage": {
            "completion_tokens": 1,
            "completion_tokens_details": {
              "reasoning_tokens": 0
            },
            "prompt_tokens": 3,
            "prompt_tokens_details": {
              "cached_tokens": 0
            },
            "total_tokens": 4
          }
        }
        "#);
        let none = Foreign(Frames { streaming: false, frames: Vec::new });
        assert_eq!(TestGateway::start(none).await.post("/v1/chat/completions", &question(false)).await.status, 502);
    }

    #[tokio::test]
    async fn a_foreign_stream_ends_with_done_or_with_an_error_alone() {
        let gateway = TestGateway::start(Foreign(Frames { streaming: true, frames: one_word })).await;
        let answer = gateway.post("/v1/chat/completions", &question(true)).await;
        assert_eq!(answer.headers["content-type"], "text/event-stream; charset=utf-8");
        let data: Vec<&str> = answer.text().split_terminator("\n\n").collect();
        assert_eq!((data.len(), data[2]), (3, "data: [DONE]"));
        assert!(data[0].contains(r#""content":"hi""#) && !answer.text().contains("foreign"), "{}", answer.text());

        let broken = || vec![one_word().remove(0), Err(Error::upstream("provider 'up' broke off"))];
        let gateway = TestGateway::start(Foreign(Frames { streaming: true, frames: broken })).await;
        let answer = gateway.post("/v1/chat/completions", &question(true)).await;
        let data: Vec<&str> = answer.text().split_terminator("\n\n").collect();
        assert!(data.len() == 2 && data[1].contains("upstream_error"), "{}", answer.text());
    }

    #[tokio::test]
    async fn an_unknown_model_is_404_with_the_nearest() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let mut body = question(false);
        body["model"] = json!("ecoh");
        insta::assert_snapshot!(gateway.post("/v1/chat/completions", &body).await.shown(), @r#"
        404
        {
          "error": {
            "code": "model_not_found",
            "message": "model 'ecoh' does not exist; the nearest are: up/echo, default",
            "param": "model",
            "type": "not_found_error"
          },
          "request_id": "req_00000000000000000000000002"
        }
        "#);
    }

    #[tokio::test]
    async fn an_empty_answer_of_a_provider_is_its_fault() {
        let gateway = TestGateway::start(Frames { streaming: false, frames: Vec::new }).await;
        let answer = gateway.post("/v1/chat/completions", &question(false)).await;
        assert_eq!(answer.status, 502);
    }
}
