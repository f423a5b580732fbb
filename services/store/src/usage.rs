//! The books as rows: one for each model call, and the slices of money set aside for calls under way.
//!
//! Invariants: a call's row is written once, however often a commit whose outcome is unknown is repeated; a
//! slice's numbers are totals, so the last statement about it stands and repeating one changes nothing.

use std::sync::LazyLock;

use frontdesk_api::{Micros, Result};
use sqlx::SqliteConnection;

use crate::{Conn, Doing as _, System, Tenant, Tx, json, on};

/// A model call that has ended. Costs are nano-USD, durations microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageRow {
    pub tenant: String,
    /// Unique within the tenant, for ever.
    pub id: String,
    /// When the call began; decides the day it is booked on.
    pub created_at: Micros,
    /// `chat`, `embeddings` or `rerank`.
    pub operation: &'static str,
    pub request_id: String,
    pub key_id: String,
    pub agent_id: Option<String>,
    pub session_id: Option<String>,
    pub turn_id: Option<String>,
    /// The model as the caller named it.
    pub asked: String,
    /// None: nobody was asked, or nobody can say who.
    pub provider: Option<String>,
    /// `provider/model` that answered; else as asked.
    pub model: String,
    /// `ok`, `error`, `cancelled`, `disconnected` or `outrun`; `hit` or `shared` where nobody was asked.
    pub status: &'static str,
    pub estimated: bool,
    pub input_tokens: i64,
    pub cached_input_tokens: i64,
    pub cache_write_tokens: i64,
    pub long_cache_write_tokens: i64,
    pub output_tokens: i64,
    pub reasoning_tokens: i64,
    /// None: the model has no price.
    pub cost: Option<i64>,
    pub latency_us: i64,
    pub first_us: Option<i64>,
}

impl UsageRow {
    fn day(&self) -> i64 {
        self.created_at.div_euclid(DAY)
    }
}

/// A slice as it stands. Nano-USD, in all since it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceRow {
    pub tenant: String,
    pub id: String,
    pub leased: i64,
    pub used: i64,
    pub opened_at: Micros,
    /// Nothing of it is needed any more.
    pub returned: bool,
}

/// What of a tenant's money lies in slices, in nano-USD.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Outstanding {
    /// Set aside by processes that live.
    pub reserved: i64,
    /// Set aside by processes that died; counts as spent.
    pub lost: i64,
}

/// Which calls a report is about and how they are put together.
#[derive(Debug, Clone, Default)]
pub struct UsageQuery<'a> {
    /// From this moment.
    pub from: Micros,
    /// Before this one.
    pub to: Micros,
    pub by: By,
    pub key_id: Option<&'a str>,
    pub agent_id: Option<&'a str>,
    /// As the caller named it, or `provider/model`.
    pub model: Option<&'a str>,
    pub provider: Option<&'a str>,
    /// The most groups.
    pub limit: i64,
}

/// What calls are grouped by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct By {
    pub day: bool,
    pub key: bool,
    pub agent: bool,
    pub model: bool,
    pub provider: bool,
}

/// Calls that belong together. A member that was not asked to be grouped by is None.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct UsageGroup {
    /// Days since 1970-01-01, UTC.
    pub day: Option<i64>,
    pub key_id: Option<String>,
    pub agent_id: Option<String>,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub requests: i64,
    /// That did not end well: errors, cancelled, disconnected.
    pub failed: i64,
    /// Whose answer was kept, or shared with an equal request: nobody was asked, and they cost nothing.
    pub reused: i64,
    pub estimated: i64,
    /// Whose model has no price: their cost is not in `cost`.
    pub unpriced: i64,
    pub input_tokens: i64,
    pub cached_input_tokens: i64,
    pub cache_write_tokens: i64,
    pub output_tokens: i64,
    pub reasoning_tokens: i64,
    /// Nano-USD; None: no call of the group has a price.
    pub cost: Option<i64>,
}

/// Microseconds in a day.
const DAY: Micros = 86_400_000_000;

