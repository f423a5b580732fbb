//! SQLite: one file, many readers, one writer.
//!
//! Writers stand in a fair queue for the single write connection and begin with `BEGIN IMMEDIATE`, so a
//! transaction never fails half-way because another one wrote first. Readers see the last commit (WAL)
//! and never wait for the writer.
//!
//! Invariant: an acknowledged commit is on the disk (`synchronous=FULL`).

use std::{path::Path, sync::Arc, time::Duration};

use frontdesk_api::{Error, Result};
use sqlx::{
    Connection as _, Executor as _, Sqlite, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard},
};

use crate::{
    Connections, Options,
    error::Doing,
    lent::Lent,
    migrate,
    tx::{Open, Tx},
};

/// An open database file.
pub(crate) struct File {
    place: String,
    readers: SqlitePool,
    writer: Arc<Mutex<Writer>>,
    patience: Duration,
}

struct Writer {
    /// None once the store is closed.
    conn: Option<SqliteConnection>,
    /// A transaction was begun and its end has not been seen.
    dirty: bool,
}

/// When a commit counts as done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// When it is on the disk.
    Full,
    /// When the operating system has it; for tests.
    Off,
}

/// Opens or makes the file and brings its schema up to date.
pub(crate) async fn open(path: &Path, sync: Sync, options: &Options) -> Result<File> {
    let synchronous = if sync == Sync::Full { SqliteSynchronous::Full } else { SqliteSynchronous::Off };
    let place = format!("SQLite {}", path.display());
    let common = SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        // A turn that goes takes along those it asked, and they theirs.
        .pragma("recursive_triggers", "ON")
        .busy_timeout(Duration::from_secs(5))
        .synchronous(synchronous);
    let writing = common.clone().create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
    let mut conn = SqliteConnection::connect_with(&writing).await.map_err(|e| unusable(path, e))?;
    migrate::sqlite(&mut conn, &place).await?;
    // Reading connections open when first needed and stay; they cannot write.
    let readers = SqlitePoolOptions::new()
        .max_connections(options.max_connections)
        .acquire_timeout(options.acquire_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_lazy_with(common.pragma("query_only", "ON"));
    let writer = Arc::new(Mutex::new(Writer { conn: Some(conn), dirty: false }));
    Ok(File { place, readers, writer, patience: options.acquire_timeout })
}

fn unusable(path: &Path, cause: sqlx::Error) -> Error {
    let message = format!("cannot open the database {}: {cause}", path.display());
    Error::unavailable(message).with_source(cause)
}

impl File {
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn connections(&self) -> Connections {
        Connections::of(&self.readers)
    }

    pub(crate) async fn read(&self, tenant: &str) -> Result<Tx> {
        let conn = self.readers.acquire().await.doing("begin to read")?;
        let lent: Lent<Sqlite> = Lent::begin(conn, "BEGIN").await.doing("begin to read")?;
        Ok(Tx::new(tenant, Open::SqliteRead(lent)))
    }

    /// To read with one statement, which sees the last commit.
    pub(crate) async fn glance(&self, tenant: &str) -> Result<Tx> {
        let conn = self.readers.acquire().await.doing("begin to read")?;
        Ok(Tx::new(tenant, Open::SqliteRead(Lent::bare(conn))))
    }

    pub(crate) async fn write(&self, tenant: &str) -> Result<Tx> {
        let queue = Arc::clone(&self.writer).lock_owned();
        let Ok(guard) = tokio::time::timeout(self.patience, queue).await else {
            let message = "could not begin to write: too many writers are waiting for the database";
            return Err(Error::unavailable(message).with_retry_after(Duration::from_secs(1)));
        };
        let mut turn = WriteTurn { guard: Some(guard) };
        turn.begin().await.doing("begin to write")?;
        Ok(Tx::new(tenant, Open::SqliteWrite(turn)))
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
        let conn = self.writer.lock().await.conn.take();
        if let Some(conn) = conn
            && let Err(error) = conn.close().await
        {
            tracing::warn!(%error, "closing the database");
        }
    }
}

/// The one writer's turn, from `BEGIN IMMEDIATE` to its end.
pub(crate) struct WriteTurn {
    /// None only while `drop` runs.
    guard: Option<OwnedMutexGuard<Writer>>,
}

impl WriteTurn {
    async fn begin(&mut self) -> sqlx::Result<()> {
        let writer = self.writer();
        let Some(conn) = writer.conn.as_mut() else { return Err(sqlx::Error::PoolClosed) };
        if writer.dirty {
            roll_back(conn).await;
        }
        writer.dirty = true;
        conn.execute("BEGIN IMMEDIATE").await?;
        Ok(())
    }

    pub(crate) async fn commit(&mut self) -> sqlx::Result<()> {
        self.conn().execute("COMMIT").await?;
        self.writer().dirty = false;
        Ok(())
    }

    #[allow(clippy::expect_used)] // `begin` refused a closed writer and `close` waits for this turn's end
    pub(crate) fn conn(&mut self) -> &mut SqliteConnection {
        self.writer().conn.as_mut().expect("a writer in its turn has a connection")
    }

    #[allow(clippy::expect_used)] // filled at birth, emptied by `drop` alone
    fn writer(&mut self) -> &mut Writer {
        self.guard.as_mut().expect("a turn holds the writer until it is dropped")
    }
}

impl Drop for WriteTurn {
    /// Rolls back at once where a runtime runs; else the next turn does it first.
    fn drop(&mut self) {
        let Some(mut guard) = self.guard.take() else { return };
        let Ok(runtime) = Handle::try_current() else { return };
        if !guard.dirty {
            return;
        }
        runtime.spawn(async move {
            if let Some(conn) = guard.conn.as_mut() {
                roll_back(conn).await;
                guard.dirty = false;
            }
        });
    }
}

/// The error of a rollback is that nothing was open (a cancelled `BEGIN`, a `COMMIT` that did happen).
async fn roll_back(conn: &mut SqliteConnection) {
    if let Err(error) = conn.execute("ROLLBACK").await {
        tracing::debug!(%error, "rolling back");
    }
}
