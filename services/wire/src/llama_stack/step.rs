//! The four kinds of steps in Llama Stack's shapes.

use frontdesk_api::{
    chat::Usage,
    clock::rfc3339,
    memory::Passage,
    safety::{Stage, Verdict},
    turn::{Step as Done, StepKind, StepOutput, StepState, TurnError},
};
use serde::{Deserialize, Serialize};

use super::{
    content::InterleavedContent,
    message::{CompletionMessage, StopReason, ToolResponse, passages},
    safety::{SafetyViolation, violation},
    tool::ToolCall,
};

/// `GET …/turn/{t}/step/{st}`.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct StepRetrieved {
    pub step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepType {
    Inference,
    ToolExecution,
    ShieldCall,
    MemoryRetrieval,
}

impl StepType {
    /// None for approvals and questions (a waiting turn says so itself) and guidelines: the protocol has no such steps.
    #[must_use]
    pub fn of(kind: StepKind) -> Option<Self> {
        Some(match kind {
            StepKind::Inference => Self::Inference,
            StepKind::ToolExecution => Self::ToolExecution,
            StepKind::ShieldCall => Self::ShieldCall,
            StepKind::MemoryRetrieval => Self::MemoryRetrieval,
            StepKind::Approval | StepKind::Question | StepKind::Guidelines => return None,
        })
    }
}

/// A step with what its kind produced.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Step {
    pub step_id: String,
    pub turn_id: String,
    /// RFC 3339.
    pub started_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    #[serde(flatten)]
    pub details: Details,
    pub frontdesk: Extension,
}

#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(tag = "step_type", rename_all = "snake_case")]
pub enum Details {
    Inference {
        model_response: CompletionMessage,
    },
    ToolExecution {
        tool_calls: Vec<ToolCall>,
        tool_responses: Vec<ToolResponse>,
    },
    ShieldCall {
        violation: Option<SafetyViolation>,
    },
    MemoryRetrieval {
        /// Ids of the searched stores, joined by commas.
        vector_db_ids: String,
        inserted_context: InterleavedContent,
    },
}

/// What Frontdesk knows of a step beyond the protocol.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = StepExtension)]
pub struct Extension {
    pub state: StepState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<TurnError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_error: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shield_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passages: Option<Vec<Passage>>,
}

impl Extension {
    fn new(state: StepState) -> Self {
        Self {
            state,
            error: None,
            model: None,
            finish_reason: None,
            usage: None,
            is_error: None,
            stage: None,
            shield_id: None,
            verdict: None,
            query: None,
            passages: None,
        }
    }
}

/// A step as the protocol shows it; None for kinds it does not have.
#[must_use]
pub fn step(turn_id: &str, done: &Done) -> Option<Step> {
    let kind = StepType::of(done.kind)?;
    let mut frontdesk = Extension::new(done.state);
    let details = match &done.output {
        Some(StepOutput::Inference { model, text, tool_calls, finish_reason, usage, .. }) => {
            frontdesk.model = Some(model.clone());
            frontdesk.finish_reason = Some(finish_reason.clone());
            frontdesk.usage = Some(*usage);
            let reason = if finish_reason == "length" { StopReason::OutOfTokens } else { StopReason::EndOfTurn };
            Details::Inference { model_response: CompletionMessage::new(text, reason, tool_calls) }
        }
        Some(StepOutput::ToolExecution { call, result }) => {
            frontdesk.is_error = Some(result.is_error);
            let response = ToolResponse {
                call_id: call.id.clone(),
                tool_name: call.name.clone(),
                content: result.content.as_str().into(),
                metadata: result.details.as_ref().and_then(|d| d.as_object().cloned()),
            };
            Details::ToolExecution { tool_calls: vec![call.into()], tool_responses: vec![response] }
        }
        Some(StepOutput::ShieldCall { stage, shield_id, verdict }) => {
            frontdesk.stage = Some(*stage);
            frontdesk.shield_id = Some(shield_id.clone());
            frontdesk.verdict = Some(verdict.clone());
            Details::ShieldCall { violation: violation(shield_id, verdict) }
        }
        Some(StepOutput::MemoryRetrieval { query, stores, passages: found }) => {
            frontdesk.query = Some(query.clone());
            frontdesk.passages = Some(found.clone());
            let inserted_context = passages(found.iter().map(|p| p.text.as_str()));
            Details::MemoryRetrieval { vector_db_ids: stores.join(","), inserted_context }
        }
        // Not reached: the kinds have no step here.
        Some(StepOutput::Approval { .. } | StepOutput::Question { .. }) => return None,
        Some(StepOutput::Failed { error }) => {
            frontdesk.error = Some(error.clone());
            nothing(kind)
        }
        Some(StepOutput::Guidelines { .. }) | None => nothing(kind),
    };
    Some(Step {
        step_id: done.id.clone(),
        turn_id: turn_id.to_owned(),
        started_at: rfc3339(done.started_at),
        completed_at: done.completed_at.map(rfc3339),
        details,
        frontdesk,
    })
}

/// A step that has produced nothing (yet).
fn nothing(kind: StepType) -> Details {
    match kind {
        StepType::Inference => {
            Details::Inference { model_response: CompletionMessage::new("", StopReason::EndOfTurn, &[]) }
        }
        StepType::ToolExecution => Details::ToolExecution { tool_calls: vec![], tool_responses: vec![] },
        StepType::ShieldCall => Details::ShieldCall { violation: None },
        StepType::MemoryRetrieval => {
            Details::MemoryRetrieval { vector_db_ids: String::new(), inserted_context: passages([].into_iter()) }
        }
    }
}
