//! An open transaction, the same to hold on both databases.
//!
//! Invariants: a `Tx` that is dropped has changed nothing; a connection whose state is unknown (its
//! begin or commit was cancelled half-way) is never handed out again as it is.

use std::sync::Arc;

use frontdesk_api::{Micros, Result};
use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection};

use crate::{error::Doing, lent::Lent, now, sqlite::WriteTurn};

/// Runs a query on whichever database `$tx` (a [`Tx`] or `&mut Tx`) is open on. The body is compiled
/// once for each driver, so its binds and rows are checked for both.
#[macro_export]
macro_rules! on {
    ($tx:expr, $conn:ident => $body:expr) => {
        match $tx.conn() {
            $crate::Conn::Postgres($conn) => $body,
            $crate::Conn::Sqlite($conn) => $body,
        }
    };
}

/// The connection inside a [`Tx`]; match on it only where the dialects truly differ.
pub enum Conn<'t> {
    Postgres(&'t mut PgConnection),
    Sqlite(&'t mut SqliteConnection),
}

/// A transaction. `commit` makes it true; dropped, it rolls back.
pub struct Tx {
    tenant: Arc<str>,
    open: Open,
}

pub(crate) enum Open {
    Postgres(Lent<Postgres>),
    SqliteRead(Lent<Sqlite>),
    SqliteWrite(WriteTurn),
}

impl Tx {
    pub(crate) fn new(tenant: &str, open: Open) -> Self {
        Self { tenant: tenant.into(), open }
    }

    /// The tenant whose door this came from; empty for the system door.
    #[must_use]
    pub fn tenant(&self) -> Arc<str> {
        Arc::clone(&self.tenant)
    }

    /// The connection, for [`on!`].
    pub fn conn(&mut self) -> Conn<'_> {
        match &mut self.open {
            Open::Postgres(lent) => Conn::Postgres(lent.conn()),
            Open::SqliteRead(lent) => Conn::Sqlite(lent.conn()),
            Open::SqliteWrite(turn) => Conn::Sqlite(turn.conn()),
        }
    }

    /// The database's clock in microseconds; two machines never agree on theirs.
    ///
    /// # Errors
    /// As any query.
    pub async fn now(&mut self) -> Result<Micros> {
        macro_rules! clock {
            ($now:literal) => {
                concat!("SELECT ", $now)
            };
        }
        match self.conn() {
            Conn::Postgres(conn) => sqlx::query_scalar(now::postgres!(clock)).fetch_one(conn).await,
            Conn::Sqlite(conn) => sqlx::query_scalar(now::sqlite!(clock)).fetch_one(conn).await,
        }
        .doing("read the database's clock")
    }

    /// Makes the changes true: once this returns they survive a crash.
    ///
    /// # Errors
    /// `Unavailable` when the connection broke meanwhile: the changes may or may not hold, read before
    /// trying again. `Conflict` when a constraint checked at commit is broken.
    pub async fn commit(mut self) -> Result<()> {
        match &mut self.open {
            // In a transaction that an error has doomed, Postgres answers COMMIT with a silent rollback;
            // the SELECT makes that an error, in the same round trip.
            Open::Postgres(lent) => lent.commit("SELECT 1; COMMIT").await,
            Open::SqliteRead(lent) => lent.commit("COMMIT").await,
            Open::SqliteWrite(turn) => turn.commit().await,
        }
        .doing("commit")
    }
}
