//! Questions that tools ask people in the middle of their calls, listed and answered.
//!
//! They are for whoever the turn is for: a customer's are that customer's, by their token, and the tenant's own people's.
//! What is asked are a stranger's words.

pub mod answer;
pub mod list;
pub mod show;

use frontdesk_agents::Questioned;
use frontdesk_api::{
    clock::unix_seconds,
    question::{Action, Answer, QuestionState},
};
use serde::Serialize;

/// A question that waits, or waited, for an answer. Times are unix seconds.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Question {
    pub id: String,
    #[schema(example = "question")]
    pub object: &'static str,
    pub state: QuestionState,
    /// The tool that asks, and its group.
    pub tool: String,
    pub toolgroup: String,
    pub call_id: String,
    /// What is asked: words of the tool's server, which nobody vouches for.
    #[serde(flatten)]
    pub question: frontdesk_api::question::Question,
    pub agent_id: String,
    pub session_id: Option<String>,
    pub turn_id: String,
    pub created_at: i64,
    /// Until when it may be answered; null: it may not be any more.
    pub expires_at: Option<i64>,
    /// What was answered; null: nothing.
    pub answer: Option<Said>,
}

/// An answer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = QuestionSaid)]
pub struct Said {
    pub action: Action,
    /// Of an accepted form.
    #[schema(value_type = Option<Object>)]
    pub content: Option<serde_json::Map<String, serde_json::Value>>,
    /// The key it was said with; null: nobody answered in time.
    pub key_id: Option<String>,
    pub answered_at: i64,
}

impl From<Answer> for Said {
    fn from(said: Answer) -> Self {
        Self { action: said.action, content: said.content, key_id: said.key_id, answered_at: unix_seconds(said.at) }
    }
}

impl From<Questioned> for Question {
    fn from(asked: Questioned) -> Self {
        Self {
            id: asked.id,
            object: "question",
            state: asked.state,
            tool: asked.call.name,
            toolgroup: asked.toolgroup,
            call_id: asked.call.id,
            question: asked.question,
            agent_id: asked.agent_id,
            session_id: asked.session_id,
            turn_id: asked.turn_id,
            created_at: unix_seconds(asked.asked_at),
            expires_at: asked.until.map(unix_seconds),
            answer: asked.answer.map(Said::from),
        }
    }
}
