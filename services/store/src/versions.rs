//! The versions of an agent: each change is a row that stays as it is, and the agent's row says which one is published.
//!
//! Invariants: numbers only grow and are given once; publishing, an older version too, is one statement on the agent's
//! row, so at every moment exactly one version is what new conversations begin with.

use frontdesk_api::{
    Error, Micros, Order, Page, PageRequest, Result,
    agent::{AgentSpec, AgentVersion},
};

use crate::{
    Doing as _, Tenant, Tx,
    agents::{missing, taken, visible},
    json, on,
};

/// The beginning of every query for versions of the agent `$2` of the tenant `$1`.
macro_rules! select {
    () => {
        "SELECT v.agent_id, v.version, v.spec, v.note, v.created_at, v.created_by, v.published_at, v.published_by, \
         a.version AS current FROM agent a JOIN agent_version v ON v.tenant = a.tenant AND v.agent_id = a.id \
         WHERE a.tenant = $1 AND a.id = $2 "
    };
}

/// A version to write.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    pub spec: &'a AgentSpec,
    /// Why, for people.
    pub note: Option<&'a str>,
    /// The key that asks for it.
    pub by: Option<&'a str>,
    pub at: Micros,
    /// Written only while this is the newest version; None: whatever the newest is.
    pub after: Option<i64>,
    /// Published with the same commit.
    pub publish: bool,
}

impl<'a> Change<'a> {
    /// What an agent begins with.
    #[must_use]
    pub fn first(spec: &'a AgentSpec, by: Option<&'a str>, at: Micros) -> Self {
        Self { spec, note: None, by, at, after: None, publish: true }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    agent_id: String,
    version: i64,
    spec: String,
    note: Option<String>,
    created_at: Micros,
    created_by: Option<String>,
    published_at: Option<Micros>,
    published_by: Option<String>,
    current: i64,
}

impl Row {
    fn read(self) -> Result<AgentVersion> {
        Ok(AgentVersion {
            spec: json::read("an agent", &self.spec)?,
            published: self.current == self.version,
            agent_id: self.agent_id,
            version: self.version,
            note: self.note,
            created_at: self.created_at,
            created_by: self.created_by,
            published_at: self.published_at,
            published_by: self.published_by,
        })
    }
}

/// Writes a version's row. Its number is the caller's to have drawn.
pub(crate) async fn add(tx: &mut Tx, agent: &str, version: i64, change: &Change<'_>) -> Result<()> {
    let (tenant, spec) = (tx.tenant(), json::write(change.spec)?);
    let (at, by) = (change.publish.then_some(change.at), change.by.filter(|_| change.publish));
    on!(tx, conn => sqlx::query("INSERT INTO agent_version (tenant, agent_id, version, spec, note, created_at, created_by, published_at, published_by) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
        .bind(&*tenant).bind(agent).bind(version).bind(&spec).bind(change.note).bind(change.at).bind(change.by).bind(at).bind(by)
        .execute(conn).await.map(|_| ()))
    .doing("write an agent's version")
}

impl Tenant<'_> {
    /// Writes the agent's next version.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` with the code `version_changed` when another version is the newest, and when it is
    /// published and its name is taken.
    pub async fn add_agent_version(&self, agent: &str, change: &Change<'_>) -> Result<AgentVersion> {
        visible(agent)?;
        let mut tx = self.write().await?;
        let newest: Option<i64> = on!(tx, conn => sqlx::query_scalar("UPDATE agent SET newest = newest + 1 \
             WHERE tenant = $1 AND id = $2 AND newest = COALESCE(CAST($3 AS BIGINT), newest) RETURNING newest")
            .bind(self.id()).bind(agent).bind(change.after).fetch_optional(conn).await)
        .doing("draw an agent's version")?;
        let Some(version) = newest else {
            let (_, newest) = standing(&mut tx, agent).await?;
            let written = change.after.unwrap_or(newest);
            return Err(changed(format!("the newest version of the agent is {newest}, not {written}")));
        };
        add(&mut tx, agent, version, change).await?;
        if change.publish {
            point(&mut tx, agent, version, change.spec, change.at, None).await?;
        }
        let written = load(&mut tx, agent, version).await?;
        tx.commit().await?;
        Ok(written)
    }

    /// Makes `version` the published one, newer or older than what is. The same again changes nothing but when it was
    /// published. `expected`: only while this one is published.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` with the code `version_changed` when another one than `expected` is published, and when
    /// its name is taken.
    pub async fn publish_agent_version(
        &self,
        agent: &str,
        version: i64,
        expected: Option<i64>,
        by: Option<&str>,
        at: Micros,
    ) -> Result<AgentVersion> {
        visible(agent)?;
        let mut tx = self.write().await?;
        let wanted = load(&mut tx, agent, version).await?;
        point(&mut tx, agent, version, &wanted.spec, at, expected).await?;
        on!(tx, conn => sqlx::query("UPDATE agent_version SET published_at = $4, published_by = $5 \
             WHERE tenant = $1 AND agent_id = $2 AND version = $3")
            .bind(self.id()).bind(agent).bind(version).bind(at).bind(by).execute(conn).await.map(|_| ()))
        .doing("note who published a version")?;
        tx.commit().await?;
        Ok(AgentVersion { published: true, published_at: Some(at), published_by: by.map(str::to_owned), ..wanted })
    }

    /// # Errors
    /// `NotFound` for the agent and for the version.
    pub async fn load_version(&self, agent: &str, version: i64) -> Result<AgentVersion> {
        visible(agent)?;
        let mut tx = self.read().await?;
        load(&mut tx, agent, version).await
    }

    /// The newest version, a draft or not.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn load_newest_version(&self, agent: &str) -> Result<AgentVersion> {
        visible(agent)?;
        let mut tx = self.read().await?;
        let (_, newest) = standing(&mut tx, agent).await?;
        load(&mut tx, agent, newest).await
    }

