//! Tool groups, their tools, and the data tools keep.

use frontdesk_api::{Error, Micros, Result, tools::ToolDef};
use serde_json::Value;

use crate::{Conn, Doing as _, Tenant, Tx, json, on};

mod changes;

pub use changes::StoredToolgroupChange;
pub(crate) use changes::add as add_change;

/// A registered group.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredToolgroup {
    pub id: String,
    pub provider_id: String,
    /// `own` or `third_party`.
    pub trust: String,
    pub args: Value,
    /// The members of its arguments that are secrets, sealed; None: it has none.
    pub sealed: Option<Vec<u8>>,
    /// What the operator says of tools that nobody could list yet; None: it stands in the tools.
    pub overrides: Option<Value>,
    /// Powers the operator granted.
    pub grants: Vec<String>,
    /// Of what was inspected.
    pub hash: String,
    /// New at every registration; caches compare it.
    pub revision: String,
    pub created_at: Micros,
    /// None: its tools can be called.
    pub disabled_at: Option<Micros>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    provider_id: String,
    trust: String,
    args: String,
    sealed: Option<Vec<u8>>,
    overrides: Option<String>,
    grants: String,
    hash: String,
    revision: String,
    created_at: Micros,
    disabled_at: Option<Micros>,
}

impl Row {
    fn read(self) -> Result<StoredToolgroup> {
        Ok(StoredToolgroup {
            args: json::read("a tool group's arguments", &self.args)?,
            grants: json::read("a tool group's grants", &self.grants)?,
            overrides: self.overrides.map(|text| json::read("what is said of a group's tools", &text)).transpose()?,
            id: self.id,
            sealed: self.sealed,
            provider_id: self.provider_id,
            trust: self.trust,
            hash: self.hash,
            revision: self.revision,
            created_at: self.created_at,
            disabled_at: self.disabled_at,
        })
    }
}

impl Tenant<'_> {
    /// Every group (id, revision), by id.
    ///
    /// # Errors
    /// As any query.
    pub async fn toolgroup_revisions(&self) -> Result<Vec<(String, String)>> {
        let mut tx = self.glance().await?;
        on!(tx, conn => sqlx::query_as("SELECT id, revision FROM toolgroup WHERE tenant = $1 ORDER BY id").bind(self.id()).fetch_all(conn).await)
            .doing("list tool groups")
    }

    /// Every group, by id.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_toolgroups(&self) -> Result<Vec<StoredToolgroup>> {
        let mut tx = self.read().await?;
        let rows: Vec<Row> =
            on!(tx, conn => sqlx::query_as("SELECT id, provider_id, trust, args, grants, hash, revision, created_at, disabled_at, sealed, overrides \
             FROM toolgroup WHERE tenant = $1 ORDER BY id")
            .bind(self.id()).fetch_all(conn).await)
            .doing("list tool groups")?;
        rows.into_iter().map(Row::read).collect()
    }

    /// The group with its tools in order.
    ///
    /// # Errors
    /// As any query.
    pub async fn find_toolgroup(&self, id: &str) -> Result<Option<(StoredToolgroup, Vec<ToolDef>)>> {
        let mut tx = self.read().await?;
        let row: Option<Row> =
            on!(tx, conn => sqlx::query_as("SELECT id, provider_id, trust, args, grants, hash, revision, created_at, disabled_at, sealed, overrides \
             FROM toolgroup WHERE tenant = $1 AND id = $2")
            .bind(self.id()).bind(id).fetch_optional(conn).await)
            .doing("load a tool group")?;
        let Some(row) = row else { return Ok(None) };
        let tools: Vec<String> = on!(tx, conn => sqlx::query_scalar("SELECT definition FROM tool WHERE tenant = $1 AND toolgroup_id = $2 ORDER BY pos")
            .bind(self.id()).bind(id).fetch_all(conn).await)
        .doing("load a group's tools")?;
        let tools = tools.iter().map(|tool| json::read("a tool", tool)).collect::<Result<Vec<_>>>()?;
        Ok(Some((row.read()?, tools)))
    }

    /// What the group's provider made of it at this revision.
    ///
    /// # Errors
    /// As any query.
    pub async fn find_toolgroup_kept(&self, id: &str, revision: &str) -> Result<Option<Vec<u8>>> {
        let mut tx = self.read().await?;
        let row: Option<Option<Vec<u8>>> =
            on!(tx, conn => sqlx::query_scalar("SELECT kept FROM toolgroup WHERE tenant = $1 AND id = $2 AND revision = $3")
                .bind(self.id()).bind(id).bind(revision).fetch_optional(conn).await)
            .doing("load what a tool group is made of")?;
        Ok(row.flatten())
    }

    /// Switches the group off (`at`), or on again.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_toolgroup_disabled(
        &self,
        id: &str,
        at: Option<Micros>,
        revision: &str,
        change: &StoredToolgroupChange,
    ) -> Result<()> {
        let mut tx = self.write().await?;
        let met = on!(tx, conn => sqlx::query("UPDATE toolgroup SET disabled_at = $3, revision = $4 WHERE tenant = $1 AND id = $2")
            .bind(self.id()).bind(id).bind(at).bind(revision).execute(conn).await.map(|done| done.rows_affected()))
        .doing("switch a tool group")?;
        if met == 0 {
            return Err(Error::not_found(format!("no tool group has the id '{id}'")).with_code("toolgroup_not_found"));
        }
        changes::add(&mut tx, change).await?;
        tx.commit().await
    }

    /// Deletes the group with the data its tools kept.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_toolgroup(&self, id: &str, change: &StoredToolgroupChange) -> Result<()> {
        let mut tx = self.write().await?;
        let gone = on!(tx, conn => sqlx::query("DELETE FROM toolgroup WHERE tenant = $1 AND id = $2")
            .bind(self.id()).bind(id).execute(conn).await.map(|done| done.rows_affected()))
        .doing("delete a tool group")?;
        if gone == 0 {
            return Err(Error::not_found(format!("no tool group has the id '{id}'")).with_code("toolgroup_not_found"));
        }
        changes::add(&mut tx, change).await?;
        tx.commit().await
    }

    /// # Errors
    /// As any query.
    pub async fn find_tool_value(&self, group: &str, key: &str) -> Result<Option<Vec<u8>>> {
        let mut tx = self.glance().await?;
        on!(tx, conn => sqlx::query_scalar("SELECT value FROM tool_kv WHERE tenant = $1 AND toolgroup_id = $2 AND key = $3")
            .bind(self.id()).bind(group).bind(key).fetch_optional(conn).await)
        .doing("read a tool's data")
    }
}

