//! Agents, at their published versions. The versions themselves are in [`crate::versions`].

use frontdesk_api::{
    Error, Kind, Micros, Order, Page, PageRequest, Result,
    agent::{Agent, AgentSpec},
    turn::TurnState,
};

use crate::{
    Conn, Doing as _, Tenant, Tx, json, on, paging, sessions,
    turns::{self, OnInput, StoredTurn},
    versions::{self, Change},
};

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    version: i64,
    newest: i64,
    spec: String,
    created_at: Micros,
    updated_at: Micros,
}

impl Row {
    fn read(self) -> Result<Agent> {
        Ok(Agent {
            spec: json::read("an agent", &self.spec)?,
            id: self.id,
            version: self.version,
            newest: self.newest,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// What a list of names says of an agent.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct NamedAgent {
    pub id: String,
    pub name: String,
    pub created_at: Micros,
}

/// The agent of turns and sessions that belong to none: what such a turn works by stands with the turn. No one is shown
/// it, and no one can change it.
pub const INLINE: &str = "agent_inline";

/// Writes [`INLINE`] where the tenant does not have it yet.
///
/// # Errors
/// As any query.
pub async fn ensure_inline(tx: &mut Tx, at: Micros) -> Result<()> {
    let tenant = tx.tenant();
    let new = on!(tx, conn => sqlx::query("INSERT INTO agent (tenant, id, name, version, created_at, updated_at) VALUES ($1, $2, NULL, 1, $3, $3) ON CONFLICT DO NOTHING")
        .bind(&*tenant).bind(INLINE).bind(at).execute(conn).await.map(|done| done.rows_affected()))
    .doing("write the agent of turns without one")?;
    if new > 0 {
        versions::add(tx, INLINE, 1, &Change::first(&AgentSpec::new(INLINE), None, at)).await?;
    }
    Ok(())
}

/// The agent as it was at `version`.
///
/// # Errors
/// `NotFound`.
pub async fn load_version(tx: &mut Tx, id: &str, version: i64) -> Result<Agent> {
    let tenant = tx.tenant();
    let row: Option<Row> =
        on!(tx, conn => sqlx::query_as("SELECT a.id, v.version, a.newest, v.spec, a.created_at, v.created_at AS updated_at \
         FROM agent a JOIN agent_version v ON v.tenant = a.tenant AND v.agent_id = a.id \
         WHERE a.tenant = $1 AND a.id = $2 AND v.version = $3")
        .bind(&*tenant).bind(id).bind(version).fetch_optional(conn).await)
        .doing("load an agent's version")?;
    row.ok_or_else(|| missing(id))?.read()
}

/// What a turn works by: what stands with it, or its agent's version.
///
/// # Errors
/// `NotFound`.
pub async fn works_by(tx: &mut Tx, stored: &StoredTurn) -> Result<AgentSpec> {
    match &stored.request.spec {
        Some(spec) => Ok(spec.clone()),
        None => Ok(load_version(tx, &stored.turn.agent_id, stored.turn.agent_version).await?.spec),
    }
}

impl Tenant<'_> {
    /// Writes a new agent, with its version 1 published. `by`: the key that asks for it.
    ///
    /// # Errors
    /// `Conflict` when the name is taken.
    pub async fn add_agent(&self, id: &str, spec: &AgentSpec, by: Option<&str>, at: Micros) -> Result<Agent> {
        self.add_agent_by(id, &Change::first(spec, by, at)).await
    }

    /// As [`Tenant::add_agent`], with a note of why.
    ///
    /// # Errors
    /// As [`Tenant::add_agent`].
    pub async fn add_agent_by(&self, id: &str, change: &Change<'_>) -> Result<Agent> {
        let (spec, at) = (change.spec, change.at);
        let mut tx = self.write().await?;
        on!(tx, conn => sqlx::query("INSERT INTO agent (tenant, id, name, version, created_at, updated_at) VALUES ($1, $2, $3, 1, $4, $4)")
            .bind(self.id()).bind(id).bind(&spec.name).bind(at).execute(conn).await.map(|_| ()))
        .doing("create an agent")
        .map_err(|e| taken(e, spec))?;
        versions::add(&mut tx, id, 1, change).await?;
        tx.commit().await?;
        Ok(Agent { id: id.to_owned(), version: 1, newest: 1, spec: spec.clone(), created_at: at, updated_at: at })
    }

    /// The agent at its published version.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn load_agent(&self, id: &str) -> Result<Agent> {
        visible(id)?;
        let mut tx = self.glance().await?;
        let row: Option<Row> =
            on!(tx, conn => sqlx::query_as("SELECT a.id, a.version, a.newest, v.spec, a.created_at, a.updated_at FROM agent a \
             JOIN agent_version v ON v.tenant = a.tenant AND v.agent_id = a.id AND v.version = a.version \
             WHERE a.tenant = $1 AND a.id = $2")
            .bind(self.id()).bind(id).fetch_optional(conn).await)
            .doing("load an agent")?;
        row.ok_or_else(|| missing(id))?.read()
    }

    /// The agent as it was at `version`.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn load_agent_version(&self, id: &str, version: i64) -> Result<Agent> {
        load_version(&mut self.glance().await?, id, version).await
    }

