//! Postgres: a pool, and row-level security behind every tenant door.
//!
//! A tenant's transaction runs as the role `frontdesk_app` with `frontdesk.tenant` set, both for that
//! transaction only. The policies in the migrations compare each row with that setting; where it is
//! missing there are no rows. Tables FORCE their policies, so an owner that is no superuser is held by
//! them too; the role holds superusers.
//!
//! Invariant: the address given, with its password, appears in no error and no log line.

use frontdesk_api::{Error, Result};
use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, PgPool, Postgres,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{
    Connections, Options,
    error::Doing,
    lent::Lent,
    migrate,
    tx::{Open, Tx},
};

/// The role of tenant transactions.
const ROLE: &str = "frontdesk_app";

/// How long a transaction may say nothing. Only SQL is awaited inside one, so a process that says nothing for so long
/// was stopped or is cut off, and others wait for the rows it has locked.
const IDLE: &str = "10s";

pub(crate) struct Server {
    place: String,
    pool: PgPool,
    /// `frontdesk_app`, or `none` where this login may not become it.
    role: &'static str,
    statement_timeout: String,
    connections: u32,
}

/// Connects, brings the schema up to date and sees to the role.
pub(crate) async fn open(url: &str, options: &Options) -> Result<Server> {
    let to = address(url)?;
    let database = to.get_database().unwrap_or(to.get_username());
    let place = format!("Postgres database '{database}' at {}:{}", to.get_host(), to.get_port());
    // A connection of its own: a pool would go on trying a server that refuses.
    let connect = tokio::time::timeout(options.acquire_timeout, PgConnection::connect_with(&to));
    let mut conn = match connect.await {
        Ok(Ok(conn)) => conn,
        Ok(Err(cause)) => return Err(unreachable(&place, &cause.to_string()).with_source(cause)),
        Err(_) => return Err(unreachable(&place, &format!("no answer within {:?}", options.acquire_timeout))),
    };
    migrate::postgres(&mut conn, &place).await?;
    let role = role(&mut conn).await?;
    conn.close().await.doing("close the connection that migrated")?;
    let pool = PgPoolOptions::new()
        .max_connections(options.max_connections)
        .acquire_timeout(options.acquire_timeout)
        .test_before_acquire(false)
        .connect_lazy_with(to);
    let statement_timeout = format!("{}ms", options.statement_timeout.as_millis());
    Ok(Server { place, pool, role, statement_timeout, connections: options.max_connections })
}

fn address(url: &str) -> Result<PgConnectOptions> {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    if !matches!(scheme, "postgres" | "postgresql") {
        let message = "the database address must begin with postgres://; leave it out to use SQLite in the data folder";
        return Err(Error::invalid("database_url", message));
    }
    url.parse::<PgConnectOptions>().map(|to| to.application_name("frontdesk")).map_err(|_| {
        // The parser's own words may quote the password.
        Error::invalid(
            "database_url",
            "the database address is not of the form postgres://user:password@host:port/database",
        )
    })
}

fn unreachable(place: &str, cause: &str) -> Error {
    Error::unavailable(format!("cannot reach the {place}: {cause}; check that it runs, exists and lets this user in"))
}

/// Makes the role where this login may, and says which role tenant transactions take.
async fn role(conn: &mut PgConnection) -> Result<&'static str> {
    let Err(refused) = make_role(conn).await else { return Ok(ROLE) };
    let reason = refused.to_string();
    let bypasses: bool =
        sqlx::query_scalar("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
            .fetch_one(conn)
            .await
            .doing("read this login's rights")?;
    if bypasses {
        tracing::warn!(
            reason,
            "row-level security does not hold: this login bypasses it and may not become the role frontdesk_app; \
             have an administrator make the role and grant it to this login"
        );
    } else {
        tracing::warn!(
            reason,
            "the role frontdesk_app is not open to this login; row-level security holds it by FORCE alone; \
             have an administrator make the role and grant it to this login"
        );
    }
    Ok("none")
}

async fn make_role(conn: &mut PgConnection) -> sqlx::Result<()> {
    let mut tx = conn.begin().await?;
    // One starter at a time: two that change the same catalog row would fail each other.
    sqlx::query("SELECT pg_advisory_xact_lock(7310589201)").execute(&mut *tx).await?;
    sqlx::raw_sql(include_str!("postgres_role.sql")).execute(&mut *tx).await?;
    tx.commit().await
}

impl Server {
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn connections(&self) -> Connections {
        Connections::of(&self.pool)
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// The transaction and its walls in one round trip.
    pub(crate) async fn begin_tenant(&self, tenant: &str, begin: &'static str) -> Result<Tx> {
        let (role, tenant_quoted) = (self.role, quoted(tenant));
        let lent = self
            .begin(&format!(
                "{begin}; SELECT set_config('role', '{role}', true), set_config('frontdesk.tenant', {tenant_quoted}, true), {}",
                self.times()
            ))
            .await?;
        Ok(Tx::new(tenant, Open::Postgres(lent)))
    }

    pub(crate) async fn begin_system(&self, begin: &'static str) -> Result<Tx> {
        let lent = self
            .begin(&format!("{begin}; SELECT set_config('frontdesk.door', 'system', true), {}", self.times()))
            .await?;
        Ok(Tx::new("", Open::Postgres(lent)))
    }

    /// How long a statement may take, and a transaction say nothing.
    fn times(&self) -> String {
        format!(
            "set_config('statement_timeout', '{}', true), set_config('idle_in_transaction_session_timeout', '{IDLE}', true)",
            self.statement_timeout
        )
    }

    /// Begins on a connection that lives. After a restart of the server every idle one is dead; nothing
    /// has been said on them yet, so the next may be tried.
    async fn begin(&self, statements: &str) -> Result<Lent<Postgres>> {
        let mut tries = self.connections;
        loop {
            let conn = self.pool.acquire().await.doing("reach the database")?;
            match Lent::begin(conn, AssertSqlSafe(statements)).await {
                Err(error) if tries > 0 && crate::error::is_broken(&error) => tries -= 1,
                begun => return begun.doing("begin a transaction"),
            }
        }
    }
}

/// A text as SQL has it, whatever stands in it. In the form with escapes, which means the same whatever
/// `standard_conforming_strings` is.
fn quoted(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_its_quotation() {
        for (text, sql) in [("t1", "E't1'"), ("a'b", "E'a''b'"), ("a\\'b", "E'a\\\\''b'"), ("\\", "E'\\\\'")] {
            assert_eq!(quoted(text), sql);
        }
    }
}
