//! The turn's own row: who may write, what the next sequence number is, how it stands. Who works on it is said in
//! [`crate::claims`].
//!
//! Invariant: every write of a turn begins with [`fence`] in the same transaction. It locks the row and
//! hands out sequence numbers; a worker whose epoch has passed gets nothing and must drop the turn.

use frontdesk_api::{
    Error, Micros, Order, Page, PageRequest, Result,
    agent::AgentSpec,
    chat::{ToolChoice, Usage},
    cx::Customer,
    filter::FileFilter,
    servers::Server,
    turn::{HandOff, Turn, TurnError, TurnState},
};
use serde::{Deserialize, Serialize};

use crate::{Conn, Doing as _, Tenant, Tx, agents, json, now, on, paging};

/// Longer than any wait, in microseconds (a thousand years), and not so long that a clock overflows by it.
const FAR: i64 = 31_536_000_000_000_000;

/// A turn with what the worker needs of its row.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTurn {
    pub turn: Turn,
    /// Place in its session, from 0.
    pub pos: i64,
    pub epoch: i64,
    pub next_seq: i64,
    pub request: TurnRequest,
    pub cancel_requested: bool,
    pub on_input: OnInput,
    /// Whether it is found by its id as a response. One that is not is purged after its time, unless a conversation
    /// holds it.
    pub stored: bool,
}

/// What came with a turn besides its items: whoever takes it up has it from here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TurnRequest {
    /// Groups beside those of the agent.
    pub toolgroups: Vec<String>,
    /// Knowledge stores beside those of the agent.
    pub knowledge: Vec<String>,
    /// What it says of calls of tools, instead of its agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Servers of tools that its request named itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Server>,
    /// How many of its items it was begun with.
    pub inputs: usize,
    /// What it works by, where that is not its agent's version alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<AgentSpec>,
    /// The turn is a response of OpenAI's API: what of its object repeats the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<serde_json::Value>,
    /// The turn that its line of responses began with, where it continues one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// How many calls its request lets run here; those beyond are answered and not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tool_calls: Option<u32>,
    /// The least score of a passage that goes before its model, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_score: Option<f64>,
    /// Which files of knowledge stores it looks into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_filter: Option<FileFilter>,
    /// Its thoughts are sealed for the client to keep.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub seals_thoughts: bool,
    /// Its request may come again, so that it stays after its end though it is not stored.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lingers: bool,
    /// The turn whose tool it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<AskedBy>,
    /// A person has the conversation, by this hand-over: it is written down and not answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet: Option<HandOff>,
    /// The key that asked for it.
    pub key_id: String,
    /// The id of the request that asked for it.
    pub request: String,
    pub customer: Option<Customer>,
    /// W3C `traceparent` of the request that asked for it, as its trace goes on here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

impl StoredTurn {
    /// What its conversation is called in traces: its session, or the turn that its line of responses began with.
    #[must_use]
    pub fn conversation(&self) -> &str {
        self.turn.session_id.as_deref().or(self.request.line.as_deref()).unwrap_or(&self.turn.id)
    }
}

/// Who asked a turn that is another turn's tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedBy {
    pub turn: String,
    /// The call that it is.
    pub call_id: String,
    /// Ids of the agents that wait for its answer, the outermost first.
    pub agents: Vec<String>,
}

/// Whether a turn stops for input and goes on later, or ends so that the next turn brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInput {
    Suspend,
    Finish,
}

impl OnInput {
    fn as_str(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Finish => "finish",
        }
    }

    fn parse(word: &str) -> Self {
        if word == "finish" { Self::Finish } else { Self::Suspend }
    }
}

/// A worker's hold on a turn: it may write while its epoch is the row's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease<'a> {
    /// Who works on it.
    pub owner: &'a str,
    /// For how long from now, in microseconds of the database's clock.
    pub micros: i64,
}

/// The columns of a [`Row`], as a literal.
macro_rules! columns {
    () => {
        "id, agent_id, agent_version, session_id, pos, parent, state, epoch, next_seq, request, usage, \
         error, hand_off, cancel_requested, on_input, stored, created_at, completed_at"
    };
}
pub(crate) use columns;