    /// The agent's versions by number; a page's cursor is a number.
    ///
    /// # Errors
    /// `NotFound` for the agent.
    pub async fn list_agent_versions(&self, agent: &str, page: &PageRequest) -> Result<Page<AgentVersion>> {
        visible(agent)?;
        let mut tx = self.read().await?;
        standing(&mut tx, agent).await?;
        let after = page.after.as_deref().and_then(|after| after.parse::<i64>().ok());
        let (sql, cursor) = match page.order {
            Order::Asc => (concat!(select!(), "AND v.version > $3 ORDER BY v.version LIMIT $4"), after.unwrap_or(0)),
            Order::Desc => {
                (concat!(select!(), "AND v.version < $3 ORDER BY v.version DESC LIMIT $4"), after.unwrap_or(i64::MAX))
            }
        };
        let rows: Vec<Row> = on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(agent).bind(cursor)
            .bind(crate::paging::fetch(page)).fetch_all(conn).await)
        .doing("list an agent's versions")?;
        let versions = rows.into_iter().map(Row::read).collect::<Result<Vec<_>>>()?;
        Ok(Page::of(versions, page.limit))
    }
}

async fn load(tx: &mut Tx, agent: &str, version: i64) -> Result<AgentVersion> {
    let tenant = tx.tenant();
    let row: Option<Row> = on!(tx, conn => sqlx::query_as(concat!(select!(), "AND v.version = $3"))
        .bind(&*tenant).bind(agent).bind(version).fetch_optional(conn).await)
    .doing("load an agent's version")?;
    match row {
        Some(row) => row.read(),
        None => {
            let (_, newest) = standing(tx, agent).await?;
            let message = format!("the agent '{agent}' has no version {version}; its newest is {newest}");
            Err(Error::not_found(message).with_code("version_not_found"))
        }
    }
}

/// The agent's published and its newest version.
async fn standing(tx: &mut Tx, agent: &str) -> Result<(i64, i64)> {
    let tenant = tx.tenant();
    let row: Option<(i64, i64)> =
        on!(tx, conn => sqlx::query_as("SELECT version, newest FROM agent WHERE tenant = $1 AND id = $2")
        .bind(&*tenant).bind(agent).fetch_optional(conn).await)
        .doing("look at an agent")?;
    row.ok_or_else(|| missing(agent))
}

/// The one statement by which a version becomes what new conversations begin with.
async fn point(
    tx: &mut Tx,
    agent: &str,
    version: i64,
    spec: &AgentSpec,
    at: Micros,
    expected: Option<i64>,
) -> Result<()> {
    let tenant = tx.tenant();
    let done = on!(tx, conn => sqlx::query("UPDATE agent SET version = $3, name = $4, updated_at = $5 \
         WHERE tenant = $1 AND id = $2 AND version = COALESCE(CAST($6 AS BIGINT), version)")
        .bind(&*tenant).bind(agent).bind(version).bind(&spec.name).bind(at).bind(expected)
        .execute(conn).await.map(|done| done.rows_affected()))
    .doing("publish a version")
    .map_err(|e| taken(e, spec))?;
    if done > 0 {
        return Ok(());
    }
    let (published, _) = standing(tx, agent).await?;
    let expected = expected.unwrap_or(published);
    Err(changed(format!("the published version of the agent is {published}, not {expected}")))
}

/// Somebody else was quicker.
fn changed(what: String) -> Error {
    Error::conflict(format!("{what}: somebody changed it meanwhile; look at it and ask again"))
        .with_code("version_changed")
}

#[cfg(test)]
mod tests {
    use frontdesk_api::Kind;

    use super::*;
    use crate::testing::{each_database, two_tenants};

    fn spec(name: &str, instructions: &str) -> AgentSpec {
        AgentSpec { name: Some(name.into()), instructions: instructions.into(), ..AgentSpec::new("m") }
    }

