//! The two doors to the rows. A tenant's rows are reached with the tenant in hand; the other door has to
//! be asked for by name.
//!
//! Invariant: a tenant door's transactions run under row-level security on Postgres, so a query that
//! forgot its `tenant = $1` finds nothing of anyone else.

use std::sync::Arc;

use frontdesk_api::Result;

use crate::{Db, Store, Tx};

/// The door to one tenant's rows.
#[derive(Clone)]
pub struct Tenant<'s> {
    store: &'s Store,
    id: Arc<str>,
}

impl<'s> Tenant<'s> {
    pub(crate) fn new(store: &'s Store, id: &str) -> Self {
        Self { store, id: id.into() }
    }

    /// The tenant's id, for binds.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    #[must_use]
    pub fn store(&self) -> &'s Store {
        self.store
    }

    /// A snapshot to read from; writing through it is an error.
    ///
    /// # Errors
    /// `Unavailable`: no connection within the acquire timeout.
    pub async fn read(&self) -> Result<Tx> {
        match self.store.db() {
            Db::Postgres(server) => server.begin_tenant(&self.id, "BEGIN READ ONLY").await,
            Db::Sqlite(file) => file.read(&self.id).await,
        }
    }

    /// To read with one statement: [`Tenant::read`] without a transaction around it where the statement is one by
    /// itself (SQLite; on Postgres the walls are the transaction's).
    ///
    /// # Errors
    /// As [`Tenant::read`].
    pub async fn glance(&self) -> Result<Tx> {
        match self.store.db() {
            Db::Postgres(_) => self.read().await,
            Db::Sqlite(file) => file.glance(&self.id).await,
        }
    }

    /// A transaction that may write. On SQLite it is the only one until it ends: be quick.
    ///
    /// # Errors
    /// As [`Tenant::read`].
    pub async fn write(&self) -> Result<Tx> {
        match self.store.db() {
            Db::Postgres(server) => server.begin_tenant(&self.id, "BEGIN").await,
            Db::Sqlite(file) => file.write(&self.id).await,
        }
    }
}

/// The door past the walls between tenants.
#[derive(Clone, Copy)]
pub struct System<'s> {
    store: &'s Store,
}

impl<'s> System<'s> {
    pub(crate) fn new(store: &'s Store) -> Self {
        Self { store }
    }

    #[must_use]
    pub fn store(&self) -> &'s Store {
        self.store
    }

    /// A snapshot to read from, over all tenants.
    ///
    /// # Errors
    /// As [`Tenant::read`].
    pub async fn read(&self) -> Result<Tx> {
        match self.store.db() {
            Db::Postgres(server) => server.begin_system("BEGIN READ ONLY").await,
            Db::Sqlite(file) => file.read("").await,
        }
    }

    /// A transaction that may write, over all tenants.
    ///
    /// # Errors
    /// As [`Tenant::read`].
    pub async fn write(&self) -> Result<Tx> {
        match self.store.db() {
            Db::Postgres(server) => server.begin_system("BEGIN").await,
            Db::Sqlite(file) => file.write("").await,
        }
    }
}
