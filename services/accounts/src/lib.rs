//! Tenants and API keys: who may come in, and as whom; and the end customers that tenants vouch for.
//!
//! Checking a key touches no database: every gateway keeps a table of key hashes in memory, changes it
//! with its own writes at once, and asks the database every few seconds what others changed. A key's text
//! is shown once and kept nowhere; rows hold a BLAKE3 hash keyed with the [`Pepper`], which lives outside
//! the database.
//!
//! Invariants: a revoked key opens nothing on the gateway that revoked it from the moment the call
//! returns, elsewhere within [`FRESH_EVERY`]; no key text appears in a log, an error or a `Debug`.

mod bootstrap;
mod customer_keys;
mod fresh;
mod key;
mod keys;
mod pepper;
mod seal;
mod secrets;
mod table;
mod tenants;
mod token;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use frontdesk_api::{Clock, Cx, Error, Ids, Kind, Micros, Principal, Result, Scope, Seal};
use frontdesk_store::{Dialect, Store};

pub use customer_keys::{CustomerKey, CustomerKeyRequest, MOST_LIVE, Material};
pub use fresh::FRESH_EVERY;
pub use frontdesk_store::{ApiKey, StoredTenant};
pub use keys::{CreatedKey, KeyRequest};
pub use pepper::Pepper;
pub use secrets::{MOST_SECRETS, SecretInfo};

/// The tenant of a fresh installation, and the operator's: its admins may manage every tenant.
pub const DEFAULT_TENANT: &str = "default";

/// A verified key: whose it is and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub tenant: String,
    pub principal: Principal,
}

impl Seal for Accounts {
    fn seal(&self, about: &[&str], plain: &[u8]) -> Result<Vec<u8>> {
        seal::seal(&self.0.pepper, about, plain)
    }

    fn open(&self, about: &[&str], sealed: &[u8]) -> Result<Vec<u8>> {
        seal::open(&self.0.pepper, about, sealed)
    }
}

/// Tenants and keys of this installation. Clones share one table.
#[derive(Clone)]
pub struct Accounts(Arc<Inner>);

struct Inner {
    store: Store,
    pepper: Pepper,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    table: table::Table,
    /// The newest change of a key that the table knows, by the database's clock.
    seen: Mutex<Micros>,
}

impl Accounts {
    /// Makes the default tenant if it is missing, checks that the pepper is the one this database's keys
    /// were hashed with, and loads the keys.
    ///
    /// # Errors
    /// `Invalid` (`wrong_pepper`) when it is another; else as the store.
    pub async fn new(store: Store, pepper: Pepper, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<Self> {
        let default = StoredTenant { id: DEFAULT_TENANT.into(), name: "Default".into(), created_at: clock.now() };
        store.system().ensure_tenant(&default).await?;
        let mark = pepper.mark();
        if store.system().settle("pepper_mark", &mark).await? != mark {
            let message = "the pepper is not the one this database's API keys were made with: \
                           put back the pepper that belongs to it (the file 'pepper' in the data folder), or give it to every gateway";
            return Err(Error::new(Kind::Invalid, message).with_code("wrong_pepper"));
        }
        let table = table::Table::default();
        let accounts = Self(Arc::new(Inner { store, pepper, clock, ids, table, seen: Mutex::new(0) }));
        accounts.refresh().await?;
        Ok(accounts)
    }

    /// Who presents this key. One hash and one look-up in memory; nothing is awaited.
    ///
    /// # Errors
    /// `Unauthenticated`, with the code `invalid_api_key`, `revoked_api_key` or `expired_api_key`.
    pub fn authenticate(&self, presented: &str) -> Result<Arc<Caller>> {
        // Nothing longer was ever a key; hashing it would be work done for a stranger.
        if presented.len() > key::LONGEST {
            return Err(refused("unknown API key", "invalid_api_key"));
        }
        let Some(entry) = self.0.table.find(&self.0.pepper.hash(presented)) else {
            return Err(refused(key::why_unknown(presented), "invalid_api_key"));
        };
        if entry.revoked {
            return Err(refused("this API key was revoked", "revoked_api_key"));
        }
        let now = self.0.clock.now();
        if entry.expires_at.is_some_and(|end| end <= now) {
            return Err(refused("this API key has expired", "expired_api_key"));
        }
        entry.used(now);
        Ok(Arc::clone(&entry.caller))
    }

    /// Whether `cx` may manage the keys of `tenant`: an admin of that tenant, or of the operator's.
    ///
    /// # Errors
    /// `Forbidden` without the admin scope; `NotFound` for someone else's tenant, whether it exists or not.
    pub fn may_manage(cx: &Cx, tenant: &str) -> Result<()> {
        cx.require(Scope::Admin)?;
        if cx.tenant == tenant || cx.tenant == DEFAULT_TENANT {
            return Ok(());
        }
        Err(unknown_tenant(tenant))
    }

    fn shared_database(&self) -> bool {
        self.0.store.dialect() == Dialect::Postgres
    }

    /// The platform acting on a tenant's rows.
    fn cx(tenant: &str) -> Cx {
        Cx::internal(tenant, "accounts")
    }
}

fn refused(why: &str, code: &str) -> Error {
    Error::new(Kind::Unauthenticated, why).with_code(code)
}

fn unknown_tenant(id: &str) -> Error {
    Error::not_found(format!("unknown tenant '{id}'")).with_code("tenant_not_found")
}

fn principal(key_id: &str, scopes: &[Scope]) -> Principal {
    Principal { key_id: key_id.into(), scopes: scopes.iter().copied().collect::<BTreeSet<_>>() }
}

/// 32 bytes that nobody can guess.
fn random() -> Result<[u8; 32]> {
    let mut bytes = [0u8; 32];
    let drawn = getrandom::fill(&mut bytes);
    drawn.map_err(|e| {
        Error::new(Kind::Internal, "the operating system gives no random bytes").with_source(e.to_string())
    })?;
    Ok(bytes)
}
