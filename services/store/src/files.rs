//! Uploaded files: what they are called, and their bytes or where those are.
//!
//! Invariants: a file's content never changes; a newer version is another file. One whose content is a blob names it
//! as long as it is there, and makes it loose as it goes.

use frontdesk_api::{Error, Micros, Order, Page, PageRequest, Result, blobs::Place};

use crate::{Doing as _, System, Tenant, Tx, blobs, on, paging};

/// A file without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredFile {
    pub id: String,
    pub filename: String,
    /// What it is for, in OpenAI's words (`assistants`, `batch`, `user_data`).
    pub purpose: String,
    /// As the uploader claimed; None: not said.
    pub media_type: Option<String>,
    pub bytes: i64,
    /// BLAKE3 of the content.
    pub hash: Vec<u8>,
    pub created_at: Micros,
    /// When it is to be deleted; None: not by itself.
    pub expires_at: Option<Micros>,
}

/// Where a file's content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub bytes: i64,
    /// BLAKE3 of the content.
    pub hash: Vec<u8>,
    pub content: Place,
    /// Id of the place a blob is in; empty where the content is in the row.
    pub place: String,
}

#[derive(sqlx::FromRow)]
struct PlacedRow {
    bytes: i64,
    hash: Vec<u8>,
    content: Vec<u8>,
    blob: Option<String>,
    place: Option<String>,
}

impl Tenant<'_> {
    /// # Errors
    /// As [`write_file`].
    pub async fn add_file(&self, file: &StoredFile, content: &Place) -> Result<()> {
        let mut tx = self.write().await?;
        write_file(&mut tx, file, content).await?;
        tx.commit().await
    }

    /// # Errors
    /// `NotFound` when this tenant has no such file.
    pub async fn load_file(&self, id: &str) -> Result<StoredFile> {
        let mut tx = self.read().await?;
        let found = on!(tx, conn => sqlx::query_as("SELECT id, filename, purpose, media_type, bytes, hash, created_at, expires_at \
             FROM file WHERE tenant = $1 AND id = $2")
            .bind(self.id()).bind(id).fetch_optional(conn).await)
        .doing("look up a file")?;
        found.ok_or_else(|| missing(id))
    }

    /// Where the content is, and the content itself where that is the row.
    ///
    /// # Errors
    /// `NotFound` when this tenant has no such file.
    pub async fn find_content(&self, id: &str) -> Result<Placed> {
        let mut tx = self.read().await?;
        let found: Option<PlacedRow> =
            on!(tx, conn => sqlx::query_as("SELECT f.bytes, f.hash, f.content, f.blob, b.place FROM file f \
             LEFT JOIN blob b ON b.tenant = f.tenant AND b.key = f.blob WHERE f.tenant = $1 AND f.id = $2")
            .bind(self.id()).bind(id).fetch_optional(conn).await)
            .doing("load a file")?;
        let PlacedRow { bytes, hash, content, blob, place } = found.ok_or_else(|| missing(id))?;
        let content = blob.map_or_else(|| Place::Row(content.into()), Place::Blob);
        Ok(Placed { bytes, hash, content, place: place.unwrap_or_default() })
    }

    /// Newest first unless asked otherwise; `purpose` None: of any.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_files(&self, purpose: Option<&str>, page: &PageRequest) -> Result<Page<StoredFile>> {
        let sql = match page.order {
            Order::Asc => {
                "SELECT id, filename, purpose, media_type, bytes, hash, created_at, expires_at FROM file \
                 WHERE tenant = $1 AND id > $2 AND ($3 = '' OR purpose = $3) ORDER BY id LIMIT $4"
            }
            Order::Desc => {
                "SELECT id, filename, purpose, media_type, bytes, hash, created_at, expires_at FROM file \
                 WHERE tenant = $1 AND id < $2 AND ($3 = '' OR purpose = $3) ORDER BY id DESC LIMIT $4"
            }
        };
        let mut tx = self.read().await?;
        let rows = on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(paging::cursor(page))
            .bind(purpose.unwrap_or_default()).bind(paging::fetch(page)).fetch_all(conn).await)
        .doing("list files")?;
        Ok(Page::of(rows, page.limit))
    }

    /// Deletes a file that is in no knowledge store.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when a knowledge store has it.
    pub async fn delete_file(&self, id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        let gone: Option<Option<String>> =
            on!(tx, conn => sqlx::query_scalar("DELETE FROM file WHERE tenant = $1 AND id = $2 RETURNING blob")
            .bind(self.id()).bind(id).fetch_optional(conn).await)
            .doing(&format!("delete the file '{id}'"))?;
        if let Some(blob) = gone.ok_or_else(|| missing(id))? {
            blobs::release(&mut tx, &blob).await?;
        }
        tx.commit().await
    }
}

impl System<'_> {
    /// Up to `limit` files whose time was over at `now`, behind the one given, the oldest first: when that was, their
    /// tenants and ids. Over all tenants, since one sweep deletes for all of them.
    ///
    /// # Errors
    /// As any query.
    pub async fn expired_files(
        &self,
        now: Micros,
        behind: &(Micros, String, String),
        limit: i64,
    ) -> Result<Vec<(Micros, String, String)>> {
        let mut tx = self.read().await?;
        on!(tx, conn => sqlx::query_as("SELECT expires_at, tenant, id FROM file WHERE expires_at <= $1 AND (expires_at, tenant, id) > ($3, $4, $5) \
             ORDER BY expires_at, tenant, id LIMIT $2")
            .bind(now).bind(limit).bind(behind.0).bind(&behind.1).bind(&behind.2).fetch_all(conn).await)
        .doing("look for files whose time is over")
    }
}

/// Writes a file in a transaction of the caller's; a blob that it names is kept from then on.
///
/// # Errors
/// `Conflict` when the id is taken; `Unavailable` when the blob was given up meanwhile.
pub async fn write_file(tx: &mut Tx, file: &StoredFile, content: &Place) -> Result<()> {
    let tenant = tx.tenant();
    let (content, blob) = match content {
        Place::Row(content) => (&content[..], None),
        Place::Blob(key) => {
            blobs::keep(tx, key).await?;
            (&[][..], Some(key))
        }
    };
    on!(tx, conn => sqlx::query("INSERT INTO file (tenant, id, filename, purpose, media_type, bytes, hash, created_at, content, blob, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)")
        .bind(&*tenant).bind(&file.id).bind(&file.filename).bind(&file.purpose).bind(&file.media_type)
        .bind(file.bytes).bind(&file.hash).bind(file.created_at).bind(content).bind(blob).bind(file.expires_at).execute(conn).await.map(|_| ()))
    .doing(&format!("store the file '{}'", file.filename))
}

fn missing(id: &str) -> Error {
    Error::not_found(format!("no file '{id}'"))
}