#[derive(sqlx::FromRow)]
pub(crate) struct Row {
    id: String,
    agent_id: String,
    agent_version: i64,
    session_id: Option<String>,
    pos: i64,
    parent: Option<String>,
    state: String,
    epoch: i64,
    next_seq: i64,
    request: String,
    usage: String,
    error: Option<String>,
    hand_off: Option<String>,
    cancel_requested: bool,
    on_input: String,
    stored: bool,
    created_at: Micros,
    completed_at: Option<Micros>,
}

impl Row {
    pub(crate) fn read(self) -> Result<StoredTurn> {
        let error: Option<TurnError> = self.error.as_deref().map(|e| json::read("a turn's error", e)).transpose()?;
        let hand_off: Option<HandOff> = self.hand_off.as_deref().map(|h| json::read("a hand-off", h)).transpose()?;
        let usage: Usage = json::read("a turn's usage", &self.usage)?;
        Ok(StoredTurn {
            pos: self.pos,
            epoch: self.epoch,
            next_seq: self.next_seq,
            request: json::read("a turn's request", &self.request)?,
            cancel_requested: self.cancel_requested,
            on_input: OnInput::parse(&self.on_input),
            stored: self.stored,
            turn: Turn {
                id: self.id,
                session_id: self.session_id,
                agent_id: self.agent_id,
                agent_version: self.agent_version,
                parent: self.parent,
                state: TurnState::parse(&self.state)?,
                error,
                hand_off,
                usage,
                created_at: self.created_at,
                completed_at: self.completed_at,
            },
        })
    }
}

/// Writes a new turn in the state its `turn` says, at the epoch it says: held by `lease`, or by nobody and for the
/// first who claims it. `timeout` is how long it may take, in microseconds, from now, or from when one that is queued
/// begins: until then its `deadline` is that length.
///
/// # Errors
/// `Conflict` with the code `turn_running` when its session has an open turn; `NotFound` where its agent is gone.
pub async fn add(tx: &mut Tx, new: &StoredTurn, lease: Option<Lease<'_>>, timeout: i64) -> Result<()> {
    macro_rules! add {
        ($now:literal) => {
            concat!(
                "INSERT INTO turn (tenant, id, agent_id, agent_version, session_id, pos, parent, state, epoch, next_seq, \
                 lease_owner, lease_until, on_input, cancel_requested, deadline, request, usage, created_at, stored, completed_at, \
                 attempts, asked_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, CASE WHEN $20 = 1 THEN $12 + ",
                $now,
                " ELSE 0 END, $13, $14, CASE WHEN $8 = 'queued' THEN $15 ELSE $15 + ",
                $now,
                " END, $16, $17, $18, $19, $21, $20, $22)"
            )
        };
    }
    let tenant = tx.tenant();
    let (turn, request, usage) = (&new.turn, json::write(&new.request)?, json::write(&new.turn.usage)?);
    let sql = match tx.conn() {
        Conn::Postgres(_) => now::postgres!(add),
        Conn::Sqlite(_) => now::sqlite!(add),
    };
    // A row's numbers have an end.
    let (lease_micros, timeout) = (lease.map_or(0, |lease| lease.micros.min(FAR)), timeout.min(FAR));
    let written = on!(tx, conn => sqlx::query(sql)
        .bind(&*tenant).bind(&turn.id).bind(&turn.agent_id).bind(turn.agent_version).bind(&turn.session_id).bind(new.pos)
        .bind(&turn.parent).bind(turn.state.as_str()).bind(new.epoch).bind(new.next_seq).bind(lease.map(|lease| lease.owner))
        .bind(lease_micros).bind(new.on_input.as_str()).bind(false).bind(timeout).bind(&request).bind(&usage)
        .bind(turn.created_at).bind(new.stored).bind(i64::from(lease.is_some())).bind(turn.completed_at)
        .bind(new.request.asked_by.as_ref().map(|by| &*by.turn)).execute(conn).await.map(|_| ()));
    let Err(sqlx::Error::Database(refusal)) = &written else { return written.doing("create a turn") };
    if refusal.is_unique_violation() {
        return Err(busy());
    }
    if refusal.is_foreign_key_violation() {
        return Err(agents::missing(&turn.agent_id));
    }
    written.doing("create a turn")
}