/// Registers a group with its tools in order, or registers it anew; data its tools kept stays, and so does whether it is
/// disabled. `kept` is what its provider made of it.
pub(crate) async fn put_group(
    tx: &mut Tx,
    group: &StoredToolgroup,
    tools: &[ToolDef],
    kept: Option<&[u8]>,
) -> Result<()> {
    let tenant = tx.tenant();
    let (args, grants) = (json::write(&group.args)?, json::write(&group.grants)?);
    let overrides = group.overrides.as_ref().map(json::write).transpose()?;
    let rows =
        (0i64..).zip(tools).map(|(pos, tool)| Ok((pos, tool, json::write(tool)?))).collect::<Result<Vec<_>>>()?;
    on!(tx, conn => sqlx::query("INSERT INTO toolgroup (tenant, id, provider_id, trust, args, grants, hash, revision, created_at, kept, sealed, overrides) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
         ON CONFLICT (tenant, id) DO UPDATE SET provider_id = excluded.provider_id, trust = excluded.trust, args = excluded.args, \
         grants = excluded.grants, hash = excluded.hash, revision = excluded.revision, kept = excluded.kept, sealed = excluded.sealed, \
         overrides = excluded.overrides")
        .bind(&*tenant).bind(&group.id).bind(&group.provider_id).bind(&group.trust).bind(&args).bind(&grants)
        .bind(&group.hash).bind(&group.revision).bind(group.created_at).bind(kept).bind(&group.sealed).bind(&overrides).execute(conn).await.map(|_| ()))
    .doing("register a tool group")?;
    on!(tx, conn => sqlx::query("DELETE FROM tool WHERE tenant = $1 AND toolgroup_id = $2")
        .bind(&*tenant).bind(&group.id).execute(conn).await.map(|_| ()))
    .doing("register a tool group anew")?;
    for (pos, tool, definition) in &rows {
        on!(tx, conn => sqlx::query("INSERT INTO tool (tenant, toolgroup_id, name, pos, definition) VALUES ($1, $2, $3, $4, $5)")
            .bind(&*tenant).bind(&group.id).bind(&tool.name).bind(pos).bind(definition).execute(conn).await.map(|_| ()))
        .doing(&format!("register the tool '{}'", tool.name))?;
    }
    Ok(())
}

/// Keeps `value` under `key`.
///
/// # Errors
/// `Conflict` when there is no such group.
pub async fn put_value(tx: &mut Tx, group: &str, key: &str, value: &[u8]) -> Result<()> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query("INSERT INTO tool_kv (tenant, toolgroup_id, key, value) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (tenant, toolgroup_id, key) DO UPDATE SET value = excluded.value")
        .bind(&*tenant).bind(group).bind(key).bind(value).execute(conn).await.map(|_| ()))
    .doing("keep a tool's data")
}

