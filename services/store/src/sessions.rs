//! Conversations as rows.

use frontdesk_api::{
    Error, Kind, Micros, Order, Page, PageRequest, Result,
    customer::{Owner, Sight},
    turn::Session,
};

use crate::{Conn, Doing as _, Tenant, Tx, on, paging};

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    agent_id: String,
    agent_version: i64,
    name: String,
    head: Option<String>,
    created_at: Micros,
}

impl From<Row> for Session {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            agent_id: row.agent_id,
            agent_version: row.agent_version,
            name: row.name,
            head: row.head,
            created_at: row.created_at,
        }
    }
}

impl Tenant<'_> {
    /// Adds a session that is `owner`'s, or nobody's.
    ///
    /// # Errors
    /// `NotFound` when the agent does not exist.
    pub async fn add_session(&self, session: &Session, owner: Option<&Owner>) -> Result<()> {
        let mut tx = self.write().await?;
        on!(tx, conn => sqlx::query("INSERT INTO session (tenant, id, agent_id, agent_version, name, created_at, customer, issuer) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(self.id()).bind(&session.id).bind(&session.agent_id).bind(session.agent_version).bind(&session.name)
            .bind(session.created_at).bind(owner.map(|o| &o.sub)).bind(owner.map(|o| &o.issuer)).execute(conn).await.map(|_| ()))
        .doing("create a session")
        .map_err(|e| match e.kind {
            Kind::Conflict => Error::not_found(format!("no agent has the id '{}'", session.agent_id)).with_source(e),
            _ => e,
        })?;
        tx.commit().await
    }

    /// # Errors
    /// `NotFound`, also when the session belongs to another agent.
    pub async fn load_session(&self, agent_id: &str, id: &str) -> Result<Session> {
        let mut tx = self.glance().await?;
        load(&mut tx, agent_id, id).await
    }

    /// The sessions of an agent that are in `sight`.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_sessions(&self, agent_id: &str, sight: &Sight, page: &PageRequest) -> Result<Page<Session>> {
        let sql = match page.order {
            Order::Asc => {
                "SELECT id, agent_id, agent_version, name, head, created_at FROM session \
                 WHERE tenant = $1 AND agent_id = $2 AND id > $3 \
                 AND ($5 OR (customer IS NULL AND $6) OR (customer = $7 AND issuer = $8)) ORDER BY id LIMIT $4"
            }
            Order::Desc => {
                "SELECT id, agent_id, agent_version, name, head, created_at FROM session \
                 WHERE tenant = $1 AND agent_id = $2 AND id < $3 \
                 AND ($5 OR (customer IS NULL AND $6) OR (customer = $7 AND issuer = $8)) ORDER BY id DESC LIMIT $4"
            }
        };
        let owner = match sight {
            Sight::Of(owner) => Some(owner),
            Sight::All | Sight::Unowned => None,
        };
        let mut tx = self.read().await?;
        let rows: Vec<Row> =
            on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(agent_id).bind(paging::cursor(page))
            .bind(paging::fetch(page)).bind(*sight == Sight::All).bind(*sight == Sight::Unowned)
            .bind(owner.map(|o| &o.sub)).bind(owner.map(|o| &o.issuer)).fetch_all(conn).await)
            .doing("list sessions")?;
        Ok(Page::of(rows.into_iter().map(Session::from).collect(), page.limit))
    }

    /// Deletes the conversation with its turns.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_session(&self, agent_id: &str, id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        let gone = on!(tx, conn => sqlx::query("DELETE FROM session WHERE tenant = $1 AND agent_id = $2 AND id = $3")
            .bind(self.id()).bind(agent_id).bind(id).execute(conn).await.map(|done| done.rows_affected()))
        .doing("delete a session")?;
        if gone == 0 {
            return Err(missing(id));
        }
        tx.commit().await
    }
}

