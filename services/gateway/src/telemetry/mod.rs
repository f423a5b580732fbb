//! What the people who run Frontdesk see of it: the log, numbers (`/metrics`, OTLP) and traces (OTLP).
//!
//! Numbers are always counted; they cost a request a few atomic additions. Traces exist only where a collector is
//! configured: without one no layer is installed and no span of a model call is made. Rooms know `tracing` only;
//! OpenTelemetry's names are given here. Invariants: what a client wrote and what a model said leaves the process
//! by none of these ways, unless the operator asked for `telemetry.content`; a collector that is slow or gone costs
//! spans, which are counted, never a request.

mod calls;
mod content;
mod engines;
mod export;
mod families;
mod log;
mod observed;
mod points;
mod process;
mod requests;
mod scrape;
mod spans;
mod spool;
#[cfg(test)]
mod tests;
mod turns;

use std::{sync::Arc, time::Instant};

use axum::extract::{MatchedPath, Request};
use frontdesk_api::{Error, Inference, Micros, Result};
use prometheus::{IntGauge, Registry};
use tracing::Span;

pub use export::{Collector, Export, Posted};
pub use log::start;
pub use requests::Passing;
pub(crate) use scrape::CONTENT_TYPE;
pub use spool::Traces;

use crate::config;
use calls::Calls;
use observed::Observed;
use requests::Requests;
use turns::TurnsObserved;

/// The numbers of this process, and whether calls are traced.
pub struct Telemetry {
    registry: Registry,
    requests: Arc<Requests>,
    calls: Arc<Calls>,
    turns: Arc<TurnsObserved>,
    /// Client connections that are open.
    pub(crate) connections: IntGauge,
    traces: bool,
    content: bool,
    /// When counting began.
    since: Micros,
}

impl Telemetry {
    /// Everything at zero.
    ///
    /// # Errors
    /// `Internal` when two families have one name.
    pub fn new(config: &config::Telemetry, now: Micros) -> Result<Self> {
        let registry = Registry::new();
        let make = || -> prometheus::Result<_> {
            let connections = families::CONNECTIONS.gauge(&registry)?;
            let turns = TurnsObserved::new(&registry, config.otlp_endpoint().is_some())?;
            Ok((Requests::new(&registry)?, Calls::new(&registry)?, turns, connections))
        };
        let (requests, calls, turns, connections) = make().map_err(|e| Error::internal("setting up the metrics", e))?;
        Ok(Self {
            requests: Arc::new(requests),
            calls: Arc::new(calls),
            turns: Arc::new(turns),
            connections,
            registry,
            traces: config.otlp_endpoint().is_some(),
            content: config.content,
            since: now,
        })
    }

    /// The same `Inference`, its calls counted and traced.
    pub fn observed(&self, inference: Arc<dyn Inference>) -> Arc<dyn Inference> {
        Arc::new(Observed::new(inference, self))
    }

    /// Who hears what agents' turns come to.
    pub(crate) fn turns(&self) -> Arc<dyn frontdesk_agents::Observer> {
        self.turns.clone()
    }

    /// The templates of all routes, for their names.
    pub(crate) fn know_routes<'r>(&self, templates: impl Iterator<Item = &'r str>) {
        self.requests.know(templates);
    }

    /// A request has come. `span`: the edge's own.
    pub(crate) fn begin(&self, request: &Request, id: &str, at: Instant, span: &Span) -> Passing {
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let traced = self.traces && !span.is_disabled();
        if traced {
            spans::request(span, id, request.method(), route, request.uri().path(), request.headers());
        }
        self.requests.begin(route, request.method(), at, traced)
    }
}