impl System<'_> {
    /// Writes what ended and how the slices stand now, in one transaction; over all tenants, since one process
    /// books for all of them. `lease` is how long the slices are good for without a word of their process.
    ///
    /// # Errors
    /// As any query. Repeating the call with the same rows after an error books nothing twice.
    pub async fn book(&self, rows: &[UsageRow], slices: &[SliceRow], lease: Micros) -> Result<()> {
        let mut tx = self.write().await?;
        if !rows.is_empty() {
            write_rows(&mut tx, rows).await?;
        }
        if !slices.is_empty() {
            write_slices(&mut tx, slices, lease).await?;
        }
        tx.commit().await
    }

    /// Ends the lease of every open slice; how many. For a process that is alone with the database and has just
    /// begun: whoever held them is dead.
    ///
    /// # Errors
    /// As any query.
    pub async fn end_slices(&self) -> Result<u64> {
        let mut tx = self.write().await?;
        let ended = on!(tx, conn => sqlx::query("UPDATE budget_slice SET lease_until = 0 WHERE returned_at IS NULL AND lease_until > 0")
            .execute(conn).await.map(|done| done.rows_affected()))
        .doing("end the slices of an earlier process")?;
        tx.commit().await?;
        Ok(ended)
    }
}

impl Tenant<'_> {
    /// Calls put together, in the order of what they are grouped by.
    ///
    /// # Errors
    /// As any query.
    pub async fn usage(&self, query: &UsageQuery<'_>) -> Result<Vec<UsageGroup>> {
        let mut tx = self.read().await?;
        let (by, first, last) = (query.by, query.from.div_euclid(DAY), query.to.div_euclid(DAY));
        on!(tx, conn => sqlx::query_as(REPORT)
            .bind(self.id()).bind(first).bind(last).bind(query.from).bind(query.to)
            .bind(by.day).bind(by.key).bind(by.agent).bind(by.model).bind(by.provider)
            .bind(query.key_id).bind(query.agent_id).bind(query.model).bind(query.provider).bind(query.limit)
            .fetch_all(conn).await)
        .doing("read the usage")
    }

    /// What lies in slices that were not returned.
    ///
    /// # Errors
    /// As any query.
    pub async fn outstanding(&self) -> Result<Outstanding> {
        let mut tx = self.read().await?;
        let now = tx.now().await?;
        on!(tx, conn => sqlx::query_as("SELECT \
             CAST(coalesce(sum(CASE WHEN lease_until >= $2 THEN leased - used ELSE 0 END), 0) AS BIGINT) AS reserved, \
             CAST(coalesce(sum(CASE WHEN lease_until < $2 THEN leased - used ELSE 0 END), 0) AS BIGINT) AS lost \
             FROM budget_slice WHERE tenant = $1 AND returned_at IS NULL")
            .bind(self.id()).bind(now).fetch_one(conn).await)
        .doing("read what lies in slices")
    }
}

const REPORT: &str = "SELECT CASE WHEN $6 THEN day END AS day, CASE WHEN $7 THEN key_id END AS key_id, \
     CASE WHEN $8 THEN agent_id END AS agent_id, CASE WHEN $9 THEN model END AS model, \
     CASE WHEN $10 THEN provider END AS provider, count(*) AS requests, \
     CAST(coalesce(sum(CASE WHEN status IN ('ok', 'hit', 'shared') THEN 0 ELSE 1 END), 0) AS BIGINT) AS failed, \
     CAST(coalesce(sum(CASE WHEN status IN ('hit', 'shared') THEN 1 ELSE 0 END), 0) AS BIGINT) AS reused, \
     CAST(coalesce(sum(CASE WHEN estimated THEN 1 ELSE 0 END), 0) AS BIGINT) AS estimated, \
     CAST(coalesce(sum(CASE WHEN cost IS NULL THEN 1 ELSE 0 END), 0) AS BIGINT) AS unpriced, \
     CAST(coalesce(sum(input_tokens), 0) AS BIGINT) AS input_tokens, \
     CAST(coalesce(sum(cached_input_tokens), 0) AS BIGINT) AS cached_input_tokens, \
     CAST(coalesce(sum(cache_write_tokens), 0) AS BIGINT) AS cache_write_tokens, \
     CAST(coalesce(sum(output_tokens), 0) AS BIGINT) AS output_tokens, \
     CAST(coalesce(sum(reasoning_tokens), 0) AS BIGINT) AS reasoning_tokens, \
     CAST(sum(cost) AS BIGINT) AS cost \
     FROM usage WHERE tenant = $1 AND day >= $2 AND day <= $3 AND created_at >= $4 AND created_at < $5 \
     AND ($11 IS NULL OR key_id = $11) AND ($12 IS NULL OR agent_id = $12) \
     AND ($13 IS NULL OR model = $13 OR asked = $13) AND ($14 IS NULL OR provider = $14) \
     GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5 LIMIT $15";