/// A message for a session whose turn is still open.
#[must_use]
pub fn busy() -> Error {
    Error::conflict("a turn of this session is running: wait for it or cancel it, then send the message again")
        .with_code("turn_running")
}

/// Takes `n` sequence numbers for a writer of `epoch`: the first of them, or None when the epoch has passed
/// (or the turn is gone) and the writer must stop. Locks the turn's row until the transaction ends. A turn that
/// `got_on` (a step of it ended) was not taken up in vain.
///
/// # Errors
/// As any query.
pub async fn fence(tx: &mut Tx, id: &str, epoch: i64, n: usize, got_on: bool) -> Result<Option<i64>> {
    let (tenant, n) = (tx.tenant(), i64::try_from(n).unwrap_or(i64::MAX));
    let next: Option<i64> = on!(tx, conn => sqlx::query_scalar("UPDATE turn SET next_seq = next_seq + $4, attempts = CASE WHEN $5 THEN 1 ELSE attempts END \
         WHERE tenant = $1 AND id = $2 AND epoch = $3 RETURNING next_seq")
        .bind(&*tenant).bind(id).bind(epoch).bind(n).bind(got_on).fetch_optional(conn).await)
    .doing("write to a turn")?;
    Ok(next.map(|next| next - n))
}

/// As [`fence`], and writes how the turn stands; anything but `Running` gives the lease back. `patience`: for how long from
/// now it may wait, or stays where it is not stored, in microseconds; None: as it was begun. Of a turn that has ended
/// [`end`] is to follow.
///
/// # Errors
/// As any query.
pub async fn fence_and_stand(
    tx: &mut Tx,
    turn: &Turn,
    epoch: i64,
    n: usize,
    got_on: bool,
    patience: Option<i64>,
) -> Result<Option<i64>> {
    macro_rules! stand {
        ($now:literal) => {
            concat!(
                "UPDATE turn SET next_seq = next_seq + $4, attempts = CASE WHEN $5 THEN 1 ELSE attempts END, \
                 state = $6, error = $7, hand_off = $8, usage = $9, completed_at = $10, \
                 lease_owner = CASE WHEN $11 THEN lease_owner END, lease_until = CASE WHEN $11 THEN lease_until END, \
                 deadline = COALESCE($12 + ",
                $now,
                ", deadline) WHERE tenant = $1 AND id = $2 AND epoch = $3 RETURNING next_seq"
            )
        };
    }
    let (tenant, n) = (tx.tenant(), i64::try_from(n).unwrap_or(i64::MAX));
    let error = turn.error.as_ref().map(json::write).transpose()?;
    let hand_off = turn.hand_off.as_ref().map(json::write).transpose()?;
    let usage = json::write(&turn.usage)?;
    let sql = match tx.conn() {
        Conn::Postgres(_) => now::postgres!(stand),
        Conn::Sqlite(_) => now::sqlite!(stand),
    };
    let next: Option<i64> = on!(tx, conn => sqlx::query_scalar(sql)
        .bind(&*tenant).bind(&turn.id).bind(epoch).bind(n).bind(got_on).bind(turn.state.as_str()).bind(&error)
        .bind(&hand_off).bind(&usage).bind(turn.completed_at).bind(turn.state == TurnState::Running)
        .bind(patience.map(|patience| patience.min(FAR))).fetch_optional(conn).await)
    .doing("write how a turn stands")?;
    Ok(next.map(|next| next - n))
}

/// Where the turn has ended, the next one that stands behind it begins: whether there was one, for whoever wakes workers.
/// Behind [`fence_and_stand`], and behind what changes who answers in the session.
///
/// # Errors
/// As any query.
pub async fn end(tx: &mut Tx, turn: &Turn) -> Result<bool> {
    match &turn.session_id {
        Some(session) if turn.state.is_terminal() => begin_next(tx, session).await,
        _ => Ok(false),
    }
}