    fn draft<'a>(spec: &'a AgentSpec, at: Micros) -> Change<'a> {
        Change { spec, note: Some("why not"), by: Some("key_2"), at, after: None, publish: false }
    }

    #[tokio::test]
    async fn a_draft_is_live_once_it_is_published_and_an_older_one_again() {
        each_database(|store| async move {
            let (a, b) = two_tenants(&store).await;
            let (mine, theirs) = (store.tenant(&a), store.tenant(&b));
            mine.add_agent("agent_1", &spec("shop", "one"), Some("key_1"), 5).await.expect("created");
            let second = spec("store", "two \u{0} and ü");
            let change = Change { note: Some("try"), ..draft(&second, 6) };
            let written = mine.add_agent_version("agent_1", &change).await.expect("a draft");
            assert_eq!((written.version, written.published, written.published_at), (2, false, None));
            assert_eq!((written.created_by.as_deref(), written.note.as_deref()), (Some("key_2"), Some("try")));
            assert_eq!(written.spec, second);
            let live = mine.load_agent("agent_1").await.expect("the agent");
            assert_eq!((live.version, live.newest, live.spec.instructions.as_str()), (1, 2, "one"));
            assert_eq!(mine.find_agent_named("store").await.expect("asked"), None, "a draft's name is not taken yet");

            let shown = mine.publish_agent_version("agent_1", 2, Some(1), Some("key_3"), 7).await.expect("published");
            assert_eq!(
                (shown.published, shown.published_at, shown.published_by.as_deref()),
                (true, Some(7), Some("key_3"))
            );
            assert_eq!(mine.load_version("agent_1", 2).await.expect("the version"), shown);
            let live = mine.find_agent_named("store").await.expect("asked").expect("by its new name");
            assert_eq!((live.version, live.created_at, live.updated_at), (2, 5, 7));

            let refused = mine.publish_agent_version("agent_1", 1, Some(1), None, 8).await.expect_err("late");
            assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Conflict, Some("version_changed")));
            assert!(refused.message.contains("is 2, not 1"), "{refused}");
            mine.publish_agent_version("agent_1", 1, Some(2), None, 9).await.expect("rolled back");
            let back = mine.load_agent("agent_1").await.expect("the agent");
            assert_eq!((back.version, back.newest, back.spec.name.as_deref()), (1, 2, Some("shop")));

            for refused in [
                theirs.load_version("agent_1", 1).await.map(|_| ()),
                theirs.add_agent_version("agent_1", &draft(&second, 7)).await.map(|_| ()),
                theirs.publish_agent_version("agent_1", 2, None, None, 7).await.map(|_| ()),
                theirs.list_agent_versions("agent_1", &PageRequest::default()).await.map(|_| ()),
                mine.publish_agent_version("agent_1", 3, None, None, 7).await.map(|_| ()),
            ] {
                assert_eq!(refused.expect_err("another tenant's, or not there").kind, Kind::NotFound);
            }
            assert_eq!(mine.load_agent("agent_1").await.expect("unchanged"), back);
        })
        .await;
    }

    #[tokio::test]
    async fn a_draft_that_came_too_late_is_refused_and_takes_no_number() {
        each_database(|store| async move {
            let (cx, _) = two_tenants(&store).await;
            let mine = store.tenant(&cx);
            mine.add_agent("agent_1", &spec("shop", "one"), None, 1).await.expect("created");
            let (two, three) = (spec("shop", "two"), spec("other", "three"));
            let after = |spec, after| Change { note: None, after, ..draft(spec, 2) };
            mine.add_agent_version("agent_1", &after(&two, Some(1))).await.expect("in time");
            let refused = mine.add_agent_version("agent_1", &after(&two, Some(1))).await.expect_err("late");
            assert!(refused.message.contains("is 2, not 1"), "{refused}");
            let at_once = Change { publish: true, ..after(&three, Some(2)) };
            let written = mine.add_agent_version("agent_1", &at_once).await.expect("published at once");
            assert_eq!((written.version, written.published, written.published_at), (3, true, Some(2)));
            assert_eq!(mine.load_newest_version("agent_1").await.expect("the newest"), written);

            mine.add_agent("agent_2", &spec("shop", ""), None, 3).await.expect("the name is free now");
            let taken = mine.publish_agent_version("agent_1", 2, None, None, 4).await.expect_err("taken");
            assert_eq!((taken.kind, taken.param.as_deref()), (Kind::Conflict, Some("name")));

            let numbers = async |page: PageRequest| {
                let page = mine.list_agent_versions("agent_1", &page).await.expect("a page");
                (page.items.iter().map(|v| v.version).collect::<Vec<_>>(), page.more)
            };
            let page = PageRequest { limit: 2, ..PageRequest::default() };
            assert_eq!(numbers(page.clone()).await, (vec![3, 2], true));
            assert_eq!(numbers(PageRequest { after: Some("2".into()), ..page.clone() }).await, (vec![1], false));
            assert_eq!(numbers(PageRequest { order: Order::Asc, ..page }).await, (vec![1, 2], true));
        })
        .await;
    }
}
