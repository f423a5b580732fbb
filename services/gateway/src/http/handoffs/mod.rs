//! Conversations that agents handed over to people: the queue, taking one over, what is said in it, giving it back.

pub mod done;
pub mod list;
pub mod messages;
pub mod say;
pub mod show;
pub mod take;

use frontdesk_api::{
    chat::Role,
    clock::unix_seconds,
    turn::{HandOffReason, ItemBody},
};
use frontdesk_store::handoffs::{Handoff, Word};
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
    /// The id of the key that it was taken with.
    pub taken_key: Option<String>,
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
            taken_key: Some(handoff.taken_key).filter(|key| !key.is_empty()),
            created_at: unix_seconds(handoff.created_at),
            taken_at: handoff.taken_at.map(unix_seconds),
            done_at: handoff.done_at.map(unix_seconds),
        }
    }
}

/// Something that was said in a conversation.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct HandoffMessage {
    pub id: String,
    #[schema(example = "handoff.message")]
    pub object: &'static str,
    /// The turn, or response, that it stands in.
    pub turn: String,
    /// `customer`, `agent`, `person`, or `system` for what a client told the model.
    pub from: &'static str,
    /// The person's name, of words by a person.
    pub by: Option<String>,
    pub text: String,
    /// Unix seconds.
    pub created_at: i64,
}

impl From<Word> for HandoffMessage {
    fn from(word: Word) -> Self {
        let body = word.item.body;
        let (from, by) = match &body {
            ItemBody::Person { by, .. } => ("person", Some(by.clone())),
            ItemBody::Message { role: Role::User, .. } | ItemBody::Content { role: Role::User, .. } => {
                ("customer", None)
            }
            ItemBody::Message { role: Role::System | Role::Developer, .. }
            | ItemBody::Content { role: Role::System | Role::Developer, .. } => ("system", None),
            _ => ("agent", None),
        };
        Self {
            id: word.item.id,
            object: "handoff.message",
            turn: word.item.turn_id,
            from,
            by,
            text: body.words().unwrap_or_default().into_owned(),
            created_at: unix_seconds(word.at),
        }
    }
}
