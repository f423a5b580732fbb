//! A pooled connection with a transaction open on it.
//!
//! Invariant: it goes back to the pool only when its transaction is known to be over. Dropped while open,
//! it rolls back first; dropped while a `BEGIN` or `COMMIT` is in flight nobody knows its state, and it is
//! closed.

use sqlx::{Database, Executor, SqlSafeStr, pool::PoolConnection};
use tokio::runtime::Handle;

pub(crate) struct Lent<DB: Database>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    conn: Slot<DB>,
    state: State,
}

/// Empty only while `drop` runs.
type Slot<DB> = Option<PoolConnection<DB>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// A `BEGIN` or `COMMIT` is on its way.
    Unknown,
    Open,
    Over,
}

impl<DB: Database> Lent<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    /// Without a transaction: for one statement that only reads.
    pub(crate) fn bare(conn: PoolConnection<DB>) -> Self {
        Self { conn: Some(conn), state: State::Over }
    }

    /// Opens a transaction with `statement`.
    pub(crate) async fn begin(conn: PoolConnection<DB>, statement: impl SqlSafeStr) -> sqlx::Result<Self> {
        let mut lent = Self { conn: Some(conn), state: State::Unknown };
        lent.conn().execute(statement.into_sql_str()).await?;
        lent.state = State::Open;
        Ok(lent)
    }

    #[allow(clippy::expect_used)] // the slot is filled in `begin` and emptied by `drop` alone
    pub(crate) fn conn(&mut self) -> &mut DB::Connection {
        self.conn.as_mut().expect("a lent connection is there until it is dropped")
    }

    pub(crate) async fn commit(&mut self, statement: &'static str) -> sqlx::Result<()> {
        self.state = State::Unknown;
        let ended = self.conn().execute(statement).await;
        self.state = match &ended {
            Ok(_) => State::Over,
            // The server refused and said so: the transaction is still there to be rolled back.
            Err(sqlx::Error::Database(_)) => State::Open,
            Err(_) => State::Unknown,
        };
        ended.map(|_| ())
    }
}

impl<DB: Database> Drop for Lent<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    fn drop(&mut self) {
        let Some(mut conn) = self.conn.take() else { return };
        match (self.state, Handle::try_current()) {
            (State::Over, _) => {}
            (State::Open, Ok(runtime)) => {
                runtime.spawn(async move {
                    if conn.execute("ROLLBACK").await.is_err() {
                        conn.close_on_drop();
                    }
                });
            }
            (State::Open | State::Unknown, _) => conn.close_on_drop(),
        }
    }
}
