//! What happens around every request: id, span, panic net, rendering of problems.
//!
//! Invariant: every response carries `x-request-id` (and `request-id` where Anthropic's clients look for it), and a
//! handler that panics costs its own request only.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::{IntoResponse, Response},
};
use frontdesk_api::{Error, Kind, chat::Dialect};
use futures::FutureExt;
use tracing::Instrument;

use crate::{access::Answered, app::App, problem, problem::Problem};

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Anthropic's name for the same; the official SDK shows it as `request_id`.
const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// What the edge knows of a request; an extension of it.
#[derive(Clone)]
pub struct Arrival {
    /// The caller's `x-request-id`, else one of ours.
    pub id: Arc<str>,
    pub at: Instant,
}

/// The outermost layer.
pub async fn edge(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let arrival = Arrival { id: request_id(&app, request.headers()), at: Instant::now() };
    let dialect = super::dialect(request.uri().path());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let span = tracing::info_span!(
        "request",
        id = &*arrival.id,
        method = method.as_str(),
        route = route.as_ref().map(MatchedPath::as_str),
    );
    let passing = app.telemetry.begin(&request, &arrival.id, arrival.at, &span);
    request.extensions_mut().insert(arrival.clone());
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    let _entered = span.enter();
    let response = answered.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        tracing::error!(panic = said, "a handler panicked");
        Problem(Error::new(Kind::Internal, "an internal error; the request id names it in the log")).into_response()
    });
    let mut response = problem::render(response, &arrival.id, dialect);
    if let Ok(id) = HeaderValue::from_str(&arrival.id) {
        if dialect == Dialect::AnthropicMessages {
            response.headers_mut().insert(ANTHROPIC_REQUEST_ID, id.clone());
        }
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let answered = Answered {
        id: &arrival.id,
        method: method.as_str(),
        route: route.as_ref().map(MatchedPath::as_str),
        status: response.status().as_u16(),
        us: micros(arrival.at),
    };
    answered.log(&app.config.log, &*app.clock);
    passing.answered(response, &span)
}

/// Microseconds since `from`.
#[must_use]
pub fn micros(from: Instant) -> u64 {
    u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A caller may name the request: 1 to 128 printable ASCII characters without spaces.
fn request_id(app: &App, headers: &HeaderMap) -> Arc<str> {
    let named = headers.get(REQUEST_ID).and_then(|v| v.to_str().ok());
    match named {
        Some(id) if (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) => id.into(),
        _ => app.ids.next("req").into(),
    }
}
