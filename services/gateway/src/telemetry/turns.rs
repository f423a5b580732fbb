//! Agents' turns as numbers, and the trace that a turn stays in wherever it is worked on.
//!
//! A turn is one trace: the one of the request that asked for it is kept with its row, and every span of work on it, at
//! whichever process, is put into that trace. A request that lets a waiting turn go on is linked to, since its own trace
//! is another.

use frontdesk_agents::{Observer, ToolEnd};
use frontdesk_api::turn::TurnState;
use opentelemetry::{Context, trace::TraceContextExt as _};
use prometheus::{Histogram, HistogramVec, IntCounterVec, Registry};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{
    families::{TOOL_CALLS, TURN_CALLS, TURN_DURATION, TURN_QUEUED},
    spans::{carried, parsed},
};

/// See the module.
pub(crate) struct TurnsObserved {
    duration: HistogramVec,
    queued: Histogram,
    model_calls: Histogram,
    tools: IntCounterVec,
    traces: bool,
}

impl TurnsObserved {
    /// `traces`: whether there is a collector to send them to.
    pub(crate) fn new(registry: &Registry, traces: bool) -> prometheus::Result<Self> {
        let tools = TOOL_CALLS.counters(registry)?;
        // A rate needs a zero to begin from.
        for end in ToolEnd::ALL {
            tools.with_label_values(&[end.as_str()]);
        }
        Ok(Self {
            duration: TURN_DURATION.histograms(registry)?,
            queued: TURN_QUEUED.histograms(registry)?.with_label_values::<&str>(&[]),
            model_calls: TURN_CALLS.histograms(registry)?.with_label_values::<&str>(&[]),
            tools,
            traces,
        })
    }
}

impl Observer for TurnsObserved {
    fn begun(&self, after: f64) {
        self.queued.observe(after);
    }

    fn ended(&self, state: TurnState, after: f64, model_calls: Option<u32>) {
        self.duration.with_label_values(&[state.as_str()]).observe(after);
        if let Some(calls) = model_calls {
            self.model_calls.observe(f64::from(calls));
        }
    }

    fn tool_called(&self, end: ToolEnd) {
        self.tools.with_label_values(&[end.as_str()]).inc();
    }

    fn trace(&self) -> Option<String> {
        if self.traces { carried(&Span::current()) } else { None }
    }

    fn join(&self, span: &Span, trace: &str) {
        let kept = parsed(trace).filter(|_| self.traces && !span.is_disabled());
        let Some(kept) = kept else { return };
        let here = Span::current().context();
        let here = here.span().span_context().clone();
        if here.is_valid() && here.trace_id() != kept.trace_id() {
            span.add_link(here);
        }
        if let Err(e) = span.set_parent(Context::new().with_remote_span_context(kept)) {
            tracing::debug!("a turn's span is not in the trace that its turn began in: {e}");
        }
    }
}
