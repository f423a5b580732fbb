//! Chat completions that clients asked to be kept (`store: true`).
//!
//! Invariants: what was asked and what was answered are kept as they were sent, as JSON text; only the metadata of a row
//! ever changes; a row is written once, however often a commit whose outcome is unknown is repeated; one that is too old
//! goes, whosever it is.

use frontdesk_api::{Error, Micros, Order, Page, PageRequest, Result};

use crate::{Conn, Doing as _, System, Tenant, on, paging};

/// A kept completion. The texts are JSON.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredCompletion {
    pub tenant: String,
    /// Sorts by time.
    pub id: String,
    pub created_at: Micros,
    /// The model as the client named it.
    pub asked: String,
    /// As the answer names it.
    pub model: String,
    /// The request's messages, a list.
    pub messages: String,
    /// The answer, an object, with its usage.
    pub answer: String,
    /// An object of texts.
    pub metadata: String,
}

/// Which of them a list shows.
#[derive(Debug, Clone, Default)]
pub struct CompletionFilter<'a> {
    /// As the client named it, or as the answer does.
    pub model: Option<&'a str>,
    /// An object: what the metadata must hold at least; `{}` for all.
    pub metadata: &'a str,
}

impl System<'_> {
    /// Writes completions of any tenants in one transaction: one process writes for all of them.
    ///
    /// # Errors
    /// As any query. Repeating the call with the same rows changes nothing.
    pub async fn keep_completions(&self, rows: &[StoredCompletion]) -> Result<()> {
        let mut tx = self.write().await?;
        for row in rows {
            on!(tx, conn => sqlx::query("INSERT INTO chat_completion (tenant, id, created_at, asked, model, messages, answer, metadata) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING")
                .bind(&row.tenant).bind(&row.id).bind(row.created_at).bind(&row.asked).bind(&row.model)
                .bind(&row.messages).bind(&row.answer).bind(&row.metadata).execute(conn).await.map(|_| ()))
            .doing("keep a chat completion")?;
        }
        tx.commit().await
    }

    /// Deletes up to `limit` of those that were made before this moment, the oldest first; how many. Over all tenants:
    /// one sweep clears for all of them.
    ///
    /// # Errors
    /// As any query.
    pub async fn delete_old_completions(&self, before: Micros, limit: i64) -> Result<u64> {
        let mut tx = self.write().await?;
        let gone = on!(tx, conn => sqlx::query("DELETE FROM chat_completion WHERE (tenant, id) IN \
             (SELECT tenant, id FROM chat_completion WHERE created_at < $1 ORDER BY created_at LIMIT $2)")
            .bind(before).bind(limit).execute(conn).await.map(|done| done.rows_affected()))
        .doing("delete old chat completions")?;
        tx.commit().await?;
        Ok(gone)
    }
}

/// `$2` is the cursor; the metadata's place is filled in by the dialect.
macro_rules! page {
    ($holds:literal, $side:literal, $order:literal) => {
        concat!(
            "SELECT tenant, id, created_at, asked, model, messages, answer, metadata FROM chat_completion \
             WHERE tenant = $1 AND id ",
            $side,
            " $2 AND ($3 IS NULL OR asked = $3 OR model = $3) AND ",
            $holds,
            " ORDER BY id ",
            $order,
            " LIMIT $5"
        )
    };
}

/// Every member of the wanted metadata, found in the row's.
macro_rules! sqlite_page {
    ($side:literal, $order:literal) => {
        page!(
            "NOT EXISTS (SELECT 1 FROM json_each($4) wanted WHERE NOT EXISTS (SELECT 1 FROM \
             json_each(chat_completion.metadata) held WHERE held.key = wanted.key AND held.value = wanted.value))",
            $side,
            $order
        )
    };
}

macro_rules! postgres_page {
    ($side:literal, $order:literal) => {
        page!("metadata::jsonb @> $4::jsonb", $side, $order)
    };
}

