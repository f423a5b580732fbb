//! Files on their way into a knowledge store: who reads them, and how it ended.
//!
//! A file that is `in_progress` carries the id of its reader and a lease by the database's clock. A process
//! that dies stops renewing; whoever finds the lease passed takes the file over under an id of its own.
//! Invariant: of several readers of one file only the one that began last notes how it ended.

use frontdesk_api::Result;

use crate::{Doing as _, System, Tenant, on};

/// One who reads files into a knowledge store, and for how long from now it holds them without renewing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reader<'a> {
    /// New for every reading.
    pub id: &'a str,
    /// Microseconds of the database's clock.
    pub micros: i64,
}

/// How reading a file ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ingested {
    Completed { passages: i64 },
    Failed { code: String, message: String },
}

/// A file that is `in_progress` and that nobody holds.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Unread {
    pub tenant: String,
    pub store_id: String,
    pub file_id: String,
}

impl Tenant<'_> {
    /// Takes over a file that nobody holds: how often reading it was begun, this time included; None when it
    /// is held, was read to its end or is gone.
    ///
    /// # Errors
    /// As any query.
    pub async fn take_unread(&self, store_id: &str, file_id: &str, reader: Reader<'_>) -> Result<Option<i64>> {
        let mut tx = self.write().await?;
        let now = tx.now().await?;
        let begun = on!(tx, conn => sqlx::query_scalar("UPDATE vector_store_file SET reader = $4, lease_until = $5, readings = readings + 1 \
             WHERE tenant = $1 AND store_id = $2 AND file_id = $3 AND status = 'in_progress' AND lease_until < $6 RETURNING readings")
            .bind(self.id()).bind(store_id).bind(file_id).bind(reader.id).bind(now.saturating_add(reader.micros)).bind(now)
            .fetch_optional(conn).await)
        .doing("take over the reading of a file")?;
        tx.commit().await?;
        Ok(begun)
    }

    /// Goes on holding whatever this reader has not read to its end yet; how many files that is.
    ///
    /// # Errors
    /// As any query.
    pub async fn keep_reading(&self, store_id: &str, reader: Reader<'_>) -> Result<u64> {
        let mut tx = self.write().await?;
        let now = tx.now().await?;
        let held = on!(tx, conn => sqlx::query("UPDATE vector_store_file SET lease_until = $4 \
             WHERE tenant = $1 AND store_id = $2 AND reader = $3 AND status = 'in_progress'")
            .bind(self.id()).bind(store_id).bind(reader.id).bind(now.saturating_add(reader.micros))
            .execute(conn).await.map(|done| done.rows_affected()))
        .doing("go on holding files that are read")?;
        tx.commit().await?;
        Ok(held)
    }

    /// Gives back whatever this reader has not read to its end, as if it had not begun; how many files.
    ///
    /// # Errors
    /// As any query.
    pub async fn leave_unread(&self, store_id: &str, reader_id: &str) -> Result<u64> {
        let mut tx = self.write().await?;
        let left = on!(tx, conn => sqlx::query("UPDATE vector_store_file SET lease_until = 0, readings = readings - 1 \
             WHERE tenant = $1 AND store_id = $2 AND reader = $3 AND status = 'in_progress'")
            .bind(self.id()).bind(store_id).bind(reader_id).execute(conn).await.map(|done| done.rows_affected()))
        .doing("give back files that were not read")?;
        tx.commit().await?;
        Ok(left)
    }

    /// Notes how reading a file ended; false when it was taken out meanwhile or has another reader by now.
    ///
    /// # Errors
    /// As any query.
    pub async fn note_ingested(
        &self,
        store_id: &str,
        file_id: &str,
        reader_id: &str,
        outcome: &Ingested,
    ) -> Result<bool> {
        let (status, passages, code, message) = match outcome {
            Ingested::Completed { passages } => ("completed", *passages, None, None),
            Ingested::Failed { code, message } => ("failed", 0, Some(code), Some(message)),
        };
        let mut tx = self.write().await?;
        let noted = on!(tx, conn => sqlx::query("UPDATE vector_store_file SET status = $5, passages = $6, error_code = $7, error = $8 \
             WHERE tenant = $1 AND store_id = $2 AND file_id = $3 AND reader = $4")
            .bind(self.id()).bind(store_id).bind(file_id).bind(reader_id).bind(status).bind(passages).bind(code).bind(message)
            .execute(conn).await.map(|done| done.rows_affected()))
        .doing("note how a file was read")?;
        tx.commit().await?;
        Ok(noted == 1)
    }
}

impl System<'_> {
    /// Files that nobody holds, in order of tenant, store and file, at most `limit`, beginning behind `after`.
    /// Over all tenants, since a process reads for all of them.
    ///
    /// # Errors
    /// As any query.
    pub async fn unread_files(&self, after: Option<&Unread>, limit: i64) -> Result<Vec<Unread>> {
        let (tenant, store, file) =
            after.map_or(("", "", ""), |a| (a.tenant.as_str(), a.store_id.as_str(), a.file_id.as_str()));
        let mut tx = self.read().await?;
        let now = tx.now().await?;
        on!(tx, conn => sqlx::query_as("SELECT tenant, store_id, file_id FROM vector_store_file \
             WHERE status = 'in_progress' AND lease_until < $1 AND (tenant, store_id, file_id) > ($2, $3, $4) \
             ORDER BY tenant, store_id, file_id LIMIT $5")
            .bind(now).bind(tenant).bind(store).bind(file).bind(limit).fetch_all(conn).await)
        .doing("look for files that nobody reads")
    }

    /// Ends every lease on a file; how many files are in progress. For a process that is alone with the
    /// database and has just begun: whoever held them is dead.
    ///
    /// # Errors
    /// As any query.
    pub async fn end_readings(&self) -> Result<u64> {
        let mut tx = self.write().await?;
        let ended =
            on!(tx, conn => sqlx::query("UPDATE vector_store_file SET lease_until = 0 WHERE status = 'in_progress'")
            .execute(conn).await.map(|done| done.rows_affected()))
            .doing("end the readings of an earlier process")?;
        tx.commit().await?;
        Ok(ended)
    }
}
