//! Knowledge stores and which files are in them.
//!
//! A file in a store is `in_progress` until it was read, then `completed` or `failed` with a reason.
//! Invariant: one file of a name in a store at a time, unless the files were attached by hand.

use std::collections::HashSet;

use frontdesk_api::{
    Error, Micros, Order, Page, PageRequest, Result, attributes::Attributes, blobs::Place, filter::Filter,
};
use futures::TryStreamExt as _;
use serde_json::{Map, Value};

use crate::{
    Doing as _, Tenant, Tx,
    files::{StoredFile, write_file},
    json, on, paging,
    readings::Reader,
};

/// A knowledge store (`vector_store` on the wire).
#[derive(Debug, Clone, PartialEq)]
pub struct VectorStore {
    pub id: String,
    /// For people; may be empty.
    pub name: String,
    pub metadata: Map<String, Value>,
    pub created_at: Micros,
}

/// A file in a knowledge store.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoreFile {
    pub store_id: String,
    pub file_id: String,
    pub filename: String,
    /// Where the page lives, for citations.
    pub url: Option<String>,
    /// As its client set them.
    #[sqlx(try_from = "String")]
    pub attributes: Attributes,
    /// `in_progress`, `completed` or `failed`.
    pub status: String,
    /// Stable word for programs, with `failed`.
    pub error_code: Option<String>,
    /// For people, with `failed`.
    pub error: Option<String>,
    pub passages: i64,
    /// BLAKE3 of the file's content.
    pub hash: Vec<u8>,
    pub bytes: i64,
    pub created_at: Micros,
}

