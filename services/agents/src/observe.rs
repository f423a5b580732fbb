//! Who hears what turns come to: numbers and traces, which decide nothing.
//!
//! The room knows no metrics and no collector; the gateway does, and hands in an [`Observer`]. Invariant: it is told of
//! states, durations and counts, and of tools by name; never of words, agents or tenants.

use frontdesk_api::{
    approval::ApprovalState,
    tools::ToolResult,
    turn::{HandOffReason, StepKind, StepOutput, StepState, TurnError, TurnState},
};
use frontdesk_store::transcript::StoredStep;
use tracing::Span;

/// The code of a turn that waited too long.
pub(crate) const INPUT_TIMEOUT: &str = "input_timeout";

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

/// Something that an operator may want to be woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// A turn was taken up again whose worker was lost.
    WorkerLost,
    /// A worker's write was refused: another one had the turn by then.
    StaleWrite,
    /// A tool's call came to an end, and nobody knows whether it did its work.
    OutcomeUnknown,
    /// An approval ended so.
    Approval(ApprovalState),
    /// A conversation was handed on: to another agent or to people.
    HandOff { to_agent: bool, reason: HandOffReason },
    /// A turn was refused.
    Refused(Full),
}

/// Which line was full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Messages that stand behind the open turn of their conversation.
    Session,
    Tenant,
    /// Of all tenants.
    All,
}

impl Full {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Tenant => "own",
            Self::All => "all",
        }
    }
}

impl Note {
    /// Every one there can be.
    pub fn all() -> impl Iterator<Item = Self> {
        let ends = [ApprovalState::Approved, ApprovalState::Denied, ApprovalState::Expired, ApprovalState::Withdrawn];
        let handed = |to_agent| HandOffReason::ALL.map(|reason| Self::HandOff { to_agent, reason });
        [Self::WorkerLost, Self::StaleWrite, Self::OutcomeUnknown]
            .into_iter()
            .chain(ends.map(Self::Approval))
            .chain([false, true].into_iter().flat_map(handed))
            .chain([Full::Session, Full::Tenant, Full::All].map(Self::Refused))
    }

    /// What there is to note of steps as they are written; `error`: why their turn ends, where it does.
    pub(crate) fn of(steps: &[StoredStep], error: Option<&TurnError>) -> Vec<Self> {
        let of = |stored: &StoredStep| match (stored.step.kind, stored.step.state, &stored.step.output) {
            (StepKind::ToolExecution, StepState::Unknown, _) => Some(Self::OutcomeUnknown),
            (StepKind::ToolExecution, StepState::Done, Some(StepOutput::ToolExecution { result, .. })) => {
                (result.is_error && ToolResult::says_unsure(&result.content)).then_some(Self::OutcomeUnknown)
            }
            (StepKind::Approval, StepState::Done, Some(StepOutput::Approval { decision, .. })) => {
                let state = if decision.approved { ApprovalState::Approved } else { ApprovalState::Denied };
                Some(Self::Approval(state))
            }
            (StepKind::Approval, StepState::Failed, _) => {
                let late = error.is_some_and(|error| error.code == INPUT_TIMEOUT);
                Some(Self::Approval(if late { ApprovalState::Expired } else { ApprovalState::Withdrawn }))
            }
            _ => None,
        };
        steps.iter().filter_map(of).collect()
    }
}

/// Is told of turns while they are worked on; none of it may wait.
pub trait Observer: Send + Sync {
    /// Work on a turn began for the first time, `after` seconds after it was asked for.
    fn begun(&self, after: f64);

    /// A turn ended at this process in `state`, `after` seconds after it was asked for; `model_calls`: how many it made,
    /// None where no worker ended it.
    fn ended(&self, state: TurnState, after: f64, model_calls: Option<u32>);

    /// A tool of the server's was called; its call ended `after` seconds.
    fn tool_called(&self, tool: &str, after: f64, end: ToolEnd);

    /// Something happened at this process, and its rows, if it has any, are written.
    fn noted(&self, note: Note);

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
    fn tool_called(&self, _: &str, _: f64, _: ToolEnd) {}
    fn noted(&self, _: Note) {}
    fn trace(&self) -> Option<String> {
        None
    }
    fn join(&self, _: &Span, _: &str) {}
}
