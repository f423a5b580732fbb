//! Tenants: each is a shop of its own, walled off from the others.

use frontdesk_api::{Error, Page, PageRequest, Result};
use frontdesk_store::StoredTenant;

use crate::{Accounts, unknown_tenant};

impl Accounts {
    /// Makes a tenant. `id` is for addresses and logs (a to z, digits, `-` and `_`, at most 63, letter or
    /// digit first); None: one is made. `name` is for people, 1 to 200 characters.
    ///
    /// # Errors
    /// `Conflict` when the id is taken; `Invalid` naming the field.
    pub async fn create_tenant(&self, id: Option<&str>, name: &str) -> Result<StoredTenant> {
        let id = match id {
            Some(id) => checked_id(id)?.to_owned(),
            None => self.0.ids.next("ten"),
        };
        let name = checked_name(name)?.to_owned();
        let tenant = StoredTenant { id, name, created_at: self.0.clock.now() };
        self.0.store.system().add_tenant(&tenant).await?;
        Ok(tenant)
    }

    /// # Errors
    /// `NotFound`.
    pub async fn load_tenant(&self, id: &str) -> Result<StoredTenant> {
        self.0.store.system().find_tenant(id).await?.ok_or_else(|| unknown_tenant(id))
    }

    /// All tenants; for the operator.
    ///
    /// # Errors
    /// As the store.
    pub async fn list_tenants(&self, page: &PageRequest) -> Result<Page<StoredTenant>> {
        self.0.store.system().list_tenants(page).await
    }
}

fn checked_id(id: &str) -> Result<&str> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let first = id.bytes().next().is_some_and(plain);
    if first && id.len() <= 63 && id.bytes().all(|b| plain(b) || b == b'-' || b == b'_') {
        return Ok(id);
    }
    let message = "a tenant's id has 1 to 63 characters of a-z, 0-9, '-' and '_', and begins with a letter or digit";
    Err(Error::invalid("id", message))
}

/// A name for people: one line of 1 to 200 characters.
pub(crate) fn checked_name(name: &str) -> Result<&str> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 200 || name.chars().any(char::is_control) {
        return Err(Error::invalid("name", "a name has 1 to 200 characters on one line"));
    }
    Ok(name)
}