    /// Who answers in a session of `agent`, at the version that the session is on: another agent where it was handed to
    /// one that is there.
    ///
    /// # Errors
    /// `NotFound`, also when the session belongs to another agent.
    pub async fn load_answering(&self, agent: &str, session: &str) -> Result<Agent> {
        let mut tx = self.glance().await?;
        let row: Option<Row> =
            on!(tx, conn => sqlx::query_as("SELECT a.id, v.version, a.newest, v.spec, a.created_at, v.created_at AS updated_at FROM session s \
             LEFT JOIN agent h ON h.tenant = s.tenant AND h.id = s.answers_agent \
             JOIN agent a ON a.tenant = s.tenant AND a.id = COALESCE(h.id, s.agent_id) \
             JOIN agent_version v ON v.tenant = a.tenant AND v.agent_id = a.id \
             AND v.version = CASE WHEN h.id IS NULL THEN s.agent_version ELSE s.answers_version END \
             WHERE s.tenant = $1 AND s.agent_id = $2 AND s.id = $3")
            .bind(self.id()).bind(agent).bind(session).fetch_optional(conn).await)
            .doing("look who answers in a session")?;
        row.ok_or_else(|| sessions::missing(session))?.read()
    }

    /// # Errors
    /// As any query.
    pub async fn find_agent_named(&self, name: &str) -> Result<Option<Agent>> {
        let mut tx = self.glance().await?;
        let row: Option<Row> =
            on!(tx, conn => sqlx::query_as("SELECT a.id, a.version, a.newest, v.spec, a.created_at, a.updated_at FROM agent a \
             JOIN agent_version v ON v.tenant = a.tenant AND v.agent_id = a.id AND v.version = a.version \
             WHERE a.tenant = $1 AND a.name = $2")
            .bind(self.id()).bind(name).fetch_optional(conn).await)
            .doing("look up an agent by its name")?;
        row.map(Row::read).transpose()
    }

    /// The agents that have a name, by name; the first thousand, which are more than anyone reads.
    ///
    /// # Errors
    /// As any query.
    pub async fn named_agents(&self) -> Result<Vec<NamedAgent>> {
        let mut tx = self.read().await?;
        on!(tx, conn => sqlx::query_as("SELECT id, name, created_at FROM agent WHERE tenant = $1 AND name IS NOT NULL \
             ORDER BY name LIMIT 1000")
            .bind(self.id()).fetch_all(conn).await)
        .doing("list the names of agents")
    }

