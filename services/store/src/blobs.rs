//! Contents outside the database: which there are, who writes them, what is to be cleared.
//!
//! A blob's row is written before its content is, with a lease by the database's clock; the row that names it makes
//! it `kept` in the same transaction. What is neither kept nor held is loose: whoever finds it clears the content,
//! then the row. Invariants: a blob is kept only while it is pending, so one that was found loose never is; a file
//! that goes makes its blob dead in the same transaction.

use frontdesk_api::{Error, Micros, Result};

use crate::{Doing as _, System, Tenant, Tx, on};

/// How often a blob is cleared whose writer gave no sign any more: it may have been asleep and have gone on writing
/// after the first time.
const CLEARS: i64 = 2;

/// A blob that nobody names and nobody holds, claimed to be cleared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, sqlx::FromRow)]
pub struct Loose {
    pub tenant: String,
    pub key: String,
    /// Id of the place it is in.
    pub place: String,
}

/// How many blobs of files a place has.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Holding {
    /// Id of the place.
    pub place: String,
    pub kept: i64,
}

impl Tenant<'_> {
    /// Notes a blob that is about to be written and holds it for `lease` microseconds.
    ///
    /// # Errors
    /// `Conflict` when the key is taken.
    pub async fn begin_blob(&self, key: &str, place: &str, lease: i64) -> Result<()> {
        let mut tx = self.write().await?;
        let now = tx.now().await?;
        on!(tx, conn => sqlx::query("INSERT INTO blob (tenant, key, place, state, lease_until, clears, created_at) \
             VALUES ($1, $2, $3, 'pending', $4, $5, $6)")
            .bind(self.id()).bind(key).bind(place).bind(now.saturating_add(lease)).bind(CLEARS).bind(now)
            .execute(conn).await.map(|_| ()))
        .doing("note a content that will be written")?;
        tx.commit().await
    }

    /// Goes on holding a blob that is being written; false when it was found loose meanwhile.
    ///
    /// # Errors
    /// As any query.
    pub async fn hold_blob(&self, key: &str, lease: i64) -> Result<bool> {
        let mut tx = self.write().await?;
        let now = tx.now().await?;
        let held = on!(tx, conn => sqlx::query("UPDATE blob SET lease_until = $3 WHERE tenant = $1 AND key = $2 AND state = 'pending'")
            .bind(self.id()).bind(key).bind(now.saturating_add(lease)).execute(conn).await.map(|done| done.rows_affected()))
        .doing("go on holding a content that is written")?;
        tx.commit().await?;
        Ok(held == 1)
    }

    /// Lets go of a blob that no row will name: it is loose from now on.
    ///
    /// # Errors
    /// As any query.
    pub async fn let_go_of_blob(&self, key: &str) -> Result<()> {
        let mut tx = self.write().await?;
        on!(tx, conn => sqlx::query("UPDATE blob SET state = 'dead', lease_until = 0 WHERE tenant = $1 AND key = $2 AND state = 'pending'")
            .bind(self.id()).bind(key).execute(conn).await.map(|_| ()))
        .doing("let go of a content")?;
        tx.commit().await
    }

    /// Notes that a loose blob was cleared. Its row goes, unless it is to be cleared once more, after `lease`
    /// microseconds.
    ///
    /// # Errors
    /// As any query.
    pub async fn note_cleared(&self, key: &str, lease: i64) -> Result<()> {
        let mut tx = self.write().await?;
        let now = tx.now().await?;
        on!(tx, conn => sqlx::query("UPDATE blob SET clears = clears - 1, lease_until = $3 WHERE tenant = $1 AND key = $2 AND state = 'dead'")
            .bind(self.id()).bind(key).bind(now.saturating_add(lease)).execute(conn).await.map(|_| ()))
        .doing("note that a content was cleared")?;
        on!(tx, conn => sqlx::query("DELETE FROM blob WHERE tenant = $1 AND key = $2 AND state = 'dead' AND clears < 1")
            .bind(self.id()).bind(key).execute(conn).await.map(|_| ()))
        .doing("note that a content was cleared")?;
        tx.commit().await
    }
}

/// Makes a pending blob kept, for the row that names it in the same transaction.
///
/// # Errors
/// `Unavailable` when it was found loose meanwhile: its content may be gone.
pub(crate) async fn keep(tx: &mut Tx, key: &str) -> Result<()> {
    let tenant = tx.tenant();
    let kept = on!(tx, conn => sqlx::query("UPDATE blob SET state = 'kept' WHERE tenant = $1 AND key = $2 AND state = 'pending'")
        .bind(&*tenant).bind(key).execute(conn).await.map(|done| done.rows_affected()))
    .doing("keep a content")?;
    if kept == 1 { Ok(()) } else { Err(lost()) }
}

/// Makes a kept blob loose, since the row that named it goes in the same transaction.
///
/// # Errors
/// As any query.
pub(crate) async fn release(tx: &mut Tx, key: &str) -> Result<()> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query("UPDATE blob SET state = 'dead', lease_until = 0, clears = 1 WHERE tenant = $1 AND key = $2")
        .bind(&*tenant).bind(key).execute(conn).await.map(|_| ()))
    .doing("let go of a content")
}

/// That a writer took longer than it was held.
#[must_use]
pub fn lost() -> Error {
    Error::unavailable("the file was not stored: its server gave no sign for too long while it was sent; send it again")
}

impl System<'_> {
    /// Claims up to `limit` loose blobs for `lease` microseconds; none of them can be kept any more. Over all tenants,
    /// since a process clears for all of them.
    ///
    /// # Errors
    /// As any query.
    pub async fn claim_loose_blobs(&self, lease: i64, limit: i64) -> Result<Vec<Loose>> {
        let mut tx = self.write().await?;
        let now: Micros = tx.now().await?;
        // Said twice, so that on Postgres one that another has claimed or kept meanwhile is read anew and left to it.
        let claimed = on!(tx, conn => sqlx::query_as("UPDATE blob SET state = 'dead', lease_until = $1 \
             WHERE state <> 'kept' AND lease_until < $2 AND (tenant, key) IN ( \
             SELECT b.tenant, b.key FROM blob b WHERE b.state <> 'kept' AND b.lease_until < $2 ORDER BY b.lease_until LIMIT $3) \
             RETURNING tenant, key, place")
            .bind(now.saturating_add(lease)).bind(now).bind(limit).fetch_all(conn).await)
        .doing("look for contents that nobody names")?;
        tx.commit().await?;
        Ok(claimed)
    }

    /// Ends the lease of everything that is being written; how many that is. For a process that is alone with the
    /// database and has just begun: whoever wrote is dead.
    ///
    /// # Errors
    /// As any query.
    pub async fn end_blob_leases(&self) -> Result<u64> {
        let mut tx = self.write().await?;
        let ended = on!(tx, conn => sqlx::query("UPDATE blob SET lease_until = 0 WHERE state <> 'kept'")
            .execute(conn).await.map(|done| done.rows_affected()))
        .doing("end what an earlier process was writing")?;
        tx.commit().await?;
        Ok(ended)
    }

    /// Which places files are in, by id.
    ///
    /// # Errors
    /// As any query.
    pub async fn holdings(&self) -> Result<Vec<Holding>> {
        let mut tx = self.read().await?;
        on!(tx, conn => sqlx::query_as("SELECT place, count(*) AS kept FROM blob WHERE state = 'kept' GROUP BY place ORDER BY place")
            .fetch_all(conn).await)
        .doing("look where contents are")
    }
}
