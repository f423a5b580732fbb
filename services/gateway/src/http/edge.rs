//! What happens around every request: id, span, key, panic net, rendering of problems.
//!
//! Invariant: every response carries `x-request-id` (and `request-id` where Anthropic's clients look for it), no handler
//! runs whose route asks for a key that the request has not, and a handler that panics costs its own request only.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use axum::{
    body::HttpBody as _,
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{IntoResponse, Response},
    routing::Route,
};
use frontdesk_api::{Error, Kind, chat::Dialect};
use futures::FutureExt;
use tower::{Service, service_fn};
use tracing::Instrument;

use super::room::Hold;
use crate::{
    access::Line,
    app::App,
    auth::Gates,
    problem,
    problem::{Early, Problem},
};

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

/// The one layer: `gates` says which key a route asks for.
pub fn around(
    app: App,
    gates: Arc<Gates>,
    mut route: Route,
) -> impl Service<Request, Response = Response, Error = Infallible, Future = impl Future<Output = Answered> + Send>
+ Clone
+ Send
+ Sync
+ 'static {
    service_fn(move |request: Request| serve(app.clone(), &gates, &mut route, request))
}

type Answered = Result<Response, Infallible>;

fn serve(
    app: App,
    gates: &Gates,
    route: &mut Route,
    mut request: Request,
) -> impl Future<Output = Answered> + Send + use<> {
    let arrival = Arrival { id: request_id(&app, request.headers()), at: Instant::now() };
    let dialect = super::dialect(request.uri().path());
    let path = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let span = tracing::info_span!(
        "request",
        id = &*arrival.id,
        method = method.as_str(),
        route = path.as_ref().map(MatchedPath::as_str),
    );
    let challenge = super::mcp::metadata::challenge(&app, &request);
    let passing = app.telemetry.begin(&request, &arrival.id, arrival.at, &span);
    let admitted =
        span.in_scope(|| gates.admit(&app, path.as_ref().map(MatchedPath::as_str), &arrival.id, &mut request));
    request.extensions_mut().insert(arrival.clone());
    let (hold, has_body) = (Hold::of(request.body()), !request.body().is_end_stream());
    if let Some(hold) = &hold {
        request.extensions_mut().insert(hold.clone());
    }
    let handled = admitted.map(|()| AssertUnwindSafe(route.call(request)).catch_unwind().instrument(span.clone()));
    async move {
        let _until_answered = hold;
        let answered = match handled {
            Ok(handled) => handled.await,
            Err(error) => Ok(Ok(Early(error).into_response())),
        };
        let _entered = span.enter();
        let response = answered.unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            tracing::error!(panic = said, "a handler panicked");
            let error = Error::new(Kind::Internal, "an internal error; the request id names it in the log");
            Ok(Problem(error).into_response())
        })?;
        let mut response = problem::render(response, &arrival.id, dialect);
        problem::close_unread(&mut response, has_body);
        super::mcp::metadata::challenged(&mut response, challenge);
        if let Ok(id) = HeaderValue::from_str(&arrival.id) {
            if dialect == Dialect::AnthropicMessages {
                response.headers_mut().insert(ANTHROPIC_REQUEST_ID, id.clone());
            }
            response.headers_mut().insert(REQUEST_ID, id);
        }
        let line = Line {
            id: &arrival.id,
            method: method.as_str(),
            route: path.as_ref().map(MatchedPath::as_str),
            status: response.status().as_u16(),
            us: micros(arrival.at),
        };
        line.log(&app.config.log, &*app.clock);
        Ok(passing.answered(response, &span))
    }
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
