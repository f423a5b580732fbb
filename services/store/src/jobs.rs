//! Jobs: work that outlives the request that asked for it and the process that began it.
//!
//! A process claims an open job that nobody holds, by a lease of the database's clock, and renews the lease while it
//! works. One that dies stops renewing, and whoever finds the lease passed goes on. Invariant: every write of a job
//! begins with [`fence`] in the same transaction, which locks the row; an owner whose epoch has passed writes nothing.

use frontdesk_api::{Error, Micros, Order, Page, PageRequest, Result};
use serde::{Serialize, de::DeserializeOwned};

pub use crate::turns::Lease;
use crate::{Doing as _, System, Tenant, Tx, json, on, paging};

/// Code of errors about a job whose row says something that this program does not understand.
pub const UNREADABLE: &str = "job_unreadable";

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Not at its end, whether or not somebody works on it now.
    Open,
    Completed,
    Failed,
    Cancelled,
    Expired,
}

impl JobState {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// A job; `P` is what was asked, `Q` how far it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Job<P, Q> {
    pub id: String,
    pub state: JobState,
    /// Never changes.
    pub payload: P,
    pub progress: Q,
    pub epoch: i64,
    /// How often it was begun since it last got on, this time included.
    pub attempts: i64,
    pub cancel_requested_at: Option<Micros>,
    pub created_at: Micros,
    pub ended_at: Option<Micros>,
    /// When its results were deleted, for their time was over.
    pub cleared_at: Option<Micros>,
}

/// A job that is to be written.
#[derive(Debug, Clone, Copy)]
pub struct NewJob<'a, P, Q> {
    pub id: &'a str,
    pub kind: &'a str,
    pub payload: &'a P,
    pub progress: &'a Q,
    /// How long it may take, in microseconds.
    pub window: i64,
    pub created_at: Micros,
}

/// A job that this process holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed<P, Q> {
    pub tenant: String,
    pub job: Job<P, Q>,
    /// Microseconds from the claim to its deadline; negative when that has passed.
    pub left: i64,
}

/// What one look for work brought.
#[derive(Debug)]
pub struct Claims<P, Q> {
    pub claimed: Vec<Claimed<P, Q>>,
    /// Jobs that this program cannot read; they have ended as failed.
    pub unreadable: Vec<Unreadable>,
}

/// A job whose row says something that this program does not understand.
#[derive(Debug)]
pub struct Unreadable {
    pub tenant: String,
    pub id: String,
    /// Which part of the row, and why.
    pub error: Error,
}

/// Whose hold is meant, for renewing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub tenant: String,
    pub id: String,
    pub epoch: i64,
}

/// What a fence says to an owner that may still write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    pub cancel_requested: bool,
}