    /// # Errors
    /// As any query.
    pub async fn list_agents(&self, page: &PageRequest) -> Result<Page<Agent>> {
        let sql = match page.order {
            Order::Asc => {
                "SELECT a.id, a.version, a.newest, v.spec, a.created_at, a.updated_at FROM agent a \
                 JOIN agent_version v ON v.tenant = a.tenant AND v.agent_id = a.id AND v.version = a.version \
                 WHERE a.tenant = $1 AND a.id > $2 AND a.id <> $4 ORDER BY a.id LIMIT $3"
            }
            Order::Desc => {
                "SELECT a.id, a.version, a.newest, v.spec, a.created_at, a.updated_at FROM agent a \
                 JOIN agent_version v ON v.tenant = a.tenant AND v.agent_id = a.id AND v.version = a.version \
                 WHERE a.tenant = $1 AND a.id < $2 AND a.id <> $4 ORDER BY a.id DESC LIMIT $3"
            }
        };
        let mut tx = self.read().await?;
        let rows: Vec<Row> =
            on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(paging::cursor(page)).bind(paging::fetch(page))
            .bind(INLINE).fetch_all(conn).await)
            .doing("list agents")?;
        let agents = rows.into_iter().map(Row::read).collect::<Result<Vec<_>>>()?;
        Ok(Page::of(agents, page.limit))
    }
}

/// Parts an agent from what stays when it goes: responses, and turns in conversations of other agents that were handed
/// to it. What stands in line in such a conversation is its first agent's again; all else is [`INLINE`]'s, and has with it
/// what it worked by. Of those the ones that have not ended, for the caller to end, in the order of their conversations'
/// lines. The agent's row is locked until the transaction ends, so that no turn begins meanwhile that would go with it.
///
/// # Errors
/// `NotFound`.
pub async fn part(tx: &mut Tx, id: &str, at: Micros) -> Result<Vec<StoredTurn>> {
    visible(id)?;
    let tenant = tx.tenant();
    let lock = match tx.conn() {
        Conn::Postgres(_) => "SELECT id FROM agent WHERE tenant = $1 AND id = $2 FOR UPDATE",
        Conn::Sqlite(_) => "SELECT id FROM agent WHERE tenant = $1 AND id = $2",
    };
    let found: Option<String> =
        on!(tx, conn => sqlx::query_scalar(lock).bind(&*tenant).bind(id).fetch_optional(conn).await)
            .doing("look for an agent")?;
    found.ok_or_else(|| missing(id))?;
    ensure_inline(tx, at).await?;
    let mut open = turns::open_elsewhere(tx, id).await?;
    // A response works by what stands with it.
    open.retain(|stored| stored.turn.state != TurnState::Queued || stored.on_input == OnInput::Finish);
    // Ended before those they stand behind, none of them begins.
    open.sort_by_key(|stored| stored.turn.state != TurnState::Queued);
    on!(tx, conn => sqlx::query("UPDATE turn SET \
         agent_id = (SELECT s.agent_id FROM session s WHERE s.tenant = turn.tenant AND s.id = turn.session_id), \
         agent_version = (SELECT s.agent_version FROM session s WHERE s.tenant = turn.tenant AND s.id = turn.session_id) \
         WHERE tenant = $1 AND agent_id = $2 AND state = 'queued' AND on_input = 'suspend' AND EXISTS \
         (SELECT 1 FROM session s WHERE s.tenant = turn.tenant AND s.id = turn.session_id AND s.agent_id <> $2)")
        .bind(&*tenant).bind(id).execute(conn).await.map(|_| ()))
    .doing("give turns in line back to the agent they began with")?;
    for stored in &mut open {
        if stored.request.spec.is_none() {
            stored.request.spec = Some(works_by(tx, stored).await?);
            turns::keep_request(tx, &stored.turn.id, &stored.request).await?;
        }
        (stored.turn.agent_id, stored.turn.agent_version) = (INLINE.to_owned(), 1);
    }
    on!(tx, conn => sqlx::query("UPDATE turn SET agent_id = $3, agent_version = 1 WHERE tenant = $1 AND agent_id = $2 \
         AND (on_input = 'finish' OR EXISTS \
         (SELECT 1 FROM session s WHERE s.tenant = turn.tenant AND s.id = turn.session_id AND s.agent_id <> $2))")
        .bind(&*tenant).bind(id).bind(INLINE).execute(conn).await.map(|_| ()))
    .doing("keep turns of an agent that goes")?;
    Ok(open)
}

