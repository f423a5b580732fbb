//! Who hears what turns come to: numbers and traces, which decide nothing.
//!
//! The room knows no metrics and no collector; the gateway does, and hands in an [`Observer`]. Invariant: it is told of
//! states, durations and counts, never of words, agents, tools or tenants by name.

use frontdesk_api::turn::TurnState;
use tracing::Span;

/// How a call of a tool ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolEnd {
    Succeeded,
    /// The tool, or what stands before it, answered with an error that the model reads.
    Failed,
    /// The turn was stopped, ran out of time or lost its worker meanwhile; the tool may have done its work.
    CutOff,
    /// It asks a person, and is called again once that has an answer.
    Asked,
}

impl ToolEnd {
    pub const ALL: [Self; 4] = [Self::Succeeded, Self::Failed, Self::CutOff, Self::Asked];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::CutOff => "cut_off",
            Self::Asked => "asked",
        }
    }
}

/// Is told of turns while they are worked on; none of it may wait.
pub trait Observer: Send + Sync {
    /// Work on a turn began for the first time, `after` seconds after it was asked for.
    fn begun(&self, after: f64);

    /// A turn ended at this process in `state`, `after` seconds after it was asked for; `model_calls`: how many it made,
    /// None where no worker ended it.
    fn ended(&self, state: TurnState, after: f64, model_calls: Option<u32>);

    /// A tool of the server's was called.
    fn tool_called(&self, end: ToolEnd);

    /// The trace that is under way here, as a W3C `traceparent`, to be kept with a turn; None: there is none.
    fn trace(&self) -> Option<String>;

    /// Makes `span`, which nobody entered yet, a part of the trace that was kept with its turn.
    fn join(&self, span: &Span, trace: &str);
}

/// Where nobody wants to hear of it.
#[derive(Debug)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn begun(&self, _: f64) {}
    fn ended(&self, _: TurnState, _: f64, _: Option<u32>) {}
    fn tool_called(&self, _: ToolEnd) {}
    fn trace(&self) -> Option<String> {
        None
    }
    fn join(&self, _: &Span, _: &str) {}
}
