//! How a store is opened. The gateway reads configuration and environment; this room takes values.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

/// What [`crate::Store::open`] needs. Start from [`Options::at`] and set what differs.
#[derive(Clone)]
pub struct Options {
    /// `postgres://user:password@host:port/database`; None: SQLite in `data_dir`.
    pub database_url: Option<String>,
    /// Folder for the SQLite file, the lock and the pepper; made with mode 0700 if missing.
    pub data_dir: PathBuf,
    /// Most connections at once: to the Postgres server, or readers of the SQLite file.
    pub max_connections: u32,
    /// How long a door waits for a connection (or for its turn to write) before `Unavailable`.
    pub acquire_timeout: Duration,
    /// Longest one statement of a door may run on Postgres.
    pub statement_timeout: Duration,
}

impl Options {
    /// SQLite in `data_dir`, 16 connections, 5 s to get one, 30 s a statement.
    #[must_use]
    pub fn at(data_dir: impl AsRef<Path>) -> Self {
        Self {
            database_url: None,
            data_dir: data_dir.as_ref().to_path_buf(),
            max_connections: 16,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
        }
    }
}

/// The address may carry a password, so it is not shown.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("database_url", &self.database_url.as_ref().map(|_| "(hidden)"))
            .field("data_dir", &self.data_dir)
            .field("max_connections", &self.max_connections)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .finish()
    }
}