/// The columns of a [`Row`], as a literal.
macro_rules! columns {
    () => {
        "tenant, id, state, payload, progress, epoch, attempts, cancel_requested_at, deadline, created_at, ended_at, \
         cleared_at"
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    tenant: String,
    id: String,
    state: String,
    payload: String,
    progress: String,
    epoch: i64,
    attempts: i64,
    cancel_requested_at: Option<Micros>,
    deadline: Micros,
    created_at: Micros,
    ended_at: Option<Micros>,
    cleared_at: Option<Micros>,
}

impl Row {
    fn read<P: DeserializeOwned, Q: DeserializeOwned>(self) -> Result<Job<P, Q>> {
        let id = self.id.clone();
        self.parse().map_err(|e| Error {
            message: format!("'{id}': {}", e.message),
            code: Some(UNREADABLE.into()),
            ..e
        })
    }

    fn parse<P: DeserializeOwned, Q: DeserializeOwned>(self) -> Result<Job<P, Q>> {
        Ok(Job {
            state: json::read("a job's state", &format!("\"{}\"", self.state))?,
            payload: json::read("what a job was asked", &self.payload)?,
            progress: json::read("how far a job is", &self.progress)?,
            id: self.id,
            epoch: self.epoch,
            attempts: self.attempts,
            cancel_requested_at: self.cancel_requested_at,
            created_at: self.created_at,
            ended_at: self.ended_at,
            cleared_at: self.cleared_at,
        })
    }
}

/// Writes a new job that nobody holds yet.
///
/// # Errors
/// `Conflict` when the id is taken.
pub async fn add<P: Serialize, Q: Serialize>(tx: &mut Tx, new: NewJob<'_, P, Q>) -> Result<()> {
    let (tenant, now) = (tx.tenant(), tx.now().await?);
    let (payload, progress) = (json::write(new.payload)?, json::write(new.progress)?);
    on!(tx, conn => sqlx::query("INSERT INTO job (tenant, id, kind, state, payload, progress, lease_until, epoch, attempts, deadline, created_at) \
         VALUES ($1, $2, $3, 'open', $4, $5, 0, 0, 0, $6, $7)")
        .bind(&*tenant).bind(new.id).bind(new.kind).bind(&payload).bind(&progress)
        .bind(now.saturating_add(new.window)).bind(new.created_at).execute(conn).await.map(|_| ()))
    .doing("create a job")
}

/// Whether the owner of `epoch` may write; None when it must drop the job. Locks the job's row until the transaction
/// ends, notes how far the job is, and that it got on.
///
/// # Errors
/// As any query.
pub async fn fence<Q: Serialize>(tx: &mut Tx, id: &str, epoch: i64, progress: &Q) -> Result<Option<Passed>> {
    let (tenant, progress) = (tx.tenant(), json::write(progress)?);
    let asked: Option<Option<Micros>> =
        on!(tx, conn => sqlx::query_scalar("UPDATE job SET progress = $4, attempts = 1 \
         WHERE tenant = $1 AND id = $2 AND epoch = $3 AND state = 'open' RETURNING cancel_requested_at")
        .bind(&*tenant).bind(id).bind(epoch).bind(&progress).fetch_optional(conn).await)
        .doing("write to a job")?;
    Ok(asked.map(|asked| Passed { cancel_requested: asked.is_some() }))
}

/// Ends a job. Only behind [`fence`].
///
/// # Errors
/// As any query.
pub async fn end(tx: &mut Tx, id: &str, state: JobState, ended_at: Micros) -> Result<()> {
    let tenant = tx.tenant();
    end_of(tx, &tenant, id, state, ended_at).await
}

async fn end_of(tx: &mut Tx, tenant: &str, id: &str, state: JobState, ended_at: Micros) -> Result<()> {
    on!(tx, conn => sqlx::query("UPDATE job SET state = $3, ended_at = $4, owner = NULL WHERE tenant = $1 AND id = $2")
        .bind(tenant).bind(id).bind(state.as_str()).bind(ended_at).execute(conn).await.map(|_| ()))
    .doing("end a job")
}

/// Puts a job aside for so many microseconds, or until its deadline where that is sooner and to come. Nobody holds it,
/// and it does not count as one that was begun. Only behind [`fence`].
///
/// # Errors
/// As any query.
pub async fn put_aside(tx: &mut Tx, id: &str, micros: i64) -> Result<()> {
    let (tenant, now) = (tx.tenant(), tx.now().await?);
    let until = now.saturating_add(micros);
    on!(tx, conn => sqlx::query("UPDATE job SET owner = NULL, epoch = epoch + 1, attempts = 0, \
         lease_until = CASE WHEN deadline > $3 AND deadline < $4 THEN deadline ELSE $4 END WHERE tenant = $1 AND id = $2")
        .bind(&*tenant).bind(id).bind(now).bind(until).execute(conn).await.map(|_| ()))
    .doing("put a job aside")
}

/// Deletes a job that has ended; false when it is open, of another kind or not there.
///
/// # Errors
/// As any query; `Conflict` while rows refer to it.
pub async fn delete(tx: &mut Tx, kind: &str, id: &str) -> Result<bool> {
    let tenant = tx.tenant();
    let gone =
        on!(tx, conn => sqlx::query("DELETE FROM job WHERE tenant = $1 AND kind = $2 AND id = $3 AND state <> 'open'")
        .bind(&*tenant).bind(kind).bind(id).execute(conn).await.map(|done| done.rows_affected()))
        .doing("delete a job")?;
    Ok(gone == 1)
}

impl Tenant<'_> {
    /// # Errors
    /// As any query.
    pub async fn find_job<P: DeserializeOwned, Q: DeserializeOwned>(
        &self,
        kind: &str,
        id: &str,
    ) -> Result<Option<Job<P, Q>>> {
        let sql = concat!("SELECT ", columns!(), " FROM job WHERE tenant = $1 AND kind = $2 AND id = $3");
        let mut tx = self.read().await?;
        let row: Option<Row> =
            on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(kind).bind(id).fetch_optional(conn).await)
                .doing("load a job")?;
        row.map(Row::read).transpose()
    }

    /// Newest first unless asked otherwise. Those that cannot be read are left out and logged; a page of
    /// them alone is passed over.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_jobs<P: DeserializeOwned, Q: DeserializeOwned>(
        &self,
        kind: &str,
        page: &PageRequest,
    ) -> Result<Page<Job<P, Q>>> {
        let sql = match page.order {
            Order::Asc => concat!(
                "SELECT ",
                columns!(),
                " FROM job WHERE tenant = $1 AND kind = $2 AND id > $3 ORDER BY id LIMIT $4"
            ),
            Order::Desc => concat!(
                "SELECT ",
                columns!(),
                " FROM job WHERE tenant = $1 AND kind = $2 AND id < $3 ORDER BY id DESC LIMIT $4"
            ),
        };
        let read = |row: Row| {
            let job = row.read();
            job.inspect_err(|e| tracing::error!(error = %e, cause = ?e.source, "a job is not listed")).ok()
        };
        let (mut tx, mut page) = (self.read().await?, page.clone());
        loop {
            let rows: Vec<Row> = on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(kind)
                .bind(paging::cursor(&page)).bind(paging::fetch(&page)).fetch_all(conn).await)
            .doing("list jobs")?;
            let Page { items: rows, more } = Page::of(rows, page.limit);
            page.after = rows.last().map(|row| row.id.clone());
            let items: Vec<_> = rows.into_iter().filter_map(read).collect();
            // By its last item a client asks for the next page.
            if !items.is_empty() || !more {
                return Ok(Page { items, more });
            }
        }
    }

    /// Notes that an open job is to be cancelled, for whoever holds it or claims it next, one that was put aside at
    /// once; false when it has ended or is not there. Asked twice, the first time stays.
    ///
    /// # Errors
    /// As any query.
    pub async fn request_job_cancel(&self, kind: &str, id: &str, now: Micros) -> Result<bool> {
        let mut tx = self.write().await?;
        let open =
            on!(tx, conn => sqlx::query("UPDATE job SET cancel_requested_at = COALESCE(cancel_requested_at, $4), \
             lease_until = CASE WHEN owner IS NULL THEN 0 ELSE lease_until END \
             WHERE tenant = $1 AND kind = $2 AND id = $3 AND state = 'open'")
            .bind(self.id()).bind(kind).bind(id).bind(now).execute(conn).await.map(|done| done.rows_affected()))
            .doing("ask a job to stop")?;
        tx.commit().await?;
        Ok(open == 1)
    }

    /// Notes that a job that has ended has no results any more.
    ///
    /// # Errors
    /// As any query.
    pub async fn note_job_cleared(&self, id: &str, now: Micros) -> Result<()> {
        let mut tx = self.write().await?;
        on!(tx, conn => sqlx::query("UPDATE job SET cleared_at = $3 WHERE tenant = $1 AND id = $2 AND cleared_at IS NULL")
            .bind(self.id()).bind(id).bind(now).execute(conn).await.map(|_| ()))
        .doing("note that a job has no results any more")?;
        tx.commit().await
    }

    /// Gives a job back as if it had not been begun; whoever looks next goes on. Its epoch is over, so a renewal that
    /// was on its way does not hold it again.
    ///
    /// # Errors
    /// As any query.
    pub async fn give_back_job(&self, id: &str, epoch: i64) -> Result<()> {
        let mut tx = self.write().await?;
        on!(tx, conn => sqlx::query("UPDATE job SET lease_until = 0, owner = NULL, epoch = epoch + 1, attempts = attempts - 1 \
             WHERE tenant = $1 AND id = $2 AND epoch = $3 AND state = 'open'")
            .bind(self.id()).bind(id).bind(epoch).execute(conn).await.map(|_| ()))
        .doing("give a job back")?;
        tx.commit().await
    }
}

