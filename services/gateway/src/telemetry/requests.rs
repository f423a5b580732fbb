//! HTTP requests as numbers: how long, how many now, how much of it was ours.
//!
//! Handles are resolved once a route, method and status, and are found without a lock; what is left for a request is
//! a look-up of its route and a few atomic additions. Invariants: a route is a template of ours, a method and a status
//! are ones of a short list, so a client cannot make series; a request leaves the count of those in flight however
//! it ends.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Instant,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use http_body::{Frame, SizeHint};
use prometheus::{Histogram, HistogramVec, IntGauge, Registry};
use tracing::Span;

use super::{
    families::{HTTP_ACTIVE, HTTP_DURATION, OVERHEAD_TIME, STREAMS},
    spans,
};
use crate::http::reply::OVERHEAD;

/// A client that left before its answer began, as nginx counts it.
const LEFT: u16 = 499;

/// Statuses told apart; any other counts as `other`.
const STATUSES: [u16; 24] = [
    200, 201, 202, 204, 206, 304, 400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 422, 429, LEFT, 500, 502, 503, 504,
    529,
];

/// Methods told apart; any other counts as `_OTHER`, which is OpenTelemetry's word for it.
const METHODS: [Method; 7] =
    [Method::GET, Method::POST, Method::DELETE, Method::PUT, Method::PATCH, Method::HEAD, Method::OPTIONS];

type Cells = [OnceLock<Histogram>; STATUSES.len() + 1];

/// A route's durations by method and status, made when first needed.
struct Route {
    /// Empty for requests that no route answers.
    template: String,
    cells: [OnceLock<Box<Cells>>; METHODS.len() + 1],
}

/// All routes, and where each is found.
struct Routes {
    all: Vec<Route>,
    places: HashMap<String, usize>,
}

/// Everything counted about requests.
pub(crate) struct Requests {
    duration: HistogramVec,
    overhead: Histogram,
    active: IntGauge,
    streams: IntGauge,
    routes: OnceLock<Routes>,
}

/// A request under way. Dropping it is its end: it is counted then, as one whose client left if no status was seen.
pub struct Passing {
    requests: Arc<Requests>,
    /// Its route's place.
    route: usize,
    method: usize,
    status: u16,
    at: Instant,
    /// Whether its span is one that is exported.
    traced: bool,
}

impl Requests {
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            duration: HTTP_DURATION.histograms(registry)?,
            overhead: OVERHEAD_TIME.histograms(registry)?.with_label_values::<&str>(&[]),
            active: HTTP_ACTIVE.gauge(registry)?,
            streams: STREAMS.gauge(registry)?,
            routes: OnceLock::new(),
        })
    }

    /// The templates of all routes there are; the first list given stands.
    pub(crate) fn know<'r>(&self, templates: impl Iterator<Item = &'r str>) {
        let templates = std::iter::once("").chain(templates);
        let all: Vec<Route> =
            templates.map(|template| Route { template: template.to_owned(), cells: Default::default() }).collect();
        let places = all.iter().enumerate().map(|(place, route)| (route.template.clone(), place)).collect();
        let _ = self.routes.set(Routes { all, places });
    }

    /// A request has come. `route`: the template that answers it; `traced`: whether its span is exported.
    pub(crate) fn begin(self: &Arc<Self>, route: Option<&str>, method: &Method, at: Instant, traced: bool) -> Passing {
        self.active.inc();
        let route = route.and_then(|route| self.routes.get()?.places.get(route).copied()).unwrap_or_default();
        let method = METHODS.iter().position(|known| known == method).unwrap_or(METHODS.len());
        Passing { requests: Arc::clone(self), route, method, status: LEFT, at, traced }
    }

    fn ended(&self, route: usize, method: usize, status: u16, seconds: f64) {
        let Some(route) = self.routes.get().and_then(|routes| routes.all.get(route)) else { return };
        let code = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len());
        let cells = route.cells[method].get_or_init(|| Box::new(std::array::from_fn(|_| OnceLock::new())));
        let histogram = cells[code].get_or_init(|| {
            let method = METHODS.get(method).map_or("_OTHER", Method::as_str);
            let status = STATUSES.get(code).map_or_else(|| "other".to_owned(), u16::to_string);
            self.duration.with_label_values(&[method, &route.template, &status])
        });
        histogram.observe(seconds);
    }
}

impl Passing {
    /// The request has this answer. One that is a stream is under way until its last byte was taken; `span` then
    /// lasts as long.
    pub fn answered(mut self, response: Response, span: &Span) -> Response {
        self.status = response.status().as_u16();
        if self.traced {
            spans::answered(span, response.status());
        }
        let overhead = response.headers().get(OVERHEAD).and_then(micros);
        if let Some(overhead) = overhead {
            self.requests.overhead.observe(overhead / 1e6);
        }
        if response.status() != StatusCode::OK || !is_stream(&response) {
            return response;
        }
        self.requests.streams.inc();
        let span = if self.traced { span.clone() } else { Span::none() };
        response.map(|body| Body::new(Streaming { body, passing: self, span }))
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.requests.active.dec();
        self.requests.ended(self.route, self.method, self.status, self.at.elapsed().as_secs_f64());
    }
}

fn micros(value: &HeaderValue) -> Option<f64> {
    value.to_str().ok()?.parse().ok()
}

fn is_stream(response: &Response) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// A body that keeps its request under way.
struct Streaming {
    body: Body,
    passing: Passing,
    /// An exported span ends when it was left last.
    span: Span,
}

impl Drop for Streaming {
    fn drop(&mut self) {
        // What is below ends within it.
        self.span.in_scope(|| drop(std::mem::take(&mut self.body)));
        self.passing.requests.streams.dec();
    }
}

impl http_body::Body for Streaming {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, span, .. } = self.get_mut();
        let _inside = span.enter();
        Pin::new(body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