impl Tenant<'_> {
    /// A page of what is kept, by id.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_completions(
        &self,
        filter: &CompletionFilter<'_>,
        request: &PageRequest,
    ) -> Result<Page<StoredCompletion>> {
        let mut tx = self.read().await?;
        let (cursor, limit) = (paging::cursor(request), paging::fetch(request));
        let rows: Vec<StoredCompletion> = match tx.conn() {
            Conn::Postgres(conn) => {
                let sql = match request.order {
                    Order::Asc => postgres_page!(">", "ASC"),
                    Order::Desc => postgres_page!("<", "DESC"),
                };
                let query = sqlx::query_as(sql).bind(self.id()).bind(cursor).bind(filter.model);
                query.bind(filter.metadata).bind(limit).fetch_all(conn).await
            }
            Conn::Sqlite(conn) => {
                let sql = match request.order {
                    Order::Asc => sqlite_page!(">", "ASC"),
                    Order::Desc => sqlite_page!("<", "DESC"),
                };
                let query = sqlx::query_as(sql).bind(self.id()).bind(cursor).bind(filter.model);
                query.bind(filter.metadata).bind(limit).fetch_all(conn).await
            }
        }
        .doing("list chat completions")?;
        Ok(Page::of(rows, request.limit))
    }

    /// # Errors
    /// `NotFound`.
    pub async fn load_completion(&self, id: &str) -> Result<StoredCompletion> {
        let mut tx = self.read().await?;
        let row: Option<StoredCompletion> =
            on!(tx, conn => sqlx::query_as("SELECT tenant, id, created_at, asked, model, messages, answer, metadata \
             FROM chat_completion WHERE tenant = $1 AND id = $2")
            .bind(self.id()).bind(id).fetch_optional(conn).await)
            .doing("load a chat completion")?;
        row.ok_or_else(|| unknown(id))
    }

    /// Puts other metadata in the place of what is there.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn update_completion(&self, id: &str, metadata: &str) -> Result<StoredCompletion> {
        let mut tx = self.write().await?;
        let row: Option<StoredCompletion> =
            on!(tx, conn => sqlx::query_as("UPDATE chat_completion SET metadata = $3 WHERE tenant = $1 AND id = $2 \
             RETURNING tenant, id, created_at, asked, model, messages, answer, metadata")
            .bind(self.id()).bind(id).bind(metadata).fetch_optional(conn).await)
            .doing("change a chat completion")?;
        let row = row.ok_or_else(|| unknown(id))?;
        tx.commit().await?;
        Ok(row)
    }

    /// # Errors
    /// `NotFound`.
    pub async fn delete_completion(&self, id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        let gone = on!(tx, conn => sqlx::query("DELETE FROM chat_completion WHERE tenant = $1 AND id = $2")
            .bind(self.id()).bind(id).execute(conn).await.map(|done| done.rows_affected()))
        .doing("delete a chat completion")?;
        if gone == 0 {
            return Err(unknown(id));
        }
        tx.commit().await
    }
}

fn unknown(id: &str) -> Error {
    Error::not_found(format!("no stored chat completion has the id '{id}'")).with_code("chat_completion_not_found")
}

#[cfg(test)]
mod tests {
    use frontdesk_api::Kind;

    use super::*;
    use crate::testing::{each_database, two_tenants};

    fn row(tenant: &str, id: &str, model: &str, metadata: &str) -> StoredCompletion {
        StoredCompletion {
            tenant: tenant.into(),
            id: id.into(),
            created_at: 7,
            asked: format!("alias-{model}"),
            model: model.into(),
            messages: r#"[{"role":"user","content":"\u0000 Grüße"}]"#.into(),
            answer: r#"{"n":1.50e3}"#.into(),
            metadata: metadata.into(),
        }
    }

