//! Foundation: the only room that speaks SQL.
//!
//! SQLite is the embedded default, Postgres is production; a query is written once and runs on both
//! ([`on!`]). Rows of a tenant are reached only through a door that carries the tenant:
//!
//! ```ignore
//! let tenant = store.tenant(&cx);
//! let mut tx = tenant.write().await?;
//! let (id, who) = ("agent_1", tx.tenant());
//! on!(tx, conn => sqlx::query("DELETE FROM agent WHERE tenant = $1 AND id = $2").bind(&*who).bind(id).execute(conn).await)
//!     .doing("delete an agent")?;
//! tx.commit().await?;
//! ```
//!
//! One file per aggregate: plain functions on [`Tenant`] or [`System`], and functions over `&mut Tx`
//! where several belong in one transaction. Times are microseconds UTC (`BIGINT`), ids are text, every
//! primary key begins with `tenant`.
//!
//! Invariants: nothing but SQL is awaited while a [`Tx`] is open; a write is true once `commit` returned;
//! on Postgres row-level security stands behind every query of a tenant door.

mod accounts;
pub mod agents;
pub mod approvals;
mod asked;
pub mod batch_lines;
pub mod blobs;
pub mod claims;
pub mod completions;
pub mod containers;
pub mod conversations;
pub mod customer_keys;
mod dispatch;
mod door;
mod error;
pub mod files;
mod folder;
pub mod handoffs;
pub mod idempotency;
pub mod jobs;
mod json;
pub mod knowledge;
mod lent;
mod migrate;
pub mod models;
mod now;
mod options;
pub mod paging;
pub mod passages;
mod postgres;
pub mod prompts;
pub mod questions;
pub mod readings;
pub mod secrets;
pub mod sessions;
pub mod sign_ins;
mod sqlite;
pub mod testing;
pub mod tools;
pub mod transcript;
pub mod turns;
mod tx;
pub mod usage;
pub mod versions;

use std::sync::Arc;

use frontdesk_api::{Cx, Micros, Result};

pub use accounts::{ApiKey, KeyChange, NewKey, StoredTenant};
pub use door::{System, Tenant};
pub use error::{Doing, is_out_of_reach};
pub use folder::Folder;
pub use options::Options;
pub use sqlx;
pub use tx::{Conn, Tx};

/// What the names of the folders of [`Store::scratch`] begin with.
const SCRATCH: &str = "scratch-";

/// The database of one Frontdesk installation. Clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    db: Db,
    /// Wakes workers where there is one process.
    local: Arc<dispatch::Local>,
    /// Held for the life of the store: one server per folder.
    folder: Held,
}

enum Held {
    Folder { lock: Folder },
    Temporary { _folder: tempfile::TempDir },
    Nothing,
}

enum Db {
    Postgres(postgres::Server),
    Sqlite(sqlite::File),
}

/// Which SQL a store speaks; for logs, `doctor` and the few places where dialects truly differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Postgres,
    Sqlite,
}

/// Connections to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    pub open: u64,
    /// Of these, not in use.
    pub idle: u64,
    /// The most that may be open.
    pub most: u64,
}

impl Connections {
    pub(crate) fn of<DB: sqlx::Database>(pool: &sqlx::Pool<DB>) -> Self {
        let most = pool.options().get_max_connections();
        Self { open: pool.size().into(), idle: pool.num_idle() as u64, most: most.into() }
    }
}

impl Store {
    /// Opens the database, brings its schema up to date and takes the folder for this process.
    /// Without `database_url` that is SQLite in `data_dir/frontdesk.db`, made if missing.
    ///
    /// # Errors
    /// `Conflict`: another process holds `data_dir`. `Unavailable`: the server cannot be reached, names
    /// host and database, never the password. `Invalid`: the address is no Postgres address, the schema
    /// is newer than this program knows, or a migration was changed after it ran.
    pub async fn open(options: &Options) -> Result<Self> {
        let folder = Folder::take(&options.data_dir)?;
        folder.clear(SCRATCH);
        let db = match &options.database_url {
            Some(url) => Db::Postgres(postgres::open(url, options).await?),
            None => Db::Sqlite(sqlite::open(&folder.path().join("frontdesk.db"), sqlite::Sync::Full, options).await?),
        };
        Ok(Self(Arc::new(Inner { db, local: Arc::default(), folder: Held::Folder { lock: folder } })))
    }