/// All rows in one statement: as columns of arrays on Postgres, as one JSON text on SQLite.
async fn write_rows(tx: &mut Tx, rows: &[UsageRow]) -> Result<()> {
    match tx.conn() {
        Conn::Postgres(conn) => {
            let texts = |of: fn(&UsageRow) -> &str| rows.iter().map(of).map(str::to_owned).collect::<Vec<_>>();
            let maybe = |of: fn(&UsageRow) -> Option<&String>| rows.iter().map(|r| of(r).cloned()).collect::<Vec<_>>();
            let numbers = |of: fn(&UsageRow) -> i64| rows.iter().map(of).collect::<Vec<_>>();
            sqlx::query(
                "INSERT INTO usage (tenant, day, id, created_at, operation, request_id, key_id, agent_id, session_id, turn_id, asked, \
                 provider, model, status, estimated, input_tokens, cached_input_tokens, cache_write_tokens, \
                 long_cache_write_tokens, output_tokens, reasoning_tokens, cost, latency_us, first_us) \
                 SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::boolean[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[]) ON CONFLICT DO NOTHING",
            )
            .bind(texts(|r| &r.tenant))
            .bind(numbers(UsageRow::day))
            .bind(texts(|r| &r.id))
            .bind(numbers(|r| r.created_at))
            .bind(texts(|r| r.operation))
            .bind(texts(|r| &r.request_id))
            .bind(texts(|r| &r.key_id))
            .bind(maybe(|r| r.agent_id.as_ref()))
            .bind(maybe(|r| r.session_id.as_ref()))
            .bind(maybe(|r| r.turn_id.as_ref()))
            .bind(texts(|r| &r.asked))
            .bind(maybe(|r| r.provider.as_ref()))
            .bind(texts(|r| &r.model))
            .bind(texts(|r| r.status))
            .bind(rows.iter().map(|r| r.estimated).collect::<Vec<_>>())
            .bind(numbers(|r| r.input_tokens))
            .bind(numbers(|r| r.cached_input_tokens))
            .bind(numbers(|r| r.cache_write_tokens))
            .bind(numbers(|r| r.long_cache_write_tokens))
            .bind(numbers(|r| r.output_tokens))
            .bind(numbers(|r| r.reasoning_tokens))
            .bind(rows.iter().map(|r| r.cost).collect::<Vec<_>>())
            .bind(numbers(|r| r.latency_us))
            .bind(rows.iter().map(|r| r.first_us).collect::<Vec<_>>())
            .execute(conn)
            .await
            .map(|_| ())
        }
        Conn::Sqlite(conn) => write_to_sqlite(conn, rows).await,
    }
    .doing("book usage")
}

