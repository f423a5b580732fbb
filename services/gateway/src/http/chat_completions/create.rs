//! `POST /v1/chat/completions`, streamed and not.
//!
//! The body is looked at just enough to route it; the provider's bytes go to the client as they came.
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
use frontdesk_api::{ChatReply, Error, Kind, chat::Dialect};
use frontdesk_wire::openai;
use futures::StreamExt;

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
    if reply.head.dialect != Dialect::OpenaiChat {
        let message = format!("the provider '{}' does not answer in OpenAI's chat dialect", reply.head.provider);
        return Err(Error::new(Kind::Internal, message).into());
    }
    if reply.head.streaming {
        return Ok(streamed(reply, wants_usage, arrival));
    }
    let body = whole(reply).await?;
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

async fn whole(mut reply: ChatReply) -> frontdesk_api::Result<Bytes> {
    let Some(first) = reply.frames.next().await else {
        return Err(Error::upstream(format!("the provider '{}' answered with an empty body", reply.head.provider)));
    };
    let first = first?.raw;
    let Some(second) = reply.frames.next().await else { return Ok(first) };
    let mut body = BytesMut::from(first);
    body.extend_from_slice(&second?.raw);
    while let Some(frame) = reply.frames.next().await {
        body.extend_from_slice(&frame?.raw);
    }
    Ok(body.freeze())
}

fn answered(body: Bytes, overhead: Duration) -> Response {
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
    use frontdesk_api::Frame;

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
