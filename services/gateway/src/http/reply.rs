//! A provider's answer on its way to a client, whole or streamed, whatever dialects the two speak.
//!
//! Where both speak the same, the provider's bytes go out as they came; else the answer is written out of its events
//! (`wire::Writes`). Dropping the response (the client left) drops the reply, which stops the work upstream.
//! Invariant: an answer that broke off ends with an error and nothing behind it.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use frontdesk_api::{ChatReply, ChatRequest, Cx, Error};
use frontdesk_wire::Writes;
use futures::{StreamExt, stream};

use crate::{
    app::App,
    http::edge::Arrival,
    problem::{self, Problem},
};

/// Microseconds of the request that were spent here and not upstream; of a stream, until upstream was asked.
pub const OVERHEAD: HeaderName = HeaderName::from_static("x-frontdesk-overhead-us");

/// Asks for a chat and answers it. `writer` is made, with the name of the model upstream, where the provider speaks
/// another dialect than the client.
///
/// # Errors
/// As [`frontdesk_api::Inference::chat`]; `Upstream` for a whole answer that is empty.
pub async fn answer<W: Writes>(
    app: &App,
    cx: &Cx,
    request: ChatRequest,
    arrival: Arrival,
    writer: impl FnOnce(String) -> W,
) -> Result<Response, Problem> {
    let wants_usage = request.wants_usage;
    let asked = Instant::now();
    let before = asked.saturating_duration_since(arrival.at);
    let reply = app.inference.chat(cx, request).await?;
    let writer = (reply.head.dialect != W::DIALECT).then(|| writer(reply.head.model.clone()));
    let body = match writer {
        Some(writer) if reply.head.streaming => {
            return Ok(told(streamed_anew(reply, writer, arrival), before));
        }
        None if reply.head.streaming => {
            return Ok(told(streamed::<W>(reply, wants_usage, arrival), before));
        }
        Some(writer) => whole_anew(reply, writer).await?,
        None => whole(reply).await?,
    };
    let upstream = asked.elapsed();
    Ok(answered(body, arrival.at.elapsed().saturating_sub(upstream)))
}

/// The bytes as the provider sent them.
async fn whole(mut reply: ChatReply) -> frontdesk_api::Result<Bytes> {
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

async fn whole_anew(mut reply: ChatReply, writer: impl Writes) -> frontdesk_api::Result<Bytes> {
    let mut events = vec![];
    while let Some(frame) = reply.frames.next().await {
        events.extend(frame?.events);
    }
    if events.is_empty() {
        return Err(empty(&reply));
    }
    Ok(writer.whole(events))
}

fn empty(reply: &ChatReply) -> Error {
    Error::upstream(format!("the provider '{}' answered with an empty body", reply.head.provider))
}

/// A whole answer. `overhead`: what was spent here and not upstream.
pub fn answered(body: Bytes, overhead: Duration) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    told(response, overhead)
}

/// Says the overhead, to the client and to the metrics, which read this header (`telemetry/requests.rs`).
fn told(mut response: Response, overhead: Duration) -> Response {
    let micros = u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX);
    response.headers_mut().insert(OVERHEAD, HeaderValue::from(micros));
    response
}

/// `wants_usage`: whether the client asked for the frame that holds nothing but usage.
fn streamed<W: Writes>(reply: ChatReply, wants_usage: bool, arrival: Arrival) -> Response {
    let frames = reply.frames.filter_map(move |frame| {
        let shown = match frame {
            Ok(frame) if frame.raw.is_empty() || (frame.usage_only && !wants_usage) => None,
            Ok(frame) => Some(frame.raw),
            Err(error) => Some(problem::sse_frame_in::<W>(&error, &arrival.id)),
        };
        std::future::ready(shown.map(Ok::<Bytes, Infallible>))
    });
    event_stream(Body::from_stream(frames))
}

/// As [`streamed`], in another dialect than the provider's.
fn streamed_anew<W: Writes>(reply: ChatReply, writer: W, arrival: Arrival) -> Response {
    let mut writer = Some(writer);
    let frames = reply.frames.map(Some).chain(stream::once(std::future::ready(None)));
    let frames = frames.filter_map(move |frame| {
        let shown = match (frame, &mut writer) {
            (Some(Ok(frame)), Some(writer)) => writer.push(frame.events),
            // An answer that broke off has no end.
            (Some(Err(error)), writer) => {
                *writer = None;
                problem::sse_frame_in::<W>(&error, &arrival.id)
            }
            (_, writer) => writer.take().map(W::end).unwrap_or_default(),
        };
        std::future::ready((!shown.is_empty()).then_some(Ok::<Bytes, Infallible>(shown)))
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