/// Lets the first turn that stands in the session's line begin, unless one is open: it is running then, and for the
/// first who claims it. Whether one began.
///
/// # Errors
/// As any query.
pub async fn begin_next(tx: &mut Tx, session_id: &str) -> Result<bool> {
    let tenant = tx.tenant();
    // The first may be cancelled at this moment; then it is the next one's turn.
    for _ in 0..3 {
        let first: Option<String> = on!(tx, conn => sqlx::query_scalar("SELECT q.id FROM turn q WHERE q.tenant = $1 AND q.session_id = $2 AND q.state = 'queued' \
             AND NOT EXISTS (SELECT 1 FROM turn o WHERE o.tenant = $1 AND o.session_id = $2 AND o.state IN ('running', 'awaiting_input')) \
             ORDER BY q.pos LIMIT 1")
            .bind(&*tenant).bind(session_id).fetch_optional(conn).await)
        .doing("look who is next in a session")?;
        let Some(first) = first else { return Ok(false) };
        let now = tx.now().await?;
        let begun = on!(tx, conn => sqlx::query("UPDATE turn SET state = 'running', lease_owner = NULL, lease_until = 0, deadline = $3 + deadline, attempts = 0 \
             WHERE tenant = $1 AND id = $2 AND state = 'queued'")
            .bind(&*tenant).bind(&first).bind(now).execute(conn).await.map(|done| done.rows_affected()))
        .doing("begin the next turn of a session")?;
        if begun == 1 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// From now on a running turn has so many microseconds left to its work.
///
/// # Errors
/// As any query.
pub async fn leave_time(tx: &mut Tx, id: &str, micros: i64) -> Result<()> {
    let (tenant, now) = (tx.tenant(), tx.now().await?);
    on!(tx, conn => sqlx::query("UPDATE turn SET deadline = $3 WHERE tenant = $1 AND id = $2 AND state = 'running'")
        .bind(&*tenant).bind(id).bind(now.saturating_add(micros)).execute(conn).await.map(|_| ()))
    .doing("leave a turn its time")
}

/// Notes that the turn is to be cancelled, for whichever worker holds it.
///
/// # Errors
/// As any query.
pub async fn request_cancel(tx: &mut Tx, id: &str) -> Result<()> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query("UPDATE turn SET cancel_requested = $3 WHERE tenant = $1 AND id = $2")
        .bind(&*tenant).bind(id).bind(true).execute(conn).await.map(|_| ()))
    .doing("ask a turn to stop")
}

/// # Errors
/// `NotFound`.
pub async fn load(tx: &mut Tx, id: &str) -> Result<StoredTurn> {
    let tenant = tx.tenant();
    let sql = concat!("SELECT ", columns!(), " FROM turn WHERE tenant = $1 AND id = $2");
    let row: Option<Row> =
        on!(tx, conn => sqlx::query_as(sql).bind(&*tenant).bind(id).fetch_optional(conn).await).doing("load a turn")?;
    row.ok_or_else(|| missing(id))?.read()
}

/// The error for a turn that is not there, or not to be seen.
#[must_use]
pub fn missing(id: &str) -> Error {
    Error::not_found(format!("no turn has the id '{id}'")).with_code("turn_not_found")
}

/// The turn, held so that nobody deletes it before this transaction has ended.
///
/// # Errors
/// `NotFound`.
pub async fn hold(tx: &mut Tx, id: &str) -> Result<StoredTurn> {
    let tenant = tx.tenant();
    // SQLite writes one transaction after another.
    if let Conn::Postgres(conn) = tx.conn() {
        let held = sqlx::query("SELECT 1 FROM turn WHERE tenant = $1 AND id = $2 FOR KEY SHARE");
        held.bind(&*tenant).bind(id).execute(conn).await.map(|_| ()).doing("hold a turn")?;
    }
    load(tx, id).await
}

