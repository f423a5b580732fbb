//! Turns and sessions in Llama Stack's shapes.

use frontdesk_api::{
    approval::Asked,
    chat::{Role, ToolCall, Usage},
    clock::rfc3339,
    question::OpenQuestion,
    turn::{
        Citation, HandOff, Item, ItemBody, Session as Conversation, Step as Done, Turn as Run, TurnError, TurnState,
    },
};
use serde::{Deserialize, Serialize};

use super::{
    message::{CompletionMessage, InputMessage, StopReason},
    step::{Step, step},
};

/// `POST /v1/agents/{a}/session`.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
pub struct CreateSession {
    pub session_name: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SessionCreated {
    pub session_id: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Session {
    pub session_id: String,
    pub session_name: String,
    /// RFC 3339.
    pub started_at: String,
    pub turns: Vec<Turn>,
}

impl Session {
    /// `turns` in order; empty where a list leaves them out.
    #[must_use]
    pub fn new(session: &Conversation, turns: Vec<Turn>) -> Self {
        Self {
            session_id: session.id.clone(),
            session_name: session.name.clone(),
            started_at: rfc3339(session.created_at),
            turns,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Turn {
    pub turn_id: String,
    pub session_id: String,
    pub input_messages: Vec<InputMessage>,
    pub steps: Vec<Step>,
    pub output_message: CompletionMessage,
    pub output_attachments: Vec<serde_json::Value>,
    /// RFC 3339.
    pub started_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    pub frontdesk: Extension,
}

/// What Frontdesk knows of a turn beyond the protocol.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = TurnExtension)]
pub struct Extension {
    pub agent_id: String,
    pub agent_version: i64,
    pub state: TurnState,
    pub usage: Usage,
    /// Sources of the answer, made by the platform from what was retrieved.
    pub citations: Vec<Citation>,
    /// The person who wrote this, where it is not the agent's: the conversation was taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hand_off: Option<HandOff>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<TurnError>,
    /// Calls of the agent's own tools that wait for a person (`/v1/approvals`); they are none of the client's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Asked>,
    /// What tools ask a person in the middle of their calls (`/v1/questions`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<OpenQuestion>,
}

/// A turn with its items and steps, both in order. `waiting` are the client's calls a suspended turn waits for, and
/// `approvals` those of its own that wait for a person, as `questions` do.
#[must_use]
pub fn turn(
    run: &Run,
    items: &[Item],
    steps: &[Done],
    waiting: &[ToolCall],
    approvals: &[Asked],
    questions: &[OpenQuestion],
) -> Turn {
    let is_input = |item: &&Item| InputMessage::of(item).is_some();
    let input_messages = items.iter().take_while(is_input).filter_map(InputMessage::of).collect();
    let answer = items.iter().rev().find_map(|item| match &item.body {
        ItemBody::Message { role: Role::Assistant, text, citations } => {
            Some((text.as_str(), citations.as_slice(), None))
        }
        ItemBody::Refusal { text } => Some((text.as_str(), &[][..], None)),
        ItemBody::Person { by, text } => Some((text.as_str(), &[][..], Some(by.clone()))),
        _ => None,
    });
    let (text, citations, author) = answer.unwrap_or_default();
    let stop_reason = match run.state {
        TurnState::AwaitingInput => StopReason::EndOfMessage,
        TurnState::Incomplete => StopReason::OutOfTokens,
        _ => StopReason::EndOfTurn,
    };
    Turn {
        turn_id: run.id.clone(),
        session_id: run.session_id.clone().unwrap_or_default(),
        input_messages,
        steps: steps.iter().filter(|s| s.output.is_some()).filter_map(|s| step(&run.id, s)).collect(),
        output_message: CompletionMessage::new(text, stop_reason, waiting),
        output_attachments: vec![],
        started_at: rfc3339(run.created_at),
        completed_at: run.completed_at.map(rfc3339),
        frontdesk: Extension {
            agent_id: run.agent_id.clone(),
            agent_version: run.agent_version,
            state: run.state,
            usage: run.usage,
            citations: citations.to_vec(),
            author,
            hand_off: run.hand_off.clone(),
            error: run.error.clone(),
            approvals: approvals.to_vec(),
            questions: questions.to_vec(),
        },
    }
}
