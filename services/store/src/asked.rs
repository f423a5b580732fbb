//! What people are asked in turns, approvals and questions alike, as they look for it: what is open, and one by its id.
//!
//! It is a step of its turn; what a person said to it stands in the turn's inbox under the step's id. It waits with its
//! turn, or, where its call stays open at a process, as long as that works on the turn under the same epoch. Invariant:
//! what is said is written behind the turn's row lock, so to each there is one word at most.

use frontdesk_api::{
    Micros, Order, Page, PageRequest, Result,
    customer::Sight,
    turn::{StepState, TurnError, TurnState},
};

use crate::{Doing as _, Tenant, Tx, json, on, paging};

/// As which kind of step it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum As {
    Approval,
    Question,
}

/// What a person is, or was, asked.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) turn_id: String,
    pub(crate) session_id: Option<String>,
    pub(crate) agent_id: String,
    /// What stands in the step.
    pub(crate) input: String,
    pub(crate) asked_at: Micros,
    /// Until when it may be answered, by the database's clock; None once nobody waits for it any more.
    pub(crate) until: Option<Micros>,
    /// Whether that time is over.
    pub(crate) overdue: bool,
    /// What was said.
    pub(crate) word: Option<String>,
    /// Its step ended without one.
    pub(crate) failed: bool,
    pub(crate) turn_error: Option<TurnError>,
}

/// Which are listed.
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
    asked_epoch: Option<i64>,
    asked_until: Option<Micros>,
    started_at: Micros,
    session_id: Option<String>,
    agent_id: String,
    state: String,
    epoch: i64,
    lease_until: Option<Micros>,
    cancel_requested: bool,
    deadline: Option<Micros>,
    error: Option<String>,
    word: Option<String>,
}

impl Row {
    fn read(self, now: Micros) -> Result<Stored> {
        let (turn, intent) = (TurnState::parse(&self.state)?, self.step_state == StepState::Intent.as_str());
        let (waits, until) = match self.asked_epoch {
            None => (turn == TurnState::AwaitingInput, self.deadline),
            Some(epoch) => {
                let held = !self.cancel_requested && self.lease_until.is_some_and(|until| until >= now);
                (turn == TurnState::Running && epoch == self.epoch && held, self.asked_until)
            }
        };
        let until = until.filter(|_| waits && intent);
        Ok(Stored {
            turn_error: self.error.as_deref().map(|error| json::read("a turn's error", error)).transpose()?,
            overdue: until.is_some_and(|until| until < now),
            until,
            id: self.id,
            turn_id: self.turn_id,
            session_id: self.session_id,
            agent_id: self.agent_id,
            input: self.input,
            asked_at: self.started_at,
            word: self.word,
            failed: self.step_state == StepState::Failed.as_str(),
        })
    }
}

/// What is read of a kind's steps, as a literal: `$1` is the tenant. The kind is one too, or no index of it is used.
macro_rules! select {
    ($kind:literal, $($rest:literal),+) => {
        concat!(
            "SELECT s.id, s.turn_id, s.input, s.state AS step_state, s.asked_epoch, s.asked_until, s.started_at, \
             t.session_id, t.agent_id, t.state, t.epoch, t.lease_until, t.cancel_requested, t.deadline, t.error, i.payload AS word \
             FROM step s JOIN turn t ON t.tenant = s.tenant AND t.id = s.turn_id \
             LEFT JOIN session o ON o.tenant = t.tenant AND o.id = t.session_id \
             LEFT JOIN inbox i ON i.tenant = s.tenant AND i.turn_id = s.turn_id AND i.key = s.id \
             WHERE s.tenant = $1 AND s.kind = '", $kind, "' AND ",
            $($rest),+
        )
    };
}

