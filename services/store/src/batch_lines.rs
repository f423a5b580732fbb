//! The requests of a batch, and what came of each.
//!
//! Invariants: a line gets one outcome and keeps it, and its request goes then; what has an outcome is never asked
//! again. Writes stand behind [`crate::jobs::fence`] of the batch's job, or in the transaction that makes it.

use frontdesk_api::Result;
use sqlx::QueryBuilder;

use crate::{Doing as _, Tenant, Tx, json, on};

/// A line that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLine {
    /// The client's name for it.
    pub custom_id: String,
    /// The request's body, JSON.
    pub request: String,
}

/// A line that has no outcome yet.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct OpenLine {
    /// Place in the batch, from 0.
    pub pos: i64,
    pub custom_id: String,
    pub request: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded,
    Failed,
    /// The batch was cancelled before it was asked.
    Cancelled,
    /// The batch's time was over before it was asked.
    Expired,
}

impl Outcome {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// An answer to a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// False: it failed.
    pub succeeded: bool,
    /// HTTP status that the same request would have got by itself.
    pub status: u16,
    /// The body, one line of JSON.
    pub body: String,
}

/// A line with its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedLine {
    pub pos: i64,
    pub custom_id: String,
    pub outcome: Outcome,
    /// HTTP status; 0 where nobody was asked.
    pub status: u16,
    /// The answer's body, one line of JSON; empty where nobody was asked.
    pub body: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    pos: i64,
    custom_id: String,
    outcome: String,
    status: Option<i64>,
    answer: Option<String>,
}

impl Row {
    fn read(self) -> Result<EndedLine> {
        Ok(EndedLine {
            pos: self.pos,
            custom_id: self.custom_id,
            outcome: json::read("a line's outcome", &format!("\"{}\"", self.outcome))?,
            status: self.status.and_then(|status| u16::try_from(status).ok()).unwrap_or_default(),
            body: self.answer.unwrap_or_default(),
        })
    }
}

/// Lines of one statement: each binds five values, and SQLite takes 32,766 of them, PostgreSQL 65,535.
const AT_ONCE: usize = 500;

/// Writes lines, the first of them at `from`; those that stand there already stay.
///
/// # Errors
/// As any query.
pub async fn add(tx: &mut Tx, job_id: &str, from: i64, lines: &[NewLine]) -> Result<()> {
    let tenant = tx.tenant();
    let placed: Vec<(i64, &NewLine)> = (from..).zip(lines).collect();
    for some in placed.chunks(AT_ONCE) {
        on!(tx, conn => {
            let mut insert = QueryBuilder::new("INSERT INTO batch_line (tenant, job_id, pos, custom_id, request) ");
            insert.push_values(some, |mut row, (pos, line)| {
                row.push_bind(&*tenant).push_bind(job_id).push_bind(*pos).push_bind(&line.custom_id).push_bind(&line.request);
            });
            insert.push(" ON CONFLICT (tenant, job_id, pos) DO NOTHING");
            // Its text is another with every count of lines: not one to keep prepared.
            insert.build().persistent(false).execute(conn).await.map(|_| ())
        })
        .doing("write the lines of a batch")?;
    }
    Ok(())
}

/// Notes the answer to a line; false when it has an outcome already.
///
/// # Errors
/// As any query.
pub async fn answer(tx: &mut Tx, job_id: &str, pos: i64, answer: &Answer) -> Result<bool> {
    let tenant = tx.tenant();
    let outcome = if answer.succeeded { Outcome::Succeeded } else { Outcome::Failed };
    let noted =
        on!(tx, conn => sqlx::query("UPDATE batch_line SET outcome = $4, status = $5, answer = $6, request = '' \
         WHERE tenant = $1 AND job_id = $2 AND pos = $3 AND outcome IS NULL")
        .bind(&*tenant).bind(job_id).bind(pos).bind(outcome.as_str()).bind(i64::from(answer.status)).bind(&answer.body)
        .execute(conn).await.map(|done| done.rows_affected()))
        .doing("note the answer to a line of a batch")?;
    Ok(noted == 1)
}

/// Gives every line without an outcome this one; how many those were.
///
/// # Errors
/// As any query.
pub async fn end_open(tx: &mut Tx, job_id: &str, outcome: Outcome) -> Result<u64> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query("UPDATE batch_line SET outcome = $3, request = '' WHERE tenant = $1 AND job_id = $2 AND outcome IS NULL")
        .bind(&*tenant).bind(job_id).bind(outcome.as_str()).execute(conn).await.map(|done| done.rows_affected()))
    .doing("end the open lines of a batch")
}

/// Deletes the lines of a batch.
///
/// # Errors
/// As any query.
pub async fn delete(tx: &mut Tx, job_id: &str) -> Result<()> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query("DELETE FROM batch_line WHERE tenant = $1 AND job_id = $2")
        .bind(&*tenant).bind(job_id).execute(conn).await.map(|_| ()))
    .doing("delete the lines of a batch")
}

impl Tenant<'_> {
    /// Lines without an outcome behind the place `after`, in order.
    ///
    /// # Errors
    /// As any query.
    pub async fn open_lines(&self, job_id: &str, after: i64, limit: i64) -> Result<Vec<OpenLine>> {
        let mut tx = self.read().await?;
        on!(tx, conn => sqlx::query_as("SELECT pos, custom_id, request FROM batch_line \
             WHERE tenant = $1 AND job_id = $2 AND pos > $3 AND outcome IS NULL ORDER BY pos LIMIT $4")
            .bind(self.id()).bind(job_id).bind(after).bind(limit).fetch_all(conn).await)
        .doing("load the lines of a batch")
    }

    /// Deletes up to `limit` lines of a batch, the first ones; how many. So that no transaction is long.
    ///
    /// # Errors
    /// As any query.
    pub async fn delete_some_lines(&self, job_id: &str, limit: i64) -> Result<u64> {
        let mut tx = self.write().await?;
        let gone = on!(tx, conn => sqlx::query("DELETE FROM batch_line WHERE tenant = $1 AND job_id = $2 AND pos IN \
             (SELECT pos FROM batch_line WHERE tenant = $1 AND job_id = $2 ORDER BY pos LIMIT $3)")
            .bind(self.id()).bind(job_id).bind(limit).execute(conn).await.map(|done| done.rows_affected()))
        .doing("delete lines of a batch")?;
        tx.commit().await?;
        Ok(gone)
    }

    /// Lines with their outcome behind the place `after`, in order.
    ///
    /// # Errors
    /// As any query.
    pub async fn ended_lines(&self, job_id: &str, after: i64, limit: i64) -> Result<Vec<EndedLine>> {
        let mut tx = self.read().await?;
        let rows: Vec<Row> =
            on!(tx, conn => sqlx::query_as("SELECT pos, custom_id, outcome, status, answer FROM batch_line \
             WHERE tenant = $1 AND job_id = $2 AND pos > $3 AND outcome IS NOT NULL ORDER BY pos LIMIT $4")
            .bind(self.id()).bind(job_id).bind(after).bind(limit).fetch_all(conn).await)
            .doing("load the results of a batch")?;
        rows.into_iter().map(Row::read).collect()
    }
}