/// The session's open turn (running or waiting), if there is one: locked until the transaction ends, so that it cannot
/// end before a turn stands behind it.
///
/// # Errors
/// As any query.
pub async fn find_open(tx: &mut Tx, session_id: &str) -> Result<Option<StoredTurn>> {
    macro_rules! open {
        ($lock:literal) => {
            concat!(
                "SELECT ",
                columns!(),
                " FROM turn WHERE tenant = $1 AND session_id = $2 AND state IN ('running', 'awaiting_input')",
                $lock
            )
        };
    }
    let tenant = tx.tenant();
    // One that ended while its lock was waited for is gone, and whoever ended it may have let the next begin.
    for _ in 0..2 {
        let sql = match tx.conn() {
            Conn::Postgres(_) => open!(" FOR UPDATE"),
            Conn::Sqlite(_) => open!(""),
        };
        let row: Option<Row> =
            on!(tx, conn => sqlx::query_as(sql).bind(&*tenant).bind(session_id).fetch_optional(conn).await)
                .doing("look for a session's open turn")?;
        if let Some(row) = row {
            return row.read().map(Some);
        }
    }
    Ok(None)
}

/// The turns that stand behind the session's open one, in order.
///
/// # Errors
/// As any query.
pub async fn behind(tx: &mut Tx, session_id: &str) -> Result<Vec<StoredTurn>> {
    let tenant = tx.tenant();
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM turn WHERE tenant = $1 AND session_id = $2 AND state = 'queued' ORDER BY pos"
    );
    let rows: Vec<Row> = on!(tx, conn => sqlx::query_as(sql).bind(&*tenant).bind(session_id).fetch_all(conn).await)
        .doing("look who stands in a session's line")?;
    rows.into_iter().map(Row::read).collect()
}

/// The agent's turns that have not ended and stay without it: responses, and turns in conversations of other agents.
/// Locked until the transaction ends; those that stand in line last, as whoever ends a turn locks them.
pub(crate) async fn open_elsewhere(tx: &mut Tx, agent_id: &str) -> Result<Vec<StoredTurn>> {
    macro_rules! open {
        ($lock:literal) => {
            concat!(
                "SELECT ",
                columns!(),
                " FROM turn WHERE tenant = $1 AND agent_id = $2 AND state IN ('queued', 'running', 'awaiting_input') \
                 AND (on_input = 'finish' OR EXISTS (SELECT 1 FROM session s WHERE s.tenant = turn.tenant \
                 AND s.id = turn.session_id AND s.agent_id <> $2)) \
                 ORDER BY CASE WHEN state = 'queued' THEN 1 ELSE 0 END, pos",
                $lock
            )
        };
    }
    let tenant = tx.tenant();
    let sql = match tx.conn() {
        Conn::Postgres(_) => open!(" FOR UPDATE"),
        Conn::Sqlite(_) => open!(""),
    };
    let rows: Vec<Row> = on!(tx, conn => sqlx::query_as(sql).bind(&*tenant).bind(agent_id).fetch_all(conn).await)
        .doing("look for an agent's open turns")?;
    rows.into_iter().map(Row::read).collect()
}

/// The version by which an agent answered last in a session, or in the line of turns that ends with `head`; in a line also
/// the one it was named by where it was handed on to it. None: it has no part in it yet.
///
/// # Errors
/// As any query.
pub async fn version_there(tx: &mut Tx, agent: &str, place: Place<'_>) -> Result<Option<i64>> {
    let tenant = tx.tenant();
    let (sql, id) = match place {
        Place::Session(id) => (
            "SELECT agent_id, agent_version, hand_off FROM turn WHERE tenant = $1 AND session_id = $2 AND agent_id = $3 \
             ORDER BY pos DESC LIMIT 1",
            id,
        ),
        Place::Line { head } => (
            "WITH RECURSIVE line (id, parent, back) AS ( \
             SELECT id, parent, 0 FROM turn WHERE tenant = $1 AND id = $2 UNION ALL \
             SELECT t.id, t.parent, l.back + 1 FROM turn t JOIN line l ON t.id = l.parent WHERE t.tenant = $1) \
             SELECT t.agent_id, t.agent_version, t.hand_off FROM line l JOIN turn t ON t.id = l.id \
             WHERE t.tenant = $1 AND (t.agent_id = $3 OR t.hand_off IS NOT NULL) ORDER BY l.back",
            head,
        ),
    };
    let rows: Vec<(String, i64, Option<String>)> =
        on!(tx, conn => sqlx::query_as(sql).bind(&*tenant).bind(id).bind(agent).fetch_all(conn).await)
            .doing("look which version of an agent answers")?;
    for (id, version, hand_off) in rows {
        let hand_off: Option<HandOff> = hand_off.as_deref().map(|h| json::read("a hand-off", h)).transpose()?;
        let named = hand_off.and_then(|hand_off| hand_off.to).filter(|to| to.agent_id == agent).map(|to| to.version);
        if named.is_some() || id == agent {
            return Ok(named.or(Some(version)));
        }
    }
    Ok(None)
}

