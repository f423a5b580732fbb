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
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use frontdesk_api::{ChatReply, ChatRequest, Cx, Error, Frame};
use frontdesk_wire::Writes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};

use crate::{
    app::App,
    http::{attempts, edge::Arrival},
    problem::{self, Problem},
};

/// Microseconds of the request in which no provider was waited for; of a stream, until its answer began. What a route
/// waits by itself counts: for a place, before another attempt.
pub const OVERHEAD: HeaderName = HeaderName::from_static("x-frontdesk-overhead-us");

/// Headers that an answer gets here and at the edge: room for them at once, since a full map is hashed anew.
const HEADERS: usize = 10;

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
    let reply = app.inference.chat(cx, request).await?;
    told_on(reply, wants_usage, arrival, writer).await
}

/// Tells an answer that has begun.
///
/// # Errors
/// As [`answer`].
pub async fn told_on<W: Writes>(
    reply: ChatReply,
    wants_usage: bool,
    arrival: Arrival,
    writer: impl FnOnce(String) -> W,
) -> Result<Response, Problem> {
    let ChatReply { head, frames } = reply;
    let (at, waited) = (arrival.at, head.effort.waited());
    let writer = (head.dialect != W::DIALECT).then(|| writer(head.model.clone()));
    if head.streaming {
        let mut response = match writer {
            Some(writer) => streamed_anew(frames, writer, arrival),
            None => streamed::<W>(frames, wants_usage, arrival),
        };
        attempts::write_answered(response.headers_mut(), &head);
        return Ok(told(response, at.elapsed().saturating_sub(waited)));
    }
    let begun = Instant::now();
    let body = body(&head.provider, frames, writer).await;
    let rest = begun.elapsed();
    let body = match body {
        Ok(body) => body,
        Err(error) => return Err(attempts::failed(head, error, rest).into()),
    };
    let mut response = answered(body, at.elapsed().saturating_sub(waited + rest));
    attempts::write_answered(response.headers_mut(), &head);
    Ok(response)
}

/// A whole answer's bytes; `writer` where the provider speaks another dialect than the client.
///
/// # Errors
/// What broke the answer off; `Upstream` when it is empty.
pub async fn body<W: Writes>(provider: &str, frames: Frames, writer: Option<W>) -> frontdesk_api::Result<Bytes> {
    let body = match writer {
        Some(writer) => whole_anew(frames, writer).await?,
        None => whole(frames).await?,
    };
    body.ok_or_else(|| Error::upstream(format!("the provider '{provider}' answered with an empty body")))
}

/// What an answer comes as.
pub type Frames = BoxStream<'static, frontdesk_api::Result<Frame>>;

/// The bytes as the provider sent them; None: not one frame.
async fn whole(mut frames: Frames) -> frontdesk_api::Result<Option<Bytes>> {
    let Some(first) = frames.next().await else { return Ok(None) };
    let first = first?.raw;
    let Some(second) = frames.next().await else { return Ok(Some(first)) };
    let mut body = BytesMut::from(first);
    body.extend_from_slice(&second?.raw);
    while let Some(frame) = frames.next().await {
        body.extend_from_slice(&frame?.raw);
    }
    Ok(Some(body.freeze()))
}

/// None: nothing that means anything.
async fn whole_anew(mut frames: Frames, writer: impl Writes) -> frontdesk_api::Result<Option<Bytes>> {
    let mut events = vec![];
    while let Some(frame) = frames.next().await {
        events.extend(frame?.events);
    }
    Ok((!events.is_empty()).then(|| writer.whole(events)))
}

/// A whole answer. `overhead`: what was spent here and not upstream.
pub fn answered(body: Bytes, overhead: Duration) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().reserve(HEADERS);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    told(response, overhead)
}

fn told(mut response: Response, overhead: Duration) -> Response {
    say_overhead(response.headers_mut(), overhead);
    response
}

/// Says the overhead, to the client and to the metrics, which read this header (`telemetry/requests.rs`).
pub fn say_overhead(headers: &mut HeaderMap, overhead: Duration) {
    headers.insert(OVERHEAD, HeaderValue::from(u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX)));
}

/// `wants_usage`: whether the client asked for the frame that holds nothing but usage.
fn streamed<W: Writes>(frames: Frames, wants_usage: bool, arrival: Arrival) -> Response {
    let frames = frames.filter_map(move |frame| {
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
fn streamed_anew<W: Writes>(frames: Frames, writer: W, arrival: Arrival) -> Response {
    let mut writer = Some(writer);
    let frames = frames.map(Some).chain(stream::once(std::future::ready(None)));
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
    headers.reserve(HEADERS);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx: do not buffer this answer.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}