impl System<'_> {
    /// Claims up to `limit` open jobs of these kinds that nobody holds. Tenants take turns: each job's place is how
    /// many its tenant would then have in hand, and of those in one place the oldest comes first. A job that cannot be
    /// read ends as failed at the time `now`, and the others are claimed all the same. Over all tenants, since a
    /// process works for all of them.
    ///
    /// # Errors
    /// As any query.
    pub async fn claim_jobs<P: DeserializeOwned, Q: DeserializeOwned>(
        &self,
        kinds: [&str; 2],
        lease: Lease<'_>,
        limit: i64,
        now: Micros,
    ) -> Result<Claims<P, Q>> {
        let mut tx = self.write().await?;
        let clock = tx.now().await?;
        // Said twice, so that on Postgres one that another has claimed meanwhile is read anew and left to it.
        let sql = concat!(
            "UPDATE job SET owner = $3, lease_until = $4, epoch = epoch + 1, attempts = attempts + 1 \
             WHERE state = 'open' AND lease_until < $5 AND (tenant, id) IN (SELECT tenant, id FROM ( \
             SELECT j.tenant, j.id, j.created_at, row_number() OVER (PARTITION BY j.tenant ORDER BY j.created_at, j.id) \
             + (SELECT count(*) FROM job h WHERE h.tenant = j.tenant AND h.state = 'open' AND h.lease_until >= $5 AND h.owner IS NOT NULL \
             AND h.kind IN ($1, $2)) AS place \
             FROM job j WHERE j.kind IN ($1, $2) AND j.state = 'open' AND j.lease_until < $5) waiting \
             ORDER BY place, created_at, id LIMIT $6) RETURNING ",
            columns!()
        );
        let rows: Vec<Row> = on!(tx, conn => sqlx::query_as(sql).bind(kinds[0]).bind(kinds[1]).bind(lease.owner)
            .bind(clock.saturating_add(lease.micros)).bind(clock).bind(limit).fetch_all(conn).await)
        .doing("claim jobs")?;
        let mut claims = Claims { claimed: vec![], unreadable: vec![] };
        for row in rows {
            let (tenant, id, left) = (row.tenant.clone(), row.id.clone(), row.deadline.saturating_sub(clock));
            match row.read() {
                Ok(job) => claims.claimed.push(Claimed { tenant, left, job }),
                Err(error) => {
                    end_of(&mut tx, &tenant, &id, JobState::Failed, now).await?;
                    claims.unreadable.push(Unreadable { tenant, id, error });
                }
            }
        }
        tx.commit().await?;
        Ok(claims)
    }

    /// Open jobs of these kinds that nobody holds now, those that were put aside among them.
    ///
    /// # Errors
    /// As any query.
    pub async fn count_waiting_jobs(&self, kinds: [&str; 2]) -> Result<u64> {
        let mut tx = self.read().await?;
        let now = tx.now().await?;
        let waiting: i64 = on!(tx, conn => sqlx::query_scalar("SELECT count(*) FROM job \
             WHERE kind IN ($1, $2) AND state = 'open' AND (lease_until < $3 OR owner IS NULL)")
            .bind(kinds[0]).bind(kinds[1]).bind(now).fetch_one(conn).await)
        .doing("count the jobs that wait")?;
        Ok(waiting.unsigned_abs())
    }

    /// Up to `limit` jobs of a kind that have ended, were made before this moment and still have their results, the
    /// oldest first: their tenants and ids. Over all tenants, since one sweep clears for all of them.
    ///
    /// # Errors
    /// As any query.
    pub async fn uncleared_jobs(&self, kind: &str, before: Micros, limit: i64) -> Result<Vec<(String, String)>> {
        let mut tx = self.read().await?;
        on!(tx, conn => sqlx::query_as("SELECT tenant, id FROM job WHERE kind = $1 AND created_at < $2 \
             AND state <> 'open' AND cleared_at IS NULL ORDER BY created_at LIMIT $3")
            .bind(kind).bind(before).bind(limit).fetch_all(conn).await)
        .doing("look for old jobs")
    }

    /// Goes on holding these jobs: for each whether it is to be cancelled, None when it is no longer held and must be
    /// dropped.
    ///
    /// # Errors
    /// As any query.
    pub async fn renew_jobs(&self, held: &[Held], micros: i64) -> Result<Vec<Option<Passed>>> {
        let mut tx = self.write().await?;
        let until = tx.now().await?.saturating_add(micros);
        let mut all = Vec::with_capacity(held.len());
        for job in held {
            let asked: Option<Option<Micros>> = on!(tx, conn => sqlx::query_scalar("UPDATE job SET lease_until = $4 \
                 WHERE tenant = $1 AND id = $2 AND epoch = $3 AND state = 'open' RETURNING cancel_requested_at")
                .bind(&job.tenant).bind(&job.id).bind(job.epoch).bind(until).fetch_optional(conn).await)
            .doing("renew the leases of jobs")?;
            all.push(asked.map(|asked| Passed { cancel_requested: asked.is_some() }));
        }
        tx.commit().await?;
        Ok(all)
    }

    /// Ends every lease on an open job; how many are open. For a process that is alone with the database and has
    /// just begun: whoever held them is dead.
    ///
    /// # Errors
    /// As any query.
    pub async fn end_job_leases(&self) -> Result<u64> {
        let mut tx = self.write().await?;
        let open = on!(tx, conn => sqlx::query("UPDATE job SET lease_until = 0, owner = NULL WHERE state = 'open'")
            .execute(conn).await.map(|done| done.rows_affected()))
        .doing("end the leases of an earlier process")?;
        tx.commit().await?;
        Ok(open)
    }
}

/// A job that this tenant does not have.
#[must_use]
pub fn missing(what: &str, id: &str) -> Error {
    Error::not_found(format!("no {what} has the id '{id}'"))
}