impl Tenant<'_> {
    /// # Errors
    /// `Conflict` when the id is taken.
    pub async fn add_vector_store(&self, store: &VectorStore) -> Result<()> {
        let mut tx = self.write().await?;
        on!(tx, conn => sqlx::query("INSERT INTO vector_store (tenant, id, name, metadata, created_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(self.id()).bind(&store.id).bind(&store.name).bind(text(&store.metadata)).bind(store.created_at)
            .execute(conn).await.map(|_| ()))
        .doing(&format!("create the knowledge store '{}'", store.name))?;
        tx.commit().await
    }

    /// # Errors
    /// `NotFound` when this tenant has no such store.
    pub async fn load_vector_store(&self, id: &str) -> Result<VectorStore> {
        let mut tx = self.read().await?;
        let found: Option<Row> =
            on!(tx, conn => sqlx::query_as("SELECT id, name, metadata, created_at FROM vector_store \
             WHERE tenant = $1 AND id = $2")
            .bind(self.id()).bind(id).fetch_optional(conn).await)
            .doing("look up a knowledge store")?;
        found.ok_or_else(|| no_store(id))?.read()
    }

    /// Newest first unless asked otherwise.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_vector_stores(&self, page: &PageRequest) -> Result<Page<VectorStore>> {
        let sql = match page.order {
            Order::Asc => {
                "SELECT id, name, metadata, created_at FROM vector_store WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3"
            }
            Order::Desc => {
                "SELECT id, name, metadata, created_at FROM vector_store WHERE tenant = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
            }
        };
        let mut tx = self.read().await?;
        let rows: Vec<Row> =
            on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(paging::cursor(page)).bind(paging::fetch(page)).fetch_all(conn).await)
                .doing("list knowledge stores")?;
        Ok(Page::of(rows.into_iter().map(Row::read).collect::<Result<_>>()?, page.limit))
    }

    /// Replaces name and metadata.
    ///
    /// # Errors
    /// `NotFound` when this tenant has no such store.
    pub async fn update_vector_store(
        &self,
        id: &str,
        name: &str,
        metadata: &Map<String, Value>,
    ) -> Result<VectorStore> {
        let mut tx = self.write().await?;
        let row: Option<Row> = on!(tx, conn => sqlx::query_as("UPDATE vector_store SET name = $3, metadata = $4 \
             WHERE tenant = $1 AND id = $2 RETURNING id, name, metadata, created_at")
            .bind(self.id()).bind(id).bind(name).bind(text(metadata)).fetch_optional(conn).await)
        .doing("change a knowledge store")?;
        let store = row.ok_or_else(|| no_store(id))?.read()?;
        tx.commit().await?;
        Ok(store)
    }

    /// Deletes a store and the mention of its files; the files stay.
    ///
    /// # Errors
    /// `NotFound` when this tenant has no such store.
    pub async fn delete_vector_store(&self, id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        on!(tx, conn => sqlx::query("DELETE FROM vector_store_file WHERE tenant = $1 AND store_id = $2")
            .bind(self.id()).bind(id).execute(conn).await.map(|_| ()))
        .doing("empty a knowledge store")?;
        let gone = on!(tx, conn => sqlx::query("DELETE FROM vector_store WHERE tenant = $1 AND id = $2")
            .bind(self.id()).bind(id).execute(conn).await.map(|done| done.rows_affected()))
        .doing("delete a knowledge store")?;
        if gone == 0 {
            return Err(no_store(id));
        }
        tx.commit().await
    }

    /// Puts a stored file into a store, to be read (again) by `reader`. Without `attributes` it keeps those it had.
    ///
    /// # Errors
    /// `Conflict` when the store or the file does not exist.
    pub async fn attach_file(
        &self,
        store_id: &str,
        file_id: &str,
        attributes: Option<&Attributes>,
        at: Micros,
        reader: Reader<'_>,
    ) -> Result<()> {
        let mut tx = self.write().await?;
        attach(&mut tx, store_id, file_id, None, &Attributes::default(), at, reader).await?;
        if let Some(attributes) = attributes {
            describe(&mut tx, store_id, file_id, attributes).await?;
        }
        tx.commit().await
    }

    /// Replaces the attributes of a file in a store; false when it is not in. A page that the store made itself keeps
    /// its address where they name none.
    ///
    /// # Errors
    /// As any query.
    pub async fn set_attributes(&self, store_id: &str, file_id: &str, attributes: &Attributes) -> Result<bool> {
        let mut tx = self.write().await?;
        let set = describe(&mut tx, store_id, file_id, attributes).await?;
        tx.commit().await?;
        Ok(set)
    }

    /// Ids of the files of a store that a filter lets through. One statement, whose rows are read one by one: the
    /// attributes of all files are never in memory together.
    ///
    /// # Errors
    /// As any query; `Internal` where attributes cannot be read.
    pub async fn admitted_files(&self, store_id: &str, filter: &Filter) -> Result<HashSet<String>> {
        const SQL: &str = "SELECT file_id, attributes FROM vector_store_file WHERE tenant = $1 AND store_id = $2";
        let mut admitted = HashSet::new();
        let mut tx = self.glance().await?;
        on!(tx, conn => {
            let mut rows = sqlx::query_as::<_, (String, String)>(SQL).bind(self.id()).bind(store_id).fetch(conn);
            while let Some((file_id, text)) = rows.try_next().await.doing("look for files by their attributes")? {
                if filter.admits(&json::read("the attributes of a file", &text)?) {
                    admitted.insert(file_id);
                }
            }
        });
        Ok(admitted)
    }

    /// Stores a new file and puts it into a store to be read by `reader`, in one go. Without `url` its address is what
    /// its attributes name.
    ///
    /// # Errors
    /// `Conflict` when the store does not exist.
    pub async fn add_store_file(
        &self,
        store_id: &str,
        file: &StoredFile,
        content: &Place,
        url: Option<&str>,
        attributes: &Attributes,
        reader: Reader<'_>,
    ) -> Result<()> {
        let url = url.or_else(|| address(attributes));
        let mut tx = self.write().await?;
        write_file(&mut tx, file, content).await?;
        attach(&mut tx, store_id, &file.id, url, attributes, file.created_at, reader).await?;
        tx.commit().await
    }

    /// # Errors
    /// As any query.
    pub async fn find_store_file(&self, store_id: &str, file_id: &str) -> Result<Option<StoreFile>> {
        let mut tx = self.read().await?;
        on!(tx, conn => sqlx::query_as("SELECT s.store_id, s.file_id, f.filename, s.url, s.attributes, s.status, s.error_code, s.error, s.passages, f.hash, f.bytes, s.created_at \
             FROM vector_store_file s JOIN file f ON f.tenant = s.tenant AND f.id = s.file_id \
             WHERE s.tenant = $1 AND s.store_id = $2 AND s.file_id = $3")
            .bind(self.id()).bind(store_id).bind(file_id).fetch_optional(conn).await)
        .doing("look up a file of a knowledge store")
    }

    /// The files of a store with this name, oldest first.
    ///
    /// # Errors
    /// As any query.
    pub async fn store_files_named(&self, store_id: &str, filename: &str) -> Result<Vec<StoreFile>> {
        let mut tx = self.read().await?;
        on!(tx, conn => sqlx::query_as("SELECT s.store_id, s.file_id, f.filename, s.url, s.attributes, s.status, s.error_code, s.error, s.passages, f.hash, f.bytes, s.created_at \
             FROM vector_store_file s JOIN file f ON f.tenant = s.tenant AND f.id = s.file_id \
             WHERE s.tenant = $1 AND s.store_id = $2 AND f.filename = $3 ORDER BY s.file_id")
            .bind(self.id()).bind(store_id).bind(filename).fetch_all(conn).await)
        .doing("look up a file of a knowledge store")
    }

    /// Newest first unless asked otherwise; `status` None: of any.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_store_files(
        &self,
        store_id: &str,
        status: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<StoreFile>> {
        let sql = match page.order {
            Order::Asc => {
                "SELECT s.store_id, s.file_id, f.filename, s.url, s.attributes, s.status, s.error_code, s.error, s.passages, f.hash, f.bytes, s.created_at \
                 FROM vector_store_file s JOIN file f ON f.tenant = s.tenant AND f.id = s.file_id \
                 WHERE s.tenant = $1 AND s.store_id = $2 AND s.file_id > $3 AND ($4 = '' OR s.status = $4) ORDER BY s.file_id LIMIT $5"
            }
            Order::Desc => {
                "SELECT s.store_id, s.file_id, f.filename, s.url, s.attributes, s.status, s.error_code, s.error, s.passages, f.hash, f.bytes, s.created_at \
                 FROM vector_store_file s JOIN file f ON f.tenant = s.tenant AND f.id = s.file_id \
                 WHERE s.tenant = $1 AND s.store_id = $2 AND s.file_id < $3 AND ($4 = '' OR s.status = $4) ORDER BY s.file_id DESC LIMIT $5"
            }
        };
        let mut tx = self.read().await?;
        let rows = on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(store_id).bind(paging::cursor(page))
            .bind(status.unwrap_or_default()).bind(paging::fetch(page)).fetch_all(conn).await)
        .doing("list the files of a knowledge store")?;
        Ok(Page::of(rows, page.limit))
    }

    /// How many files of a store are in each status.
    ///
    /// # Errors
    /// As any query.
    pub async fn count_store_files(&self, store_id: &str) -> Result<Vec<(String, i64)>> {
        let mut tx = self.read().await?;
        on!(tx, conn => sqlx::query_as("SELECT status, count(*) FROM vector_store_file WHERE tenant = $1 AND store_id = $2 GROUP BY status ORDER BY status")
            .bind(self.id()).bind(store_id).fetch_all(conn).await)
        .doing("count the files of a knowledge store")
    }

    /// Ids of the stores that have this file.
    ///
    /// # Errors
    /// As any query.
    pub async fn stores_of_file(&self, file_id: &str) -> Result<Vec<String>> {
        let mut tx = self.read().await?;
        on!(tx, conn => sqlx::query_scalar("SELECT store_id FROM vector_store_file WHERE tenant = $1 AND file_id = $2 ORDER BY store_id")
            .bind(self.id()).bind(file_id).fetch_all(conn).await)
        .doing("look up where a file is used")
    }

    /// Takes a file out of a store; true when it was in.
    ///
    /// # Errors
    /// As any query.
    pub async fn detach_file(&self, store_id: &str, file_id: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        let gone = on!(tx, conn => sqlx::query("DELETE FROM vector_store_file WHERE tenant = $1 AND store_id = $2 AND file_id = $3")
            .bind(self.id()).bind(store_id).bind(file_id).execute(conn).await.map(|done| done.rows_affected()))
        .doing("take a file out of a knowledge store")?;
        tx.commit().await?;
        Ok(gone == 1)
    }
}

