//! Approvals: calls of tools that wait for a person, listed and answered.
//!
//! They show what agents would do for customers, and answering lets it happen: a key with the scope `use`, which talks
//! for customers, reaches none of them.

pub mod decide;
pub mod list;
pub mod show;

use frontdesk_api::{
    approval::{ApprovalState, Cause, Decision},
    clock::unix_seconds,
};
use serde::Serialize;

/// A call that waits, or waited, for a person. Times are unix seconds.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Approval {
    pub id: String,
    #[schema(example = "approval")]
    pub object: &'static str,
    pub state: ApprovalState,
    pub cause: Cause,
    /// The tool's name.
    pub tool: String,
    /// JSON text as the model wrote it, and as the tool gets it, beside what the server fills in.
    pub arguments: String,
    /// What the server fills in beside these, from the customer's token; null: the token does not say it, and the call
    /// will fail.
    #[schema(value_type = Object)]
    pub bound_arguments: serde_json::Map<String, serde_json::Value>,
    pub call_id: String,
    pub agent_id: String,
    /// null: the turn stands in no conversation.
    pub session_id: Option<String>,
    pub turn_id: String,
    pub created_at: i64,
    /// Until when it may be answered; null: it may not be any more.
    pub expires_at: Option<i64>,
    /// What was said; null: nothing.
    pub decision: Option<Said>,
}

/// A person's word.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ApprovalSaid)]
pub struct Said {
    pub approve: bool,
    pub reason: Option<String>,
    /// The key it was said with.
    pub key_id: String,
    pub decided_at: i64,
}

impl From<Decision> for Said {
    fn from(said: Decision) -> Self {
        Self { approve: said.approved, reason: said.reason, key_id: said.key_id, decided_at: unix_seconds(said.at) }
    }
}

impl From<frontdesk_agents::Approval> for Approval {
    fn from(approval: frontdesk_agents::Approval) -> Self {
        Self {
            id: approval.id,
            object: "approval",
            state: approval.state,
            cause: approval.cause,
            tool: approval.call.name,
            arguments: approval.call.arguments,
            bound_arguments: approval.bound,
            call_id: approval.call.id,
            agent_id: approval.agent_id,
            session_id: approval.session_id,
            turn_id: approval.turn_id,
            created_at: unix_seconds(approval.asked_at),
            expires_at: approval.until.map(unix_seconds),
            decision: approval.decision.map(Said::from),
        }
    }
}
