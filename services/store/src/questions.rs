//! Questions of tools to people, as they look for them: those that are open, and one by its id (`asked.rs`).

use frontdesk_api::{
    Error, Micros, Page, PageRequest, Result,
    chat::ToolCall,
    customer::Sight,
    question::{Answer, Question},
    turn::TurnError,
};
use serde::{Deserialize, Serialize};

pub use crate::asked::{Which, hold_running, keep_open, kept_open};
use crate::{
    Tenant,
    asked::{As, Stored},
    json,
};

/// What stands in a question's input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// In the middle of which it is asked.
    #[serde(flatten)]
    pub call: ToolCall,
    pub toolgroup: String,
    /// How often its call has asked, this time included.
    pub round: u32,
    /// What the tool calls it.
    pub key: String,
    /// What the tool wants back with the answers; in the first question of a round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Its call stays open at a process, and is not made again with the answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_open_call: bool,
    pub question: Question,
}

/// A question that waits, or waited, for an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredQuestion {
    pub id: String,
    pub turn_id: String,
    pub session_id: Option<String>,
    pub agent_id: String,
    pub asked: Asked,
    pub asked_at: Micros,
    /// Until when it may be answered, by the database's clock; None once nobody waits for it any more.
    pub until: Option<Micros>,
    /// Whether that time is over.
    pub overdue: bool,
    pub answer: Option<Answer>,
    /// Its step ended without one.
    pub failed: bool,
    pub turn_error: Option<TurnError>,
}

impl StoredQuestion {
    fn read(stored: Stored) -> Result<Self> {
        Ok(Self {
            asked: json::read("a question", &stored.input)?,
            answer: stored.word.as_deref().map(|answer| json::read("an answer", answer)).transpose()?,
            failed: stored.failed,
            turn_error: stored.turn_error,
            overdue: stored.overdue,
            until: stored.until,
            id: stored.id,
            turn_id: stored.turn_id,
            session_id: stored.session_id,
            agent_id: stored.agent_id,
            asked_at: stored.asked_at,
        })
    }
}

/// The error for a question that is not there, or not to be seen.
#[must_use]
pub fn missing(id: &str) -> Error {
    Error::not_found(format!("no question has the id '{id}'")).with_code("question_not_found")
}

impl Tenant<'_> {
    /// # Errors
    /// `NotFound`.
    pub async fn load_question(&self, id: &str) -> Result<StoredQuestion> {
        StoredQuestion::read(self.find_asked(As::Question, id).await?.ok_or_else(|| missing(id))?)
    }

    /// The questions in `sight` that nobody answered and that may be answered still.
    ///
    /// # Errors
    /// As any query.
    pub async fn open_questions(
        &self,
        which: Which<'_>,
        sight: &Sight,
        page: &PageRequest,
    ) -> Result<Page<StoredQuestion>> {
        let open = self.open_asked(As::Question, which, sight, page).await?;
        let items = open.items.into_iter().map(StoredQuestion::read).collect::<Result<_>>()?;
        Ok(Page { items, more: open.more })
    }
}