/// # Errors
/// `NotFound`, also when the session belongs to another agent.
pub async fn load(tx: &mut Tx, agent_id: &str, id: &str) -> Result<Session> {
    let tenant = tx.tenant();
    let row: Option<Row> =
        on!(tx, conn => sqlx::query_as("SELECT id, agent_id, agent_version, name, head, created_at FROM session \
         WHERE tenant = $1 AND agent_id = $2 AND id = $3")
        .bind(&*tenant).bind(agent_id).bind(id).fetch_optional(conn).await)
        .doing("load a session")?;
    row.map(Session::from).ok_or_else(|| missing(id))
}

/// The agent that the session began with; None: there is no such session.
///
/// # Errors
/// As any query.
pub async fn agent(tx: &mut Tx, id: &str) -> Result<Option<String>> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query_scalar("SELECT agent_id FROM session WHERE tenant = $1 AND id = $2")
        .bind(&*tenant).bind(id).fetch_optional(conn).await)
    .doing("look up a session's agent")
}

/// The agent that the conversation was handed to, and its version; None: the one it began with.
///
/// # Errors
/// As any query.
pub async fn answering(tx: &mut Tx, id: &str) -> Result<Option<(String, i64)>> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query_as("SELECT answers_agent, answers_version FROM session s WHERE tenant = $1 AND id = $2 \
         AND EXISTS (SELECT 1 FROM agent a WHERE a.tenant = s.tenant AND a.id = s.answers_agent)")
        .bind(&*tenant).bind(id).fetch_optional(conn).await)
    .doing("look who answers in a session")
}

/// From now on this agent answers in the session, also what stands in line there.
///
/// # Errors
/// As any query.
pub async fn answered_by(tx: &mut Tx, id: &str, agent: &str, version: i64) -> Result<()> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query("UPDATE session SET answers_agent = $3, answers_version = $4 WHERE tenant = $1 AND id = $2")
        .bind(&*tenant).bind(id).bind(agent).bind(version).execute(conn).await.map(|_| ()))
    .doing("hand a session to another agent")?;
    // A response works by what stands with it.
    on!(tx, conn => sqlx::query("UPDATE turn SET agent_id = $3, agent_version = $4 \
         WHERE tenant = $1 AND session_id = $2 AND state = 'queued' AND on_input = 'suspend'")
        .bind(&*tenant).bind(id).bind(agent).bind(version).execute(conn).await.map(|_| ()))
    .doing("hand turns in line to another agent")
}

/// A turn's place in its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// From 0.
    pub pos: i64,
    /// The turn before it.
    pub parent: Option<String>,
    /// The agent that the session began with.
    pub agent_id: String,
    /// It is a conversation of OpenAI's.
    pub is_conversation: bool,
    /// Whose it is; None: nobody's.
    pub owner: Option<Owner>,
}

/// What goes on in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Standing {
    /// Turns that run or wait: one at most.
    pub open: i64,
    /// Turns that stand behind it.
    pub queued: i64,
    /// Hand-overs by which people have it.
    pub taken: i64,
}

/// What goes on in a session whose row this transaction has locked.
///
/// # Errors
/// As any query.
pub async fn standing(tx: &mut Tx, id: &str) -> Result<Standing> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query_as("SELECT \
         (SELECT count(*) FROM turn WHERE tenant = $1 AND session_id = $2 AND state IN ('running', 'awaiting_input')) AS open, \
         (SELECT count(*) FROM turn WHERE tenant = $1 AND session_id = $2 AND state = 'queued') AS queued, \
         (SELECT count(*) FROM handoff WHERE tenant = $1 AND session_id = $2 AND state = 'taken') AS taken")
        .bind(&*tenant).bind(id).fetch_one(conn).await)
    .doing("look what goes on in a session")
}

#[derive(sqlx::FromRow)]
struct Locked {
    turns: i64,
    head: Option<String>,
    agent_id: String,
    is_conversation: bool,
    customer: Option<String>,
    issuer: Option<String>,
}

