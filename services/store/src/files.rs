//! Uploaded files: what they are called, and their bytes.
//!
//! Invariant: a file's content never changes; a newer version is another file.

use frontdesk_api::{Error, Micros, Order, Page, PageRequest, Result};

use crate::{Doing as _, Tenant, Tx, on, paging};

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
}

impl Tenant<'_> {
    /// # Errors
    /// `Conflict` when the id is taken.
    pub async fn add_file(&self, file: &StoredFile, content: &[u8]) -> Result<()> {
        let mut tx = self.write().await?;
        write_file(&mut tx, file, content).await?;
        tx.commit().await
    }

    /// # Errors
    /// `NotFound` when this tenant has no such file.
    pub async fn load_file(&self, id: &str) -> Result<StoredFile> {
        let mut tx = self.read().await?;
        let found = on!(tx, conn => sqlx::query_as("SELECT id, filename, purpose, media_type, bytes, hash, created_at \
             FROM file WHERE tenant = $1 AND id = $2")
            .bind(self.id()).bind(id).fetch_optional(conn).await)
        .doing("look up a file")?;
        found.ok_or_else(|| missing(id))
    }

    /// The bytes as they were uploaded.
    ///
    /// # Errors
    /// `NotFound` when this tenant has no such file.
    pub async fn load_content(&self, id: &str) -> Result<Vec<u8>> {
        let mut tx = self.read().await?;
        let found = on!(tx, conn => sqlx::query_scalar("SELECT content FROM file WHERE tenant = $1 AND id = $2")
            .bind(self.id()).bind(id).fetch_optional(conn).await)
        .doing("load a file")?;
        found.ok_or_else(|| missing(id))
    }

    /// Newest first unless asked otherwise; `purpose` None: of any.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_files(&self, purpose: Option<&str>, page: &PageRequest) -> Result<Page<StoredFile>> {
        let sql = match page.order {
            Order::Asc => {
                "SELECT id, filename, purpose, media_type, bytes, hash, created_at FROM file \
                 WHERE tenant = $1 AND id > $2 AND ($3 = '' OR purpose = $3) ORDER BY id LIMIT $4"
            }
            Order::Desc => {
                "SELECT id, filename, purpose, media_type, bytes, hash, created_at FROM file \
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
        let gone = on!(tx, conn => sqlx::query("DELETE FROM file WHERE tenant = $1 AND id = $2")
            .bind(self.id()).bind(id).execute(conn).await.map(|done| done.rows_affected()))
        .doing(&format!("delete the file '{id}'"))?;
        if gone == 0 {
            return Err(missing(id));
        }
        tx.commit().await
    }
}

/// Writes a file in a transaction of the caller's.
///
/// # Errors
/// `Conflict` when the id is taken.
pub async fn write_file(tx: &mut Tx, file: &StoredFile, content: &[u8]) -> Result<()> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query("INSERT INTO file (tenant, id, filename, purpose, media_type, bytes, hash, created_at, content) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
        .bind(&*tenant).bind(&file.id).bind(&file.filename).bind(&file.purpose).bind(&file.media_type)
        .bind(file.bytes).bind(&file.hash).bind(file.created_at).bind(content).execute(conn).await.map(|_| ()))
    .doing(&format!("store the file '{}'", file.filename))
}

fn missing(id: &str) -> Error {
    Error::not_found(format!("no file '{id}'"))
}