/// As many rows a statement as there are, by a ladder of sizes: each statement is two wake-ups between threads, and with
/// values in place SQLite takes a third of the time that it needs to take rows out of one JSON text.
async fn write_to_sqlite(conn: &mut SqliteConnection, mut rows: &[UsageRow]) -> sqlx::Result<()> {
    static STATEMENTS: LazyLock<[(usize, String); 4]> =
        LazyLock::new(|| [64, 16, 4, 1].map(|size| (size, insert(size))));
    while let Some((size, statement)) = STATEMENTS.iter().find(|(size, _)| *size <= rows.len()) {
        let (some, rest) = rows.split_at(*size);
        rows = rest;
        let mut query = sqlx::query(statement.as_str());
        for r in some {
            query = query
                .bind(&r.tenant)
                .bind(r.day())
                .bind(&r.id)
                .bind(r.created_at)
                .bind(r.operation)
                .bind(&r.request_id)
                .bind(&r.key_id)
                .bind(&r.agent_id)
                .bind(&r.session_id)
                .bind(&r.turn_id)
                .bind(&r.asked)
                .bind(&r.provider)
                .bind(&r.model)
                .bind(r.status)
                .bind(r.estimated)
                .bind(r.input_tokens)
                .bind(r.cached_input_tokens)
                .bind(r.cache_write_tokens)
                .bind(r.long_cache_write_tokens)
                .bind(r.output_tokens)
                .bind(r.reasoning_tokens)
                .bind(r.cost)
                .bind(r.latency_us)
                .bind(r.first_us);
        }
        query.execute(&mut *conn).await?;
    }
    Ok(())
}

/// Inserts so many rows, with the columns in the order they are bound.
fn insert(rows: usize) -> String {
    let row = format!("({})", vec!["?"; 24].join(", "));
    format!(
        "INSERT INTO usage (tenant, day, id, created_at, operation, request_id, key_id, agent_id, session_id, turn_id, asked, \
         provider, model, status, estimated, input_tokens, cached_input_tokens, cache_write_tokens, \
         long_cache_write_tokens, output_tokens, reasoning_tokens, cost, latency_us, first_us) \
         VALUES {} ON CONFLICT DO NOTHING",
        vec![row; rows].join(", ")
    )
}

/// The slices as they stand, in one statement; what a dead process left is not touched, since nobody else has its id.
async fn write_slices(tx: &mut Tx, slices: &[SliceRow], lease: Micros) -> Result<()> {
    let now = tx.now().await?;
    let until = now.saturating_add(lease);
    match tx.conn() {
        Conn::Postgres(conn) => sqlx::query(
            "INSERT INTO budget_slice (tenant, id, leased, used, opened_at, returned_at, lease_until) \
             SELECT *, $7 FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) \
             ON CONFLICT (tenant, id) DO UPDATE SET leased = excluded.leased, used = excluded.used, \
             lease_until = excluded.lease_until, returned_at = excluded.returned_at",
        )
        .bind(slices.iter().map(|s| s.tenant.clone()).collect::<Vec<_>>())
        .bind(slices.iter().map(|s| s.id.clone()).collect::<Vec<_>>())
        .bind(slices.iter().map(|s| s.leased).collect::<Vec<_>>())
        .bind(slices.iter().map(|s| s.used).collect::<Vec<_>>())
        .bind(slices.iter().map(|s| s.opened_at).collect::<Vec<_>>())
        .bind(slices.iter().map(|s| s.returned.then_some(now)).collect::<Vec<_>>())
        .bind(until)
        .execute(conn)
        .await
        .map(|_| ()),
        Conn::Sqlite(conn) => {
            let list = |s: &SliceRow| {
                (s.tenant.clone(), s.id.clone(), s.leased, s.used, s.opened_at, s.returned.then_some(now))
            };
            let lists: Vec<_> = slices.iter().map(list).collect();
            sqlx::query(
                "INSERT INTO budget_slice (tenant, id, leased, used, opened_at, returned_at, lease_until) \
                 SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, $2 \
                 FROM json_each($1) WHERE true ON CONFLICT (tenant, id) DO UPDATE SET leased = excluded.leased, \
                 used = excluded.used, lease_until = excluded.lease_until, returned_at = excluded.returned_at",
            )
            .bind(json::write(&lists)?)
            .bind(until)
            .execute(conn)
            .await
            .map(|_| ())
        }
    }
    .doing("book slices")
}
