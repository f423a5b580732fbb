//! Questions as people look for them: those that are open, and one by its id.
//!
//! A question is a step of its turn (kind `question`); its answer stands in the turn's inbox under the step's id.
//! Invariant: it is written behind the turn's row lock, so a question has one answer at most.

use frontdesk_api::{
    Error, Micros, Order, Page, PageRequest, Result,
    chat::ToolCall,
    customer::Sight,
    question::{Answer, Question},
    turn::{StepState, TurnError, TurnState},
};
use serde::{Deserialize, Serialize};

use crate::{Doing as _, Tenant, json, on, paging};

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
    /// Until when it may be answered, by the database's clock; None once its turn does not wait for it any more.
    pub until: Option<Micros>,
    /// Whether that time is over.
    pub overdue: bool,
    pub answer: Option<Answer>,
    pub turn_error: Option<TurnError>,
}

/// Which questions are listed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Which<'a> {
    pub turn: Option<&'a str>,
    pub session: Option<&'a str>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    turn_id: String,
    input: String,
    step_state: String,
    started_at: Micros,
    session_id: Option<String>,
    agent_id: String,
    state: String,
    deadline: Option<Micros>,
    error: Option<String>,
    answer: Option<String>,
}

impl Row {
    fn read(self, now: Micros) -> Result<StoredQuestion> {
        let waits =
            TurnState::parse(&self.state)? == TurnState::AwaitingInput && self.step_state == StepState::Intent.as_str();
        let until = self.deadline.filter(|_| waits);
        Ok(StoredQuestion {
            asked: json::read("a question", &self.input)?,
            answer: self.answer.as_deref().map(|answer| json::read("an answer", answer)).transpose()?,
            turn_error: self.error.as_deref().map(|error| json::read("a turn's error", error)).transpose()?,
            overdue: until.is_some_and(|until| until < now),
            until,
            id: self.id,
            turn_id: self.turn_id,
            session_id: self.session_id,
            agent_id: self.agent_id,
            asked_at: self.started_at,
        })
    }
}

/// What is read of a question, as a literal: `$1` is the tenant.
macro_rules! select {
    ($($rest:literal),+) => {
        concat!(
            "SELECT s.id, s.turn_id, s.input, s.state AS step_state, s.started_at, t.session_id, t.agent_id, t.state, \
             t.deadline, t.error, i.payload AS answer FROM step s JOIN turn t ON t.tenant = s.tenant AND t.id = s.turn_id \
             LEFT JOIN session o ON o.tenant = t.tenant AND o.id = t.session_id \
             LEFT JOIN inbox i ON i.tenant = s.tenant AND i.turn_id = s.turn_id AND i.key = s.id \
             WHERE s.tenant = $1 AND s.kind = 'question' AND ",
            $($rest),+
        )
    };
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
        let mut tx = self.read().await?;
        let now = tx.now().await?;
        let row: Option<Row> =
            on!(tx, conn => sqlx::query_as(select!("s.id = $2")).bind(self.id()).bind(id).fetch_optional(conn).await)
                .doing("load a question")?;
        row.ok_or_else(|| missing(id))?.read(now)
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
        macro_rules! open {
            ($order:literal) => {
                select!(
                    "s.state = 'intent' AND t.state = 'awaiting_input' AND i.key IS NULL AND t.deadline >= $2 \
                     AND ($5 OR (o.customer IS NULL AND $6) OR (o.customer = $7 AND o.issuer = $8)) \
                     AND s.turn_id = COALESCE($9, s.turn_id) AND ($10 IS NULL OR t.session_id = $10) AND ",
                    $order
                )
            };
        }
        let sql = match page.order {
            Order::Asc => open!("s.id > $3 ORDER BY s.id LIMIT $4"),
            Order::Desc => open!("s.id < $3 ORDER BY s.id DESC LIMIT $4"),
        };
        let owner = match sight {
            Sight::Of(owner) => Some(owner),
            Sight::All | Sight::Unowned => None,
        };
        let mut tx = self.read().await?;
        let now = tx.now().await?;
        let rows: Vec<Row> = on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(now).bind(paging::cursor(page))
            .bind(paging::fetch(page)).bind(*sight == Sight::All).bind(*sight == Sight::Unowned)
            .bind(owner.map(|o| &o.sub)).bind(owner.map(|o| &o.issuer)).bind(which.turn).bind(which.session)
            .fetch_all(conn).await)
        .doing("list questions")?;
        let rows = rows.into_iter().map(|row| row.read(now)).collect::<Result<Vec<_>>>()?;
        Ok(Page::of(rows, page.limit))
    }
}
