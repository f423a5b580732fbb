//! Approvals as people look for them: those that are open, and one by its id.
//!
//! An approval is a step of its turn (kind `approval`); what a person said to it stands in the turn's inbox under the
//! step's id, and in the step once the turn went on. Invariant: both are written behind the turn's row lock, so an
//! approval has one word at most.

use frontdesk_api::{
    Error, Micros, Order, Page, PageRequest, Result,
    approval::{Cause, Decision},
    chat::ToolCall,
    turn::{TurnError, TurnState},
};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Doing as _, Tenant, json, on, paging};

/// A call that waits, or waited, for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredApproval {
    pub id: String,
    pub turn_id: String,
    pub session_id: Option<String>,
    pub agent_id: String,
    pub cause: Cause,
    pub call: ToolCall,
    /// Arguments that the server fills, as they were when it was asked; null where the customer's token said nothing.
    pub bound: Map<String, Value>,
    pub asked_at: Micros,
    /// Until when it may be answered, by the database's clock; None once its turn does not wait any more.
    pub until: Option<Micros>,
    /// Whether that time is over.
    pub overdue: bool,
    pub decision: Option<Decision>,
    pub turn_state: TurnState,
    pub turn_error: Option<TurnError>,
}

/// What stands in an approval's input beside its call.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Beside {
    bound: Map<String, Value>,
    cause: Cause,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    turn_id: String,
    input: String,
    started_at: Micros,
    session_id: Option<String>,
    agent_id: String,
    state: String,
    deadline: Option<Micros>,
    error: Option<String>,
    decision: Option<String>,
}

impl Row {
    fn read(self, now: Micros) -> Result<StoredApproval> {
        let turn_state = TurnState::parse(&self.state)?;
        let until = self.deadline.filter(|_| turn_state == TurnState::AwaitingInput);
        let Beside { bound, cause } = json::read("an approval", &self.input)?;
        Ok(StoredApproval {
            cause,
            call: json::read("the call of an approval", &self.input)?,
            bound,
            decision: self.decision.as_deref().map(|word| json::read("a decision", word)).transpose()?,
            turn_error: self.error.as_deref().map(|error| json::read("a turn's error", error)).transpose()?,
            overdue: until.is_some_and(|until| until < now),
            until,
            turn_state,
            id: self.id,
            turn_id: self.turn_id,
            session_id: self.session_id,
            agent_id: self.agent_id,
            asked_at: self.started_at,
        })
    }
}

/// What is read of an approval, as a literal: `$1` is the tenant.
macro_rules! select {
    ($($rest:literal),+) => {
        concat!(
            "SELECT s.id, s.turn_id, s.input, s.started_at, t.session_id, t.agent_id, t.state, t.deadline, t.error, \
             i.payload AS decision FROM step s JOIN turn t ON t.tenant = s.tenant AND t.id = s.turn_id \
             LEFT JOIN inbox i ON i.tenant = s.tenant AND i.turn_id = s.turn_id AND i.key = s.id \
             WHERE s.tenant = $1 AND s.kind = 'approval' AND ",
            $($rest),+
        )
    };
}

/// The error for an approval that is not there, or not to be seen.
#[must_use]
pub fn missing(id: &str) -> Error {
    Error::not_found(format!("no approval has the id '{id}'")).with_code("approval_not_found")
}

impl Tenant<'_> {
    /// # Errors
    /// `NotFound`.
    pub async fn load_approval(&self, id: &str) -> Result<StoredApproval> {
        let mut tx = self.read().await?;
        let now = tx.now().await?;
        let row: Option<Row> =
            on!(tx, conn => sqlx::query_as(select!("s.id = $2")).bind(self.id()).bind(id).fetch_optional(conn).await)
                .doing("load an approval")?;
        row.ok_or_else(|| missing(id))?.read(now)
    }

    /// The approvals that nobody answered and that may be answered still.
    ///
    /// # Errors
    /// As any query.
    pub async fn open_approvals(&self, page: &PageRequest) -> Result<Page<StoredApproval>> {
        macro_rules! open {
            ($order:literal) => {
                select!(
                    "s.state = 'intent' AND t.state = 'awaiting_input' AND i.key IS NULL AND t.deadline >= $2 AND ",
                    $order
                )
            };
        }
        let sql = match page.order {
            Order::Asc => open!("s.id > $3 ORDER BY s.id LIMIT $4"),
            Order::Desc => open!("s.id < $3 ORDER BY s.id DESC LIMIT $4"),
        };
        let mut tx = self.read().await?;
        let now = tx.now().await?;
        let rows: Vec<Row> = on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(now).bind(paging::cursor(page))
            .bind(paging::fetch(page)).fetch_all(conn).await)
        .doing("list approvals")?;
        let rows = rows.into_iter().map(|row| row.read(now)).collect::<Result<Vec<_>>>()?;
        Ok(Page::of(rows, page.limit))
    }
}