/// Keeps others from changing the group's data until the transaction ends, so that what is measured is what there is.
///
/// # Errors
/// `Conflict` when there is no such group.
pub async fn hold_values(tx: &mut Tx, group: &str) -> Result<()> {
    let tenant = tx.tenant();
    // On SQLite one transaction writes at a time.
    let lock = match tx.conn() {
        Conn::Postgres(_) => "SELECT id FROM toolgroup WHERE tenant = $1 AND id = $2 FOR UPDATE",
        Conn::Sqlite(_) => "SELECT id FROM toolgroup WHERE tenant = $1 AND id = $2",
    };
    let held: Option<String> =
        on!(tx, conn => sqlx::query_scalar(lock).bind(&*tenant).bind(group).fetch_optional(conn).await)
            .doing("hold a tool's data")?;
    let missing = || Error::conflict(format!("no tool group has the id '{group}'"));
    held.map(|_| ()).ok_or_else(missing)
}

/// How many keys the group has and how many bytes they hold, keys and values together.
///
/// # Errors
/// As any query.
pub async fn values_held(tx: &mut Tx, group: &str) -> Result<(i64, i64)> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query_as("SELECT count(*), CAST(coalesce(sum(length(key) + length(value)), 0) AS BIGINT) FROM tool_kv WHERE tenant = $1 AND toolgroup_id = $2")
        .bind(&*tenant).bind(group).fetch_one(conn).await)
    .doing("measure a tool's data")
}

/// Removes every key that begins with `prefix`.
///
/// # Errors
/// As any query.
pub async fn remove_values(tx: &mut Tx, group: &str, prefix: &str) -> Result<()> {
    let tenant = tx.tenant();
    // substr, not LIKE: a prefix may hold the characters LIKE gives a meaning to.
    let length = i64::try_from(prefix.chars().count()).unwrap_or(i64::MAX);
    on!(tx, conn => sqlx::query("DELETE FROM tool_kv WHERE tenant = $1 AND toolgroup_id = $2 AND substr(key, 1, CAST($4 AS INTEGER)) = $3")
        .bind(&*tenant).bind(group).bind(prefix).bind(length).execute(conn).await.map(|_| ()))
    .doing("remove a tool's data")
}

#[cfg(test)]
mod tests {
    use frontdesk_api::{Kind, PageRequest};
    use serde_json::json;

    use super::*;
    use crate::testing::{each_database, two_tenants};

    fn group(revision: &str) -> StoredToolgroup {
        StoredToolgroup {
            id: "shop".into(),
            provider_id: "wasm".into(),
            trust: "own".into(),
            args: json!({"component": "file_1"}),
            sealed: (revision == "r1").then(|| vec![1, 0, 255]),
            overrides: None,
            grants: vec!["kv".into()],
            hash: "h".into(),
            revision: revision.into(),
            created_at: 1,
            disabled_at: None,
        }
    }

    fn change(id: &str, action: &str) -> StoredToolgroupChange {
        StoredToolgroupChange {
            id: id.into(),
            toolgroup_id: "shop".into(),
            action: action.into(),
            key_id: "key_1".into(),
            detail: json!({ "hash": "h" }),
            created_at: 1,
        }
    }

    async fn put(
        tenant: &Tenant<'_>,
        group: &StoredToolgroup,
        tools: &[ToolDef],
        kept: Option<&[u8]>,
        change: &StoredToolgroupChange,
    ) -> Result<()> {
        let mut tx = tenant.write().await?;
        put_group(&mut tx, group, tools, kept).await?;
        add_change(&mut tx, change).await?;
        tx.commit().await
    }

    fn tool(name: &str) -> ToolDef {
        let def =
            json!({"name": name, "wire_name": name, "toolgroup": "shop", "description": "", "schema": {}, "hash": ""});
        serde_json::from_value(def).expect("a tool")
    }

