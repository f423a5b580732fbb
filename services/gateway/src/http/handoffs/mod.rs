//! Conversations that agents handed over to people: the queue, taking one over, giving it back.

pub mod done;
pub mod list;
pub mod show;
pub mod take;

use frontdesk_api::{clock::unix_seconds, turn::HandOffReason};
use frontdesk_store::handoffs::Handoff;
use serde::Serialize;

/// A conversation that waits for a person, or has one.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct HandoffInfo {
    pub id: String,
    #[schema(example = "handoff")]
    pub object: &'static str,
    /// The conversation: a session of the agent, or one of OpenAI's. Null: the turn stood in none.
    pub conversation: Option<String>,
    /// The turn, or response, that handed it over.
    pub turn: String,
    /// Who handed it over.
    pub agent_id: String,
    pub reason: HandOffReason,
    /// What the customer read.
    pub message: String,
    /// `open`, `taken` or `done`.
    pub state: &'static str,
    pub taken_by: Option<String>,
    /// Unix seconds, like the other two.
    pub created_at: i64,
    pub taken_at: Option<i64>,
    pub done_at: Option<i64>,
}

impl From<Handoff> for HandoffInfo {
    fn from(handoff: Handoff) -> Self {
        Self {
            id: handoff.id,
            object: "handoff",
            conversation: handoff.session_id,
            turn: handoff.turn_id,
            agent_id: handoff.agent_id,
            reason: handoff.reason,
            message: handoff.message,
            state: handoff.state.as_str(),
            taken_by: Some(handoff.taken_by).filter(|by| !by.is_empty()),
            created_at: unix_seconds(handoff.created_at),
            taken_at: handoff.taken_at.map(unix_seconds),
            done_at: handoff.done_at.map(unix_seconds),
        }
    }
}