    /// A fresh SQLite database in a temporary folder, gone with the last clone. A real file, but not
    /// forced to disk at each commit.
    ///
    /// # Errors
    /// `Internal`: the folder cannot be made.
    pub async fn temporary() -> Result<Self> {
        Self::fresh(owners().tempdir()).await
    }

    /// As [`Store::temporary`], in this store's folder where it has one: for work on copies of rows that must come back
    /// into none of its tables. What a process that was killed left of one goes with the next [`Store::open`].
    ///
    /// # Errors
    /// `Internal`: the folder cannot be made.
    pub async fn scratch(&self) -> Result<Self> {
        let Held::Folder { lock } = &self.0.folder else { return Self::temporary().await };
        Self::fresh(owners().prefix(SCRATCH).tempdir_in(lock.path())).await
    }

    async fn fresh(made: std::io::Result<tempfile::TempDir>) -> Result<Self> {
        let folder = made.map_err(|e| frontdesk_api::Error::internal("make a temporary folder", e))?;
        let options = Options::at(folder.path());
        let file = sqlite::open(&folder.path().join("frontdesk.db"), sqlite::Sync::Off, &options).await?;
        let folder = Held::Temporary { _folder: folder };
        Ok(Self(Arc::new(Inner { db: Db::Sqlite(file), local: Arc::default(), folder })))
    }

    /// A Postgres database that is not tied to a folder; for tests.
    pub(crate) async fn postgres(url: &str, options: &Options) -> Result<Self> {
        let db = Db::Postgres(postgres::open(url, options).await?);
        Ok(Self(Arc::new(Inner { db, local: Arc::default(), folder: Held::Nothing })))
    }

    /// The door to one tenant's rows.
    #[must_use]
    pub fn tenant(&self, cx: &Cx) -> Tenant<'_> {
        Tenant::new(self, &cx.tenant)
    }

    /// The door past the walls between tenants: claims, sweeps, start-up. Say why where you use it.
    #[must_use]
    pub fn system(&self) -> System<'_> {
        System::new(self)
    }

    /// The database's clock in microseconds: what leases and deadlines are measured by.
    ///
    /// # Errors
    /// As any query.
    pub async fn now(&self, tx: &mut Tx) -> Result<Micros> {
        tx.now().await
    }

    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match &self.0.db {
            Db::Postgres(_) => Dialect::Postgres,
            Db::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// Where the rows are, for people: `SQLite /srv/data/frontdesk.db`, `Postgres shop at db.local:5432`.
    #[must_use]
    pub fn place(&self) -> &str {
        match &self.0.db {
            Db::Postgres(server) => server.place(),
            Db::Sqlite(file) => file.place(),
        }
    }

    /// The pool's connections now; on SQLite those that read.
    #[must_use]
    pub fn connections(&self) -> Connections {
        match &self.0.db {
            Db::Postgres(server) => server.connections(),
            Db::Sqlite(file) => file.connections(),
        }
    }

    /// Waits for open transactions and closes every connection; later doors answer `Unavailable`.
    pub async fn close(&self) {
        match &self.0.db {
            Db::Postgres(server) => server.close().await,
            Db::Sqlite(file) => file.close().await,
        }
    }

    fn db(&self) -> &Db {
        &self.0.db
    }
}

/// Temporary folders that are their owner's alone.
fn owners() -> tempfile::Builder<'static, 'static> {
    #[allow(unused_mut)] // elsewhere folders have no such permissions
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder
}
