//! Conversations that agents handed over to people: a queue.
//!
//! Invariant: an entry goes open, taken, done and never back; a turn has one at most.

use frontdesk_api::{Error, Micros, Order, Page, PageRequest, Result, turn::HandOffReason};

use crate::{Doing as _, Tenant, Tx, json, on, paging};

/// A conversation that waits for a person, or has one.
#[derive(Debug, Clone, PartialEq)]
pub struct Handoff {
    pub id: String,
    /// None: the turn stood in no conversation.
    pub session_id: Option<String>,
    pub turn_id: String,
    /// Who handed it over.
    pub agent_id: String,
    pub reason: HandOffReason,
    /// What the customer read.
    pub message: String,
    pub state: State,
    /// Empty while nobody took it.
    pub taken_by: String,
    pub created_at: Micros,
    pub taken_at: Option<Micros>,
    pub done_at: Option<Micros>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Open,
    Taken,
    Done,
}

impl State {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Taken => "taken",
            Self::Done => "done",
        }
    }

    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Open, Self::Taken, Self::Done].into_iter().find(|state| state.as_str() == word)
    }
}

/// The columns of a [`Row`], as a literal.
macro_rules! columns {
    () => {
        "id, session_id, turn_id, agent_id, reason, message, state, taken_by, created_at, taken_at, done_at"
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    session_id: Option<String>,
    turn_id: String,
    agent_id: String,
    reason: String,
    message: String,
    state: String,
    taken_by: String,
    created_at: Micros,
    taken_at: Option<Micros>,
    done_at: Option<Micros>,
}

impl Row {
    fn read(self) -> Result<Handoff> {
        let unknown =
            || Error::new(frontdesk_api::Kind::Internal, format!("unknown state '{}' of a hand-off", self.state));
        Ok(Handoff {
            state: State::parse(&self.state).ok_or_else(unknown)?,
            reason: json::read("a reason", &self.reason)?,
            id: self.id,
            session_id: self.session_id,
            turn_id: self.turn_id,
            agent_id: self.agent_id,
            message: self.message,
            taken_by: self.taken_by,
            created_at: self.created_at,
            taken_at: self.taken_at,
            done_at: self.done_at,
        })
    }
}

/// Puts a hand-over into the queue; a turn's second one changes nothing.
///
/// # Errors
/// As any query.
pub async fn add(tx: &mut Tx, new: &Handoff) -> Result<()> {
    let (tenant, reason) = (tx.tenant(), json::write(&new.reason)?);
    on!(tx, conn => sqlx::query("INSERT INTO handoff (tenant, id, session_id, turn_id, agent_id, reason, message, state, taken_by, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (tenant, turn_id) DO NOTHING")
        .bind(&*tenant).bind(&new.id).bind(&new.session_id).bind(&new.turn_id).bind(&new.agent_id).bind(&reason)
        .bind(&new.message).bind(new.state.as_str()).bind(&new.taken_by).bind(new.created_at)
        .execute(conn).await.map(|_| ()))
    .doing("hand a conversation over")
}

/// The hand-over by which a person has this session now.
///
/// # Errors
/// As any query.
pub async fn find_taken(tx: &mut Tx, session_id: &str) -> Result<Option<Handoff>> {
    let tenant = tx.tenant();
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM handoff WHERE tenant = $1 AND session_id = $2 AND state = 'taken' ORDER BY id DESC LIMIT 1"
    );
    let row: Option<Row> =
        on!(tx, conn => sqlx::query_as(sql).bind(&*tenant).bind(session_id).fetch_optional(conn).await)
            .doing("look whether a person has a session")?;
    row.map(Row::read).transpose()
}

async fn load(tx: &mut Tx, id: &str) -> Result<Handoff> {
    let tenant = tx.tenant();
    let sql = concat!("SELECT ", columns!(), " FROM handoff WHERE tenant = $1 AND id = $2");
    let row: Option<Row> = on!(tx, conn => sqlx::query_as(sql).bind(&*tenant).bind(id).fetch_optional(conn).await)
        .doing("load a hand-off")?;
    let missing = || Error::not_found(format!("no hand-off has the id '{id}'")).with_code("handoff_not_found");
    row.ok_or_else(missing)?.read()
}

impl Tenant<'_> {
    /// # Errors
    /// `NotFound`.
    pub async fn load_handoff(&self, id: &str) -> Result<Handoff> {
        let mut tx = self.read().await?;
        load(&mut tx, id).await
    }

    /// The hand-overs of a state, or all.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_handoffs(&self, state: Option<State>, page: &PageRequest) -> Result<Page<Handoff>> {
        let sql = match page.order {
            Order::Asc => concat!(
                "SELECT ",
                columns!(),
                " FROM handoff WHERE tenant = $1 AND ($2 = '' OR state = $2) AND id > $3 ORDER BY id LIMIT $4"
            ),
            Order::Desc => concat!(
                "SELECT ",
                columns!(),
                " FROM handoff WHERE tenant = $1 AND ($2 = '' OR state = $2) AND id < $3 ORDER BY id DESC LIMIT $4"
            ),
        };
        let mut tx = self.read().await?;
        let rows: Vec<Row> = on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(state.map_or("", State::as_str))
            .bind(paging::cursor(page)).bind(paging::fetch(page)).fetch_all(conn).await)
        .doing("list hand-offs")?;
        Ok(Page::of(rows.into_iter().map(Row::read).collect::<Result<Vec<_>>>()?, page.limit))
    }

    /// Gives an open hand-over to a person. Taking what one has changes nothing.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` with the code `handoff_taken` where another has it, `handoff_done` where it is done.
    pub async fn take_handoff(&self, id: &str, by: &str, at: Micros) -> Result<Handoff> {
        let mut tx = self.write().await?;
        let taken = on!(tx, conn => sqlx::query("UPDATE handoff SET state = 'taken', taken_by = $3, taken_at = $4 \
             WHERE tenant = $1 AND id = $2 AND state = 'open'")
            .bind(self.id()).bind(id).bind(by).bind(at).execute(conn).await.map(|done| done.rows_affected()))
        .doing("take a conversation over")?;
        let handoff = load(&mut tx, id).await?;
        tx.commit().await?;
        match handoff.state {
            State::Done => Err(Error::conflict(format!("the hand-off '{id}' is done")).with_code("handoff_done")),
            State::Taken if taken == 0 && handoff.taken_by != by => {
                let message = format!("'{}' has taken the hand-off '{id}'", handoff.taken_by);
                Err(Error::conflict(message).with_code("handoff_taken"))
            }
            _ => Ok(handoff),
        }
    }

    /// Ends a hand-over: the agent answers again. Ending one that is done changes nothing.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn end_handoff(&self, id: &str, at: Micros) -> Result<Handoff> {
        let mut tx = self.write().await?;
        on!(tx, conn => sqlx::query("UPDATE handoff SET state = 'done', done_at = $3 WHERE tenant = $1 AND id = $2 AND state <> 'done'")
            .bind(self.id()).bind(id).bind(at).execute(conn).await.map(|_| ()))
        .doing("end a hand-off")?;
        let handoff = load(&mut tx, id).await?;
        tx.commit().await?;
        Ok(handoff)
    }
}