    #[tokio::test]
    async fn a_completion_is_its_tenants_alone_and_only_its_metadata_changes() {
        each_database(|store| async move {
            let (a, b) = two_tenants(&store).await;
            let (mine, theirs) = (store.tenant(&a), store.tenant(&b));
            let kept = row(&a.tenant, "c1", "m", "{}");
            let rows = [kept.clone(), row(&b.tenant, "c1", "n", "{}")];
            store.system().keep_completions(&rows).await.expect("kept");
            store.system().keep_completions(&rows).await.expect("once");
            assert_eq!(mine.load_completion("c1").await.expect("kept"), kept);
            assert_eq!(theirs.load_completion("c1").await.expect("kept").model, "n");
            let changed = mine.update_completion("c1", r#"{"a":"b"}"#).await.expect("changed");
            assert_eq!(changed, StoredCompletion { metadata: r#"{"a":"b"}"#.into(), ..kept });
            mine.delete_completion("c1").await.expect("deleted");
            for gone in [
                mine.load_completion("c1").await.err(),
                mine.update_completion("c1", "{}").await.err(),
                mine.delete_completion("c1").await.err(),
            ] {
                assert_eq!(gone.expect("gone").kind, Kind::NotFound);
            }
            assert_eq!(theirs.load_completion("c1").await.expect("still there").metadata, "{}");
        })
        .await;
    }

    #[tokio::test]
    async fn the_oldest_go_first_and_what_is_not_old_stays() {
        each_database(|store| async move {
            let (a, b) = two_tenants(&store).await;
            let old =
                |tenant: &str, id: &str, created_at| StoredCompletion { created_at, ..row(tenant, id, "m", "{}") };
            let rows =
                [old(&a.tenant, "c1", 3), old(&b.tenant, "c1", 1), old(&a.tenant, "c2", 2), old(&b.tenant, "c2", 9)];
            store.system().keep_completions(&rows).await.expect("kept");
            let left = async || {
                let mut ids = vec![];
                for cx in [&a, &b] {
                    let filter = CompletionFilter { model: None, metadata: "{}" };
                    let page =
                        store.tenant(cx).list_completions(&filter, &PageRequest::default()).await.expect("listed");
                    ids.extend(page.items.into_iter().map(|row| row.created_at));
                }
                ids.sort_unstable();
                ids
            };
            assert_eq!(store.system().delete_old_completions(9, 2).await.expect("swept"), 2);
            assert_eq!(left().await, [3, 9]);
            assert_eq!(store.system().delete_old_completions(9, 2).await.expect("swept"), 1);
            assert_eq!(left().await, [9]);
        })
        .await;
    }

    #[tokio::test]
    async fn a_list_is_filtered_by_model_and_by_what_the_metadata_holds() {
        each_database(|store| async move {
            let (a, _) = two_tenants(&store).await;
            let rows = [
                row(&a.tenant, "c1", "m", r#"{"a":"1","b'\"":"2"}"#),
                row(&a.tenant, "c2", "n", r#"{"a":"1"}"#),
                row(&a.tenant, "c3", "m", "{}"),
            ];
            store.system().keep_completions(&rows).await.expect("kept");
            let mine = store.tenant(&a);
            let ids = async |model: Option<&str>, metadata: &str, after: Option<&str>, order: Order| {
                let request = PageRequest { after: after.map(str::to_owned), limit: 2, order };
                let page =
                    mine.list_completions(&CompletionFilter { model, metadata }, &request).await.expect("listed");
                (page.items.into_iter().map(|row| row.id).collect::<Vec<_>>().join(" "), page.more)
            };
            assert_eq!(ids(None, "{}", None, Order::Asc).await, ("c1 c2".into(), true));
            assert_eq!(ids(None, "{}", Some("c2"), Order::Asc).await, ("c3".into(), false));
            assert_eq!(ids(None, "{}", None, Order::Desc).await, ("c3 c2".into(), true));
            assert_eq!(ids(None, "{}", Some("c2"), Order::Desc).await, ("c1".into(), false));
            assert_eq!(ids(Some("m"), "{}", None, Order::Asc).await, ("c1 c3".into(), false));
            assert_eq!(ids(Some("alias-n"), "{}", None, Order::Asc).await, ("c2".into(), false));
            assert_eq!(ids(None, r#"{"a":"1"}"#, None, Order::Asc).await, ("c1 c2".into(), false));
            assert_eq!(ids(None, r#"{"a":"1","b'\"":"2"}"#, None, Order::Asc).await, ("c1".into(), false));
            assert_eq!(ids(None, r#"{"a":"2"}"#, None, Order::Asc).await, (String::new(), false));
            assert_eq!(ids(Some("m"), r#"{"a":"1"}"#, None, Order::Asc).await, ("c1".into(), false));
        })
        .await;
    }
}