/// The conversations that go with an agent, and their containers.
///
/// # Errors
/// As any query.
pub async fn workspaces(tx: &mut Tx, id: &str) -> Result<Vec<String>> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query_scalar("SELECT id FROM session WHERE tenant = $1 AND agent_id = $2 UNION ALL \
         SELECT c.id FROM container c JOIN session s ON s.tenant = c.tenant AND s.id = c.session_id \
         WHERE s.tenant = $1 AND s.agent_id = $2 ORDER BY 1")
        .bind(&*tenant).bind(id).fetch_all(conn).await)
    .doing("look up an agent's conversations")
}

/// Deletes the agent with its conversations. Behind [`part`].
///
/// # Errors
/// `NotFound`.
pub async fn delete(tx: &mut Tx, id: &str) -> Result<()> {
    let tenant = tx.tenant();
    let gone = on!(tx, conn => sqlx::query("DELETE FROM agent WHERE tenant = $1 AND id = $2")
        .bind(&*tenant).bind(id).execute(conn).await.map(|done| done.rows_affected()))
    .doing("delete an agent")?;
    if gone == 0 { Err(missing(id)) } else { Ok(()) }
}

pub(crate) fn visible(id: &str) -> Result<()> {
    if id == INLINE { Err(missing(id)) } else { Ok(()) }
}

pub(crate) fn missing(id: &str) -> Error {
    Error::not_found(format!("no agent has the id '{id}'")).with_code("agent_not_found")
}

pub(crate) fn taken(error: Error, spec: &AgentSpec) -> Error {
    let Some(name) = spec.name.as_deref().filter(|_| error.kind == Kind::Conflict) else { return error };
    Error::conflict(format!("an agent named '{name}' exists already")).with_param("name").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{each_database, two_tenants};

    fn spec(name: Option<&str>) -> AgentSpec {
        let spec = serde_json::json!({ "model": "m", "name": name, "instructions": "say \u{0} and ü" });
        serde_json::from_value(spec).expect("a spec")
    }

    #[tokio::test]
    async fn a_name_is_taken_once_in_a_tenant() {
        each_database(|store| async move {
            let (a, b) = two_tenants(&store).await;
            let mine = store.tenant(&a);
            mine.add_agent("agent_1", &spec(Some("shop")), None, 1).await.expect("created");
            let taken = mine.add_agent("agent_2", &spec(Some("shop")), None, 2).await.expect_err("taken");
            assert_eq!((taken.kind, taken.param.as_deref()), (Kind::Conflict, Some("name")));
            store
                .tenant(&b)
                .add_agent("agent_1", &spec(Some("shop")), None, 3)
                .await
                .expect("another tenant's name is free");
            for id in ["agent_3", "agent_4"] {
                mine.add_agent(id, &spec(None), None, 4).await.expect("no name, no clash");
            }
            let page = PageRequest { limit: 2, ..PageRequest::default() };
            let first = mine.list_agents(&page).await.expect("a page");
            assert_eq!(first.items.iter().map(|a| a.id.as_str()).collect::<Vec<_>>(), ["agent_4", "agent_3"]);
            let rest = PageRequest { after: Some("agent_3".into()), ..page };
            let rest = mine.list_agents(&rest).await.expect("a page");
            assert_eq!((rest.items.len(), rest.more), (1, false));
            let mut tx = mine.write().await.expect("a transaction");
            part(&mut tx, "agent_1", 5).await.expect("nothing stays");
            delete(&mut tx, "agent_1").await.expect("deleted");
            tx.commit().await.expect("deleted");
            assert_eq!(mine.load_agent("agent_1").await.expect_err("gone").kind, Kind::NotFound);
        })
        .await;
    }
}
