//! Conversations that agents handed over to people: a queue.
//!
//! Invariant: an entry goes open, taken, done and never back; a turn has one at most.

use frontdesk_api::{
    Error, Micros, Order, Page, PageRequest, Result,
    turn::{HandOffReason, Item},
};

use crate::{Conn, Doing as _, Tenant, Tx, json, on, paging, sessions};

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
    /// The id of the key it was taken with; empty while nobody took it.
    pub taken_key: String,
    pub created_at: Micros,
    pub taken_at: Option<Micros>,
    pub done_at: Option<Micros>,
}

/// Who takes a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person<'a> {
    /// The name that was given.
    pub by: &'a str,
    /// The id of the key that it came with.
    pub key: &'a str,
}

impl Handoff {
    /// That this person has it.
    ///
    /// # Errors
    /// `Conflict` with the code `handoff_not_taken`, `handoff_taken` where another has it, `handoff_done`.
    pub fn is_with(&self, person: Person<'_>) -> Result<()> {
        let id = &self.id;
        let (message, code) = match self.state {
            // Without a key: taken before keys were kept.
            State::Taken if self.taken_by == person.by && ["", person.key].contains(&self.taken_key.as_str()) => {
                return Ok(());
            }
            State::Taken if self.taken_by == person.by => {
                (format!("'{}' has taken the hand-off '{id}' with another key", person.by), "handoff_taken")
            }
            State::Taken => (format!("'{}' has taken the hand-off '{id}'", self.taken_by), "handoff_taken"),
            State::Open => (format!("nobody has taken the hand-off '{id}'"), "handoff_not_taken"),
            State::Done => (format!("the hand-off '{id}' is done"), "handoff_done"),
        };
        Err(Error::conflict(message).with_code(code))
    }
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
        "id, session_id, turn_id, agent_id, reason, message, state, taken_by, taken_key, created_at, taken_at, done_at"
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
    taken_key: String,
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
            taken_key: self.taken_key,
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

/// The hand-over, which stays as it is until the transaction ends, and its conversation with it.
///
/// # Errors
/// `NotFound`.
pub async fn hold(tx: &mut Tx, id: &str) -> Result<Handoff> {
    let tenant = tx.tenant();
    // SQLite writes one transaction after another.
    if matches!(tx.conn(), Conn::Postgres(_)) {
        // The conversation first: who deletes one takes it and then what is of it.
        if let Some(session) = load(tx, id).await?.session_id {
            sessions::hold(tx, &session).await?;
        }
    }
    if let Conn::Postgres(conn) = tx.conn() {
        let held = sqlx::query("SELECT 1 FROM handoff WHERE tenant = $1 AND id = $2 FOR UPDATE");
        held.bind(&*tenant).bind(id).execute(conn).await.map(|_| ()).doing("hold a hand-off")?;
    }
    load(tx, id).await
}

/// Something that was said in a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    pub item: Item,
    /// When its turn began.
    pub at: Micros,
}

/// A place in a conversation.
type At = (i64, i64);

/// What was said in the conversation of a hand-over, in its turn where that stood in none: words alone, those that
/// shields keep from models left out.
///
/// # Errors
/// `Invalid` where the page begins behind something that is not there.
pub async fn words(tx: &mut Tx, handoff: &Handoff, page: &PageRequest) -> Result<Page<Word>> {
    let tenant = tx.tenant();
    macro_rules! said {
        ($what:literal, $where:literal, $rest:literal) => {
            concat!(
                "SELECT ",
                $what,
                " FROM turn t JOIN item i ON i.tenant = t.tenant AND i.turn_id = t.id WHERE t.tenant = $1 AND ",
                $where,
                $rest
            )
        };
    }
    macro_rules! of {
        ($where:literal) => {
            (
                said!("t.pos, i.pos", $where, " AND i.id = $3"),
                said!(
                    "i.id, i.turn_id, i.pos, i.payload, t.created_at",
                    $where,
                    " AND i.hidden = $3 AND i.kind IN ('message', 'refusal', 'content', 'person') \
                     AND (t.pos > $4 OR (t.pos = $4 AND i.pos > $5)) ORDER BY t.pos, i.pos LIMIT $6"
                ),
                said!(
                    "i.id, i.turn_id, i.pos, i.payload, t.created_at",
                    $where,
                    " AND i.hidden = $3 AND i.kind IN ('message', 'refusal', 'content', 'person') \
                     AND (t.pos < $4 OR (t.pos = $4 AND i.pos < $5)) ORDER BY t.pos DESC, i.pos DESC LIMIT $6"
                ),
            )
        };
    }
    let (wher, (place, up, down)) = match &handoff.session_id {
        Some(session) => (session, of!("t.session_id = $2")),
        None => (&handoff.turn_id, of!("t.id = $2")),
    };
    let (from, sql) = match page.order {
        Order::Asc => ((-1, -1), up),
        Order::Desc => ((i64::MAX, i64::MAX), down),
    };
    let (turn, pos) = match &page.after {
        None => from,
        Some(after) => {
            let at: Option<At> =
                on!(tx, conn => sqlx::query_as(place).bind(&*tenant).bind(wher).bind(after).fetch_optional(conn).await)
                    .doing("look for a message")?;
            at.ok_or_else(|| Error::invalid("after", format!("'{after}' is no message of this conversation")))?
        }
    };
    let rows: Vec<(String, String, i64, String, Micros)> =
        on!(tx, conn => sqlx::query_as(sql).bind(&*tenant).bind(wher)
        .bind(false).bind(turn).bind(pos).bind(paging::fetch(page)).fetch_all(conn).await)
        .doing("read what was said")?;
    let read = |(id, turn_id, pos, payload, at): (String, String, i64, String, Micros)| {
        let body = json::read("an item", &payload)?;
        Ok(Word { item: Item { id, turn_id, pos, body }, at })
    };
    Ok(Page::of(rows.into_iter().map(read).collect::<Result<Vec<_>>>()?, page.limit))
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

    /// Gives an open hand-over to a person, or one whose key was revoked or has expired since. Taking what one has changes
    /// nothing.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` with the code `handoff_taken` where another has it, `handoff_done` where it is done.
    pub async fn take_handoff(&self, id: &str, person: Person<'_>, at: Micros) -> Result<Handoff> {
        let mut tx = self.write().await?;
        on!(tx, conn => sqlx::query("UPDATE handoff SET state = 'taken', taken_by = $3, taken_key = $4, taken_at = $5 \
             WHERE tenant = $1 AND id = $2 AND (state = 'open' OR (state = 'taken' AND taken_key <> $4 AND EXISTS \
             (SELECT 1 FROM api_key k WHERE k.tenant = handoff.tenant AND k.id = handoff.taken_key \
             AND (k.revoked_at IS NOT NULL OR k.expires_at <= $5))))")
            .bind(self.id()).bind(id).bind(person.by).bind(person.key).bind(at).execute(conn).await.map(|_| ()))
        .doing("take a conversation over")?;
        let handoff = load(&mut tx, id).await?;
        tx.commit().await?;
        handoff.is_with(person)?;
        Ok(handoff)
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