impl Tenant<'_> {
    pub(crate) async fn find_asked(&self, kind: As, id: &str) -> Result<Option<Stored>> {
        let sql = match kind {
            As::Approval => select!("approval", "s.id = $2"),
            As::Question => select!("question", "s.id = $2"),
        };
        let mut tx = self.read().await?;
        let now = tx.now().await?;
        let row: Option<Row> = on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(id).fetch_optional(conn).await)
            .doing("look for what a person is asked")?;
        row.map(|row| row.read(now)).transpose()
    }

    /// Those in `sight` that nobody said a word to and that may be answered still.
    pub(crate) async fn open_asked(
        &self,
        kind: As,
        which: Which<'_>,
        sight: &Sight,
        page: &PageRequest,
    ) -> Result<Page<Stored>> {
        macro_rules! open {
            ($kind:literal, $order:literal) => {
                select!(
                    $kind,
                    "s.state = 'intent' AND i.key IS NULL \
                     AND ((s.asked_epoch IS NULL AND t.state = 'awaiting_input' AND t.deadline >= $2) \
                          OR (s.asked_epoch = t.epoch AND t.state = 'running' AND t.lease_until >= $2 \
                              AND NOT t.cancel_requested AND s.asked_until >= $2)) \
                     AND ($5 OR (o.customer IS NULL AND $6) OR (o.customer = $7 AND o.issuer = $8)) \
                     AND s.turn_id = COALESCE($9, s.turn_id) AND ($10 IS NULL OR t.session_id = $10) AND ",
                    $order
                )
            };
            ($kind:literal) => {
                match page.order {
                    Order::Asc => open!($kind, "s.id > $3 ORDER BY s.id LIMIT $4"),
                    Order::Desc => open!($kind, "s.id < $3 ORDER BY s.id DESC LIMIT $4"),
                }
            };
        }
        let sql = match kind {
            As::Approval => open!("approval"),
            As::Question => open!("question"),
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
        .doing("list what people are asked")?;
        let rows = rows.into_iter().map(|row| row.read(now)).collect::<Result<Vec<_>>>()?;
        Ok(Page::of(rows, page.limit))
    }
}

/// Notes that a question's call stays open at the worker of this epoch, and for how many microseconds from now a person
/// may take.
///
/// # Errors
/// As any query.
pub async fn keep_open(tx: &mut Tx, id: &str, epoch: i64, micros: i64) -> Result<()> {
    let (tenant, now) = (tx.tenant(), tx.now().await?);
    on!(tx, conn => sqlx::query("UPDATE step SET asked_epoch = $3, asked_until = $4 WHERE tenant = $1 AND id = $2 AND kind = 'question'")
        .bind(&*tenant).bind(id).bind(epoch).bind(now.saturating_add(micros)).execute(conn).await.map(|_| ()))
    .doing("keep a question open")
}

/// The questions of a turn whose calls stay open at its worker, and that nobody answered; none of a turn that nobody works
/// on, or that is to stop.
///
/// # Errors
/// As any query.
pub async fn kept_open(tx: &mut Tx, turn_id: &str) -> Result<Vec<String>> {
    let (tenant, now) = (tx.tenant(), tx.now().await?);
    on!(tx, conn => sqlx::query_scalar("SELECT s.id FROM step s JOIN turn t ON t.tenant = s.tenant AND t.id = s.turn_id \
         LEFT JOIN inbox i ON i.tenant = s.tenant AND i.turn_id = s.turn_id AND i.key = s.id \
         WHERE s.tenant = $1 AND s.turn_id = $2 AND s.kind = 'question' AND s.state = 'intent' AND s.asked_epoch = t.epoch \
         AND t.state = 'running' AND t.lease_until >= $3 AND NOT t.cancel_requested AND i.key IS NULL ORDER BY s.n")
        .bind(&*tenant).bind(turn_id).bind(now).fetch_all(conn).await)
    .doing("look for questions whose calls are open")
}

/// Takes the row of a turn that somebody works on, so that nobody writes to it before this transaction has ended. False:
/// nobody works on it, or it is to stop.
///
/// # Errors
/// As any query.
pub async fn hold_running(tx: &mut Tx, turn_id: &str) -> Result<bool> {
    let (tenant, now) = (tx.tenant(), tx.now().await?);
    let held = on!(tx, conn => sqlx::query("UPDATE turn SET epoch = epoch WHERE tenant = $1 AND id = $2 AND state = 'running' \
         AND lease_until >= $3 AND NOT cancel_requested")
        .bind(&*tenant).bind(turn_id).bind(now).execute(conn).await.map(|done| done.rows_affected()))
    .doing("hold a turn that somebody works on")?;
    Ok(held == 1)
}
