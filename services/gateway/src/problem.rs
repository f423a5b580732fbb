//! Errors on their way out: the one place that renders a failed request.
//!
//! A handler answers `Err(Problem)`; that response carries the error unrendered, and the edge (which
//! knows the request id) fills in status, headers and body. Invariant: what leaves is the public part
//! of the error; its cause is logged here and never sent.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use bytes::Bytes;
use frontdesk_api::{Error, Kind, chat::Dialect};
use frontdesk_wire::{Writes, anthropic, openai::encode::Chunks, status};

use crate::http::attempts;

/// An `api::Error` as a handler's answer.
#[derive(Debug)]
pub struct Problem(pub Error);

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// The refusal of a request whose body nobody has read, nor will. What is left of it would stand before the connection's
/// next request, so that one has no next.
#[derive(Debug)]
pub struct Early(pub Error);

impl From<Error> for Early {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<Early> for Problem {
    fn from(early: Early) -> Self {
        Self(early.0)
    }
}

/// On the response to a request whose body was not read.
#[derive(Clone)]
struct Unread;

impl IntoResponse for Early {
    fn into_response(self) -> Response<Body> {
        let mut response = Problem(self.0).into_response();
        response.extensions_mut().insert(Unread);
        response
    }
}

/// Says that the connection ends with this response, where the request had a body and nobody has read it: a client that
/// is not told would send its next request into a connection that is being closed.
pub fn close_unread(response: &mut Response<Body>, has_body: bool) {
    if response.extensions_mut().remove::<Unread>().is_some() && has_body {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// The error inside a response that still waits to be rendered.
#[derive(Clone)]
struct Unrendered(Arc<Error>);

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status_of(self.0.kind);
        response.extensions_mut().insert(Unrendered(Arc::new(self.0)));
        response
    }
}

/// Gives a failed response its body, in the dialect of its route; leaves any other as it is.
#[must_use]
pub fn render(mut response: Response<Body>, request_id: &str, dialect: Dialect) -> Response<Body> {
    let Some(Unrendered(error)) = response.extensions_mut().remove::<Unrendered>() else { return response };
    log(&error);
    let body = match dialect {
        Dialect::AnthropicMessages => {
            // A status that no kind stands for (405) was chosen on purpose and stays.
            if response.status() == status_of(error.kind) {
                let own = StatusCode::from_u16(anthropic::error::status(error.kind));
                *response.status_mut() = own.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            }
            anthropic::error::body(&error, request_id)
        }
        _ => status::openai_body(&error, request_id),
    };
    *response.body_mut() = Body::from(body.to_string());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(after) = error.retry_after {
        // At least a second: a client that reads 0 asks again at once.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    attempts::write_failed(headers, &error);
    if error.kind == Kind::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// An error in the middle of an event stream, where the status has long been sent.
#[must_use]
pub fn sse_frame(error: &Error, request_id: &str) -> Bytes {
    sse_frame_in::<Chunks>(error, request_id)
}

/// The same in the dialect of `W`.
#[must_use]
pub fn sse_frame_in<W: Writes>(error: &Error, request_id: &str) -> Bytes {
    log(error);
    W::broken(error, request_id)
}

#[must_use]
pub fn status_of(kind: Kind) -> StatusCode {
    StatusCode::from_u16(status::shown(kind).status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Logs an error that is told to a client, with its cause.
pub fn log(error: &Error) {
    let cause = error.source.as_ref().map(|source| chain(source.as_ref())).unwrap_or_default();
    match error.kind {
        Kind::Internal => tracing::error!(kind = ?error.kind, cause, "{error}"),
        Kind::Upstream | Kind::Timeout | Kind::Unavailable => tracing::warn!(kind = ?error.kind, cause, "{error}"),
        _ => tracing::debug!(kind = ?error.kind, cause, "{error}"),
    }
}

/// An error and everything under it, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut out = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        out.push_str(": ");
        out.push_str(&cause.to_string());
        next = cause.source();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use axum::http::HeaderMap;

    async fn shown(error: Error) -> (StatusCode, HeaderMap, String) {
        let response = render(Problem(error).into_response(), "req_1", Dialect::OpenaiChat);
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 10_000).await.expect("a small body");
        (parts.status, parts.headers, String::from_utf8(bytes.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn the_cause_of_an_error_never_leaves_the_house() {
        let cause = std::io::Error::other("password=hunter2");
        let (status, _, body) = shown(Error::internal("reading the session", cause)).await;
        assert_eq!(status, 500);
        assert!(body.contains("reading the session") && body.contains("req_1"), "{body}");
        assert!(!body.contains("hunter2"), "{body}");
    }

    #[tokio::test]
    async fn waiting_times_are_whole_seconds_rounded_up() {
        for (millis, seconds) in [(0, "1"), (200, "1"), (1000, "1"), (1001, "2"), (30_000, "30")] {
            let error = Error::unavailable("loading").with_retry_after(Duration::from_millis(millis));
            let (status, headers, _) = shown(error).await;
            assert_eq!(status, 503);
            assert_eq!(headers[header::RETRY_AFTER], seconds, "{millis} ms");
        }
    }
}