/// Of a file that is in already, address and attributes stay.
async fn attach(
    tx: &mut Tx,
    store_id: &str,
    file_id: &str,
    url: Option<&str>,
    attributes: &Attributes,
    at: Micros,
    reader: Reader<'_>,
) -> Result<()> {
    let (tenant, now) = (tx.tenant(), tx.now().await?);
    let attributes = json::write(attributes)?;
    on!(tx, conn => sqlx::query("INSERT INTO vector_store_file (tenant, store_id, file_id, url, status, passages, created_at, reader, lease_until, readings, attributes) \
         VALUES ($1, $2, $3, $4, 'in_progress', 0, $5, $6, $7, 1, $8) \
         ON CONFLICT (tenant, store_id, file_id) DO UPDATE SET \
         status = 'in_progress', error_code = NULL, error = NULL, reader = excluded.reader, lease_until = excluded.lease_until, readings = 1")
        .bind(&*tenant).bind(store_id).bind(file_id).bind(url).bind(at).bind(reader.id).bind(now.saturating_add(reader.micros)).bind(attributes)
        .execute(conn).await.map(|_| ()))
    .doing(&format!("put the file '{file_id}' into the knowledge store '{store_id}'"))
}

/// The address of a page that the store made itself came with its upload, any other is an attribute alone.
async fn describe(tx: &mut Tx, store_id: &str, file_id: &str, attributes: &Attributes) -> Result<bool> {
    let (tenant, text) = (tx.tenant(), json::write(attributes)?);
    let set = on!(tx, conn => sqlx::query("UPDATE vector_store_file SET attributes = $4, url = coalesce($5, \
         CASE WHEN (SELECT purpose FROM file WHERE tenant = $1 AND id = $3) = 'knowledge' THEN url END) \
         WHERE tenant = $1 AND store_id = $2 AND file_id = $3")
        .bind(&*tenant).bind(store_id).bind(file_id).bind(text).bind(address(attributes))
        .execute(conn).await.map(|done| done.rows_affected()))
    .doing("change the attributes of a file of a knowledge store")?;
    Ok(set == 1)
}

/// Where the page lives, of what a client says of its file.
fn address(attributes: &Attributes) -> Option<&str> {
    attributes.get("url")?.as_str()
}

/// The row as both databases keep it: JSON is text.
#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    metadata: String,
    created_at: Micros,
}

impl Row {
    fn read(self) -> Result<VectorStore> {
        let metadata = serde_json::from_str(&self.metadata)
            .map_err(|e| Error::internal(format!("read the metadata of the knowledge store '{}'", self.id), e))?;
        Ok(VectorStore { id: self.id, name: self.name, metadata, created_at: self.created_at })
    }
}

fn text(metadata: &Map<String, Value>) -> String {
    Value::Object(metadata.clone()).to_string()
}

fn no_store(id: &str) -> Error {
    Error::not_found(format!("no knowledge store '{id}'"))
}
