//! Making, listing and revoking keys. Who may is decided before ([`Accounts::may_manage`]).

use std::fmt;

use frontdesk_api::{Error, Micros, Page, PageRequest, Result, Scope};
use frontdesk_store::{ApiKey, NewKey};

use crate::{Accounts, key, tenants::checked_name};

/// A key to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRequest {
    /// For people: 1 to 200 characters.
    pub name: String,
    /// At least one.
    pub scopes: Vec<Scope>,
    /// None: it never expires.
    pub expires_at: Option<Micros>,
}

/// A key that was just made: the only moment its text is known.
#[derive(Clone)]
pub struct CreatedKey {
    pub key: ApiKey,
    /// The whole key; show it once.
    pub secret: String,
}

impl fmt::Debug for CreatedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedKey").field("key", &self.key).field("secret", &"(hidden)").finish()
    }
}

impl Accounts {
    /// Makes a key of `tenant`; it opens at once. Any number may be alive, so keys rotate without a gap.
    ///
    /// # Errors
    /// `Invalid` naming the field; `NotFound` for an unknown tenant.
    pub async fn create_key(&self, tenant: &str, wanted: KeyRequest) -> Result<CreatedKey> {
        let now = self.0.clock.now();
        let name = checked_name(&wanted.name)?.to_owned();
        if wanted.scopes.is_empty() {
            return Err(Error::invalid("scopes", "a key needs at least one scope: admin, write or use"));
        }
        if wanted.expires_at.is_some_and(|end| end <= now) {
            return Err(Error::invalid("expires_at", "the key would have expired already"));
        }
        self.load_tenant(tenant).await?;
        let id = self.0.ids.next("key");
        let secret = key::make(&id)?;
        let mut scopes = wanted.scopes;
        scopes.sort_unstable();
        scopes.dedup();
        let hash = *self.0.pepper.hash(&secret).as_bytes();
        let row = NewKey { id, name, hash, scopes, created_at: now, expires_at: wanted.expires_at };
        let written = self.0.store.tenant(&Self::cx(tenant)).add_key(&row).await?;
        self.0.table.put(written);
        Ok(CreatedKey { key: shown(row), secret })
    }

    /// The keys of `tenant`, newest first unless asked otherwise, without their text.
    ///
    /// # Errors
    /// As the store.
    pub async fn list_keys(&self, tenant: &str, page: &PageRequest) -> Result<Page<ApiKey>> {
        self.0.store.tenant(&Self::cx(tenant)).list_keys(page).await
    }

    /// From now on the key opens nothing here, and nowhere after [`crate::FRESH_EVERY`]. Revoking again
    /// changes nothing.
    ///
    /// # Errors
    /// `NotFound` when `tenant` has no such key.
    pub async fn revoke_key(&self, tenant: &str, id: &str) -> Result<()> {
        let revoked = self.0.store.tenant(&Self::cx(tenant)).revoke_key(id, self.0.clock.now()).await?;
        self.0.table.put(revoked);
        Ok(())
    }
}

fn shown(row: NewKey) -> ApiKey {
    ApiKey {
        id: row.id,
        name: row.name,
        scopes: row.scopes.into(),
        created_at: row.created_at,
        expires_at: row.expires_at,
        revoked_at: None,
        last_used_at: None,
    }
}
