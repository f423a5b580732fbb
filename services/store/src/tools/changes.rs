//! Who changed a tool group, when, and to what. Rows are added and never changed; they stay when the group goes.

use frontdesk_api::{Micros, Order, Page, PageRequest, Result};
use serde_json::Value;

use crate::{Doing as _, Tenant, Tx, json, on, paging};

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredToolgroupChange {
    pub id: String,
    pub toolgroup_id: String,
    /// `registered`, `disabled`, `enabled`, `deleted`, `authorized` or `deauthorized`.
    pub action: String,
    /// The API key that did it.
    pub key_id: String,
    /// What it was registered as, who let it in, why it is let in no more; null for the others.
    pub detail: Value,
    pub created_at: Micros,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    toolgroup_id: String,
    action: String,
    key_id: String,
    detail: String,
    created_at: Micros,
}

impl Row {
    fn read(self) -> Result<StoredToolgroupChange> {
        Ok(StoredToolgroupChange {
            detail: json::read("a tool group's change", &self.detail)?,
            id: self.id,
            toolgroup_id: self.toolgroup_id,
            action: self.action,
            key_id: self.key_id,
            created_at: self.created_at,
        })
    }
}

/// The columns of a [`Row`], as a literal.
macro_rules! columns {
    () => {
        "id, toolgroup_id, action, key_id, detail, created_at"
    };
}

/// Adds a change, in the transaction that makes it.
pub(crate) async fn add(tx: &mut Tx, change: &StoredToolgroupChange) -> Result<()> {
    let (tenant, detail) = (tx.tenant(), json::write(&change.detail)?);
    on!(tx, conn => sqlx::query("INSERT INTO toolgroup_change (tenant, id, toolgroup_id, action, key_id, detail, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(&*tenant).bind(&change.id).bind(&change.toolgroup_id).bind(&change.action).bind(&change.key_id).bind(&detail)
        .bind(change.created_at).execute(conn).await.map(|_| ()))
    .doing("note a tool group's change")
}

impl Tenant<'_> {
    /// # Errors
    /// As any query.
    pub async fn find_toolgroup_change(&self, id: &str) -> Result<Option<StoredToolgroupChange>> {
        let sql = concat!("SELECT ", columns!(), " FROM toolgroup_change WHERE tenant = $1 AND id = $2");
        let mut tx = self.read().await?;
        let row: Option<Row> = on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(id).fetch_optional(conn).await)
            .doing("find a tool group's change")?;
        row.map(Row::read).transpose()
    }

    /// The changes of one group, or of all (an empty id); newest first unless asked otherwise.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_toolgroup_changes(&self, group: &str, page: &PageRequest) -> Result<Page<StoredToolgroupChange>> {
        let sql = match page.order {
            Order::Asc => concat!(
                "SELECT ",
                columns!(),
                " FROM toolgroup_change WHERE tenant = $1 AND ($4 = '' OR toolgroup_id = $4) AND id > $2 \
                 ORDER BY id LIMIT $3"
            ),
            Order::Desc => concat!(
                "SELECT ",
                columns!(),
                " FROM toolgroup_change WHERE tenant = $1 AND ($4 = '' OR toolgroup_id = $4) AND id < $2 \
                 ORDER BY id DESC LIMIT $3"
            ),
        };
        let mut tx = self.read().await?;
        let rows: Vec<Row> =
            on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(paging::cursor(page)).bind(paging::fetch(page)).bind(group)
                .fetch_all(conn).await)
            .doing("list the changes of tool groups")?;
        Ok(Page::of(rows.into_iter().map(Row::read).collect::<Result<_>>()?, page.limit))
    }
}