/// Where turns stand one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    Session(&'a str),
    /// That turn and those it continues.
    Line {
        head: &'a str,
    },
}

/// Forgets what the servers of a turn that has ended were sent along, where there is any of it.
///
/// # Errors
/// As any query.
pub async fn forget_sealed(tx: &mut Tx, id: &str) -> Result<()> {
    let mut request = load(tx, id).await?.request;
    if request.servers.iter().all(|server| server.sealed.is_none()) {
        return Ok(());
    }
    request.servers.iter_mut().for_each(|server| server.sealed = None);
    keep_request(tx, id, &request).await
}

/// Writes anew what came with a turn.
pub(crate) async fn keep_request(tx: &mut Tx, id: &str, request: &TurnRequest) -> Result<()> {
    let (tenant, request) = (tx.tenant(), json::write(request)?);
    on!(tx, conn => sqlx::query("UPDATE turn SET request = $3 WHERE tenant = $1 AND id = $2")
        .bind(&*tenant).bind(id).bind(&request).execute(conn).await.map(|_| ()))
    .doing("keep what a turn works by")
}

impl Tenant<'_> {
    /// # Errors
    /// `NotFound`.
    pub async fn load_turn(&self, id: &str) -> Result<StoredTurn> {
        let mut tx = self.glance().await?;
        load(&mut tx, id).await
    }

    /// The turns that were given up.
    ///
    /// # Errors
    /// As any query.
    pub async fn dead_letters(&self, page: &PageRequest) -> Result<Page<Turn>> {
        macro_rules! given_up {
            ($order:literal) => {
                concat!("SELECT ", columns!(), " FROM turn WHERE tenant = $1 AND state = 'dead_letter' AND ", $order)
            };
        }
        let sql = match page.order {
            Order::Asc => given_up!("id > $2 ORDER BY id LIMIT $3"),
            Order::Desc => given_up!("id < $2 ORDER BY id DESC LIMIT $3"),
        };
        let mut tx = self.read().await?;
        let rows: Vec<Row> =
            on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(paging::cursor(page)).bind(paging::fetch(page))
            .fetch_all(conn).await)
            .doing("list the turns that were given up")?;
        let turns = rows.into_iter().map(|row| row.read().map(|stored| stored.turn)).collect::<Result<Vec<_>>>()?;
        Ok(Page::of(turns, page.limit))
    }

    /// A turn that was given up is one that failed: somebody saw to it.
    ///
    /// # Errors
    /// As any query.
    pub async fn set_aside(&self, id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        on!(tx, conn => sqlx::query("UPDATE turn SET state = 'failed' WHERE tenant = $1 AND id = $2 AND state = 'dead_letter'")
            .bind(self.id()).bind(id).execute(conn).await.map(|_| ()))
        .doing("set a turn aside")?;
        tx.commit().await
    }

    /// The session's turns in order: the first `most` of them, or all.
    ///
    /// # Errors
    /// As any query.
    pub async fn session_turns(&self, session_id: &str, most: Option<usize>) -> Result<Vec<StoredTurn>> {
        let mut tx = self.read().await?;
        let sql =
            concat!("SELECT ", columns!(), " FROM turn WHERE tenant = $1 AND session_id = $2 ORDER BY pos LIMIT $3");
        let most = most.and_then(|most| i64::try_from(most).ok()).unwrap_or(i64::MAX);
        let rows: Vec<Row> =
            on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(session_id).bind(most).fetch_all(conn).await)
                .doing("list a session's turns")?;
        rows.into_iter().map(Row::read).collect()
    }
}