/// Locks the session's row until the transaction ends, as [`advance`] does. Who needs it and rows of its turns takes it
/// before them, as whoever deletes it does.
///
/// # Errors
/// As any query.
pub async fn hold(tx: &mut Tx, id: &str) -> Result<()> {
    let tenant = tx.tenant();
    // SQLite writes one transaction after another.
    let Conn::Postgres(conn) = tx.conn() else { return Ok(()) };
    let held = sqlx::query("SELECT 1 FROM session WHERE tenant = $1 AND id = $2 FOR NO KEY UPDATE");
    held.bind(&*tenant).bind(id).execute(conn).await.map(|_| ()).doing("hold a session")
}

/// Makes `turn`, of `agent`, the session's newest and says which place it has. Locks the session's row before anything is
/// read of it, so two turns that begin at once stand one behind the other; and before it that the agent stays, since who
/// deletes one takes it and then its conversations.
///
/// # Errors
/// `NotFound`.
pub async fn advance(tx: &mut Tx, id: &str, turn: &str, agent: &str) -> Result<Place> {
    let tenant = tx.tenant();
    macro_rules! advance {
        ($with:literal, $and:literal) => {
            concat!(
                $with,
                "UPDATE session SET turns = turns + 1 WHERE tenant = $1 AND id = $2",
                $and,
                " RETURNING turns, head, agent_id, metadata IS NOT NULL AS is_conversation, customer, issuer"
            )
        };
    }
    let query = match tx.conn() {
        // What names no column of the session is looked at once, before its row.
        Conn::Postgres(_) => advance!(
            "WITH stays AS MATERIALIZED (SELECT 1 FROM agent WHERE tenant = $1 AND id = $3 FOR KEY SHARE) ",
            " AND (SELECT count(*) FROM stays) >= 0"
        ),
        Conn::Sqlite(_) => advance!("", " AND $3 <> ''"),
    };
    let locked: Option<Locked> =
        on!(tx, conn => sqlx::query_as(query).bind(&*tenant).bind(id).bind(agent).fetch_optional(conn).await)
            .doing("take a place in a session")?;
    let Locked { turns, head, agent_id, is_conversation, customer, issuer } = locked.ok_or_else(|| missing(id))?;
    on!(tx, conn => sqlx::query("UPDATE session SET head = $3 WHERE tenant = $1 AND id = $2")
        .bind(&*tenant).bind(id).bind(turn).execute(conn).await.map(|_| ()))
    .doing("put a turn into its session")?;
    let owner = customer.map(|sub| Owner { sub, issuer: issuer.unwrap_or_default() });
    Ok(Place { pos: turns - 1, parent: head, agent_id, is_conversation, owner })
}

/// Whose the session (or conversation) is; None also where there is none of the id.
///
/// # Errors
/// As any query.
pub async fn owner(tx: &mut Tx, id: &str) -> Result<Option<Owner>> {
    let tenant = tx.tenant();
    let row: Option<(Option<String>, Option<String>)> =
        on!(tx, conn => sqlx::query_as("SELECT customer, issuer FROM session WHERE tenant = $1 AND id = $2")
        .bind(&*tenant).bind(id).fetch_optional(conn).await)
        .doing("look up whose a session is")?;
    Ok(row.and_then(|(customer, issuer)| Some(Owner { sub: customer?, issuer: issuer.unwrap_or_default() })))
}

/// Makes a session that is nobody's `owner`'s. Whose it is now: of two who claim it at once, the first one's.
///
/// # Errors
/// As any query.
pub async fn claim(tx: &mut Tx, id: &str, owner_now: &Owner) -> Result<Option<Owner>> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query("UPDATE session SET customer = $3, issuer = $4 WHERE tenant = $1 AND id = $2 AND customer IS NULL")
        .bind(&*tenant).bind(id).bind(&owner_now.sub).bind(&owner_now.issuer).execute(conn).await.map(|_| ()))
    .doing("claim a session")?;
    owner(tx, id).await
}

/// The error for a session that is not there, or not to be seen.
#[must_use]
pub fn missing(id: &str) -> Error {
    Error::not_found(format!("this agent has no session with the id '{id}'")).with_code("session_not_found")
}
