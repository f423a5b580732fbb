//! Agents' turns as numbers, and the trace that a turn stays in wherever it is worked on.
//!
//! A turn is one trace: the one of the request that asked for it is kept with its row, and every span of work on it, at
//! whichever process, is put into that trace. A request that lets a waiting turn go on is linked to, since its own trace
//! is another.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use frontdesk_agents::{Note, Observer, ToolEnd};
use frontdesk_api::turn::TurnState;
use opentelemetry::{Context, trace::TraceContextExt as _};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, Registry};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{
    families::{
        APPROVALS_ENDED, Family, HAND_OFFS, OUTCOMES_UNKNOWN, STALE_WRITES, TOOL_CALLS, TOOL_DURATION, TURN_CALLS,
        TURN_DURATION, TURN_QUEUED, TURNS_RECOVERED, TURNS_REFUSED,
    },
    spans::{carried, parsed},
};

/// Tools told apart.
const MOST_TOOLS: usize = 128;

/// Any tool beyond them.
const OTHER: &str = "other";

/// See the module.
pub(crate) struct TurnsObserved {
    duration: HistogramVec,
    queued: Histogram,
    model_calls: Histogram,
    tools: IntCounterVec,
    tool_duration: HistogramVec,
    /// Tools that have a series of their own.
    tool_names: Mutex<BTreeSet<String>>,
    notes: Notes,
    traces: bool,
}

/// What is counted of [`Note`]s.
struct Notes {
    unknown: IntCounter,
    recovered: IntCounter,
    stale: IntCounter,
    refused: IntCounterVec,
    hand_offs: IntCounterVec,
    approvals: IntCounterVec,
}

impl Notes {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let one =
            |family: &Family| Ok::<_, prometheus::Error>(family.counters(registry)?.with_label_values::<&str>(&[]));
        let notes = Self {
            unknown: one(&OUTCOMES_UNKNOWN)?,
            recovered: one(&TURNS_RECOVERED)?,
            stale: one(&STALE_WRITES)?,
            refused: TURNS_REFUSED.counters(registry)?,
            hand_offs: HAND_OFFS.counters(registry)?,
            approvals: APPROVALS_ENDED.counters(registry)?,
        };
        for note in Note::all() {
            notes.counter(note);
        }
        Ok(notes)
    }

    fn counter(&self, note: Note) -> IntCounter {
        match note {
            Note::OutcomeUnknown => self.unknown.clone(),
            Note::WorkerLost => self.recovered.clone(),
            Note::StaleWrite => self.stale.clone(),
            Note::Refused(line) => self.refused.with_label_values(&[line.as_str()]),
            Note::HandOff { to_agent, reason } => {
                let target = if to_agent { "agent" } else { "people" };
                self.hand_offs.with_label_values(&[target, reason.as_str()])
            }
            Note::Approval(state) => self.approvals.with_label_values(&[state.as_str()]),
        }
    }
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
            tool_duration: TOOL_DURATION.histograms(registry)?,
            tool_names: Mutex::default(),
            notes: Notes::new(registry)?,
            traces,
        })
    }
}

impl TurnsObserved {
    /// Whether a tool's calls are told apart; every tenant may bring tools of its own, so their names have an end.
    fn has_series(&self, tool: &str) -> bool {
        let mut names = self.tool_names.lock().unwrap_or_else(PoisonError::into_inner);
        names.contains(tool) || (names.len() < MOST_TOOLS && names.insert(tool.to_owned()))
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

    fn tool_called(&self, tool: &str, after: f64, end: ToolEnd) {
        self.tools.with_label_values(&[end.as_str()]).inc();
        let error = match end {
            ToolEnd::Succeeded => "",
            ToolEnd::Failed | ToolEnd::CutOff => end.as_str(),
            ToolEnd::Asked => return,
        };
        let shown = if self.has_series(tool) { tool } else { OTHER };
        self.tool_duration.with_label_values(&[shown, error]).observe(after);
    }

    fn noted(&self, note: Note) {
        self.notes.counter(note).inc();
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

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    /// The lines of what notes are counted in.
    fn lines(registry: &Registry) -> BTreeSet<String> {
        let text = TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
        let counts = text.lines().filter(|line| line.starts_with("frontdesk_") && line.contains("_total"));
        counts.filter(|line| !line.starts_with(&TOOL_CALLS.shown())).map(str::to_owned).collect()
    }

    #[test]
    fn tools_beyond_the_most_share_a_series_and_questions_have_none() {
        let registry = Registry::new();
        let observed = TurnsObserved::new(&registry, false).expect("its families");
        observed.tool_called("asks", 1.0, ToolEnd::Asked);
        for n in 0..MOST_TOOLS + 2 {
            observed.tool_called(&format!("t{n}"), 0.02, ToolEnd::Succeeded);
        }
        observed.tool_called("t0", 0.04, ToolEnd::Failed);
        let text = TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
        let counts: Vec<_> =
            text.lines().filter(|l| l.starts_with("gen_ai_execute_tool_duration_seconds_count")).collect();
        assert_eq!(counts.len(), MOST_TOOLS + 2, "one each, one for the failure, one for the rest");
        for line in [
            r#"{error_type="",gen_ai_tool_name="other"} 2"#,
            r#"{error_type="",gen_ai_tool_name="t0"} 1"#,
            r#"{error_type="failed",gen_ai_tool_name="t0"} 1"#,
        ] {
            assert!(counts.iter().any(|count| count.ends_with(line)), "{line}: {counts:?}");
        }
    }

    #[test]
    fn each_note_moves_one_counter_that_stood_at_zero() {
        let registry = Registry::new();
        let observed = TurnsObserved::new(&registry, false).expect("its families");
        let zero = lines(&registry);
        assert_eq!(zero.len(), Note::all().count(), "{zero:?}");
        assert!(zero.iter().all(|line| line.ends_with(" 0")), "{zero:?}");
        for note in Note::all() {
            let before = lines(&registry);
            observed.noted(note);
            let after = lines(&registry);
            assert_eq!(after.difference(&before).count(), 1, "{note:?}");
        }
        assert!(lines(&registry).iter().all(|line| line.ends_with(" 1")), "each has its own: {:?}", lines(&registry));
    }
}