    #[tokio::test]
    async fn a_group_keeps_its_tools_in_order_and_is_its_tenants_alone() {
        each_database(|store| async move {
            let (a, b) = two_tenants(&store).await;
            let (mine, theirs) = (store.tenant(&a), store.tenant(&b));
            put(&mine, &group("r1"), &[tool("z"), tool("a")], Some(b"kept"), &change("c1", "registered"))
                .await
                .expect("registered");
            let (found, tools) = mine.find_toolgroup("shop").await.expect("asked").expect("there");
            assert_eq!(found, group("r1"));
            assert_eq!(tools, [tool("z"), tool("a")]);
            assert_eq!(mine.find_toolgroup_kept("shop", "r1").await.expect("asked").as_deref(), Some(&b"kept"[..]));
            assert_eq!(theirs.find_toolgroup_kept("shop", "r1").await.expect("asked"), None);
            assert_eq!(theirs.find_toolgroup("shop").await.expect("asked"), None);
            assert_eq!(
                theirs.delete_toolgroup("shop", &change("d1", "deleted")).await.expect_err("not theirs").kind,
                Kind::NotFound
            );

            put(&mine, &group("r2"), &[tool("b")], None, &change("c2", "registered")).await.expect("registered anew");
            assert_eq!(mine.toolgroup_revisions().await.expect("listed"), [("shop".to_owned(), "r2".to_owned())]);
            assert_eq!(
                mine.find_toolgroup("shop").await.expect("asked").expect("there"),
                (group("r2"), vec![tool("b")])
            );
        })
        .await;
    }

    #[tokio::test]
    async fn tools_data_stays_over_a_new_registration_and_goes_with_the_group() {
        each_database(|store| async move {
            let (a, b) = two_tenants(&store).await;
            let (mine, theirs) = (store.tenant(&a), store.tenant(&b));
            for tenant in [&mine, &theirs] {
                put(tenant, &group("r1"), &[], None, &change("c3", "registered")).await.expect("registered");
            }
            let mut tx = mine.write().await.expect("a transaction");
            for (key, value) in [("order/1", "x"), ("order/1", "yy"), ("order%2", "z"), ("return/1", "w")] {
                put_value(&mut tx, "shop", key, value.as_bytes()).await.expect("kept");
            }
            assert_eq!(values_held(&mut tx, "shop").await.expect("measured"), (3, 7 + 2 + 7 + 1 + 8 + 1));
            tx.commit().await.expect("committed");
            put(&mine, &group("r2"), &[], None, &change("c4", "registered")).await.expect("registered anew");
            assert_eq!(mine.find_tool_value("shop", "order/1").await.expect("read").as_deref(), Some(&b"yy"[..]));
            assert_eq!(theirs.find_tool_value("shop", "order/1").await.expect("read"), None);

            let mut tx = mine.write().await.expect("a transaction");
            remove_values(&mut tx, "shop", "order/").await.expect("removed");
            tx.commit().await.expect("committed");
            assert_eq!(mine.find_tool_value("shop", "order/1").await.expect("read"), None);
            assert!(mine.find_tool_value("shop", "order%2").await.expect("read").is_some());
            mine.delete_toolgroup("shop", &change("d1", "deleted")).await.expect("deleted");
            put(&mine, &group("r3"), &[], None, &change("c5", "registered")).await.expect("registered");
            assert_eq!(mine.find_tool_value("shop", "order%2").await.expect("read"), None);
        })
        .await;
    }

    #[tokio::test]
    async fn what_was_done_to_a_group_stays_when_it_goes() {
        each_database(|store| async move {
            let (a, b) = two_tenants(&store).await;
            let (mine, theirs) = (store.tenant(&a), store.tenant(&b));
            put(&mine, &group("r1"), &[], None, &change("c1", "registered")).await.expect("registered");
            mine.set_toolgroup_disabled("shop", Some(7), "r2", &change("c2", "disabled")).await.expect("off");
            let off = mine.find_toolgroup("shop").await.expect("asked").expect("there").0;
            assert_eq!((off.disabled_at, off.revision.as_str()), (Some(7), "r2"));
            put(&mine, &group("r3"), &[], None, &change("c3", "registered")).await.expect("registered anew");
            assert_eq!(mine.find_toolgroup("shop").await.expect("asked").expect("there").0.disabled_at, Some(7));
            let missing = theirs.set_toolgroup_disabled("shop", None, "r", &change("x", "enabled")).await;
            assert_eq!(missing.expect_err("not theirs").kind, Kind::NotFound);
            mine.delete_toolgroup("shop", &change("c4", "deleted")).await.expect("deleted");
            let page = PageRequest { limit: 3, ..PageRequest::default() };
            let seen = mine.list_toolgroup_changes("shop", &page).await.expect("a page");
            let actions: Vec<_> = seen.items.iter().map(|c| c.action.as_str()).collect();
            assert_eq!((actions, seen.more), (vec!["deleted", "registered", "disabled"], true));
            assert_eq!(mine.list_toolgroup_changes("other", &page).await.expect("a page").items, []);
            assert_eq!(mine.list_toolgroup_changes("", &page).await.expect("a page").items.len(), 3);
            assert_eq!(theirs.list_toolgroup_changes("", &page).await.expect("a page").items, []);
        })
        .await;
    }
}
