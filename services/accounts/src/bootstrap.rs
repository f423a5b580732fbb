//! The first key: without one nobody could make the others.
//!
//! Invariant: a key that an operator revoked does not come back because the environment still names it.

use frontdesk_api::{Error, Result, Scope};
use frontdesk_store::NewKey;

use crate::{Accounts, DEFAULT_TENANT, KeyRequest, key};

/// The row of the key that the operator gives; there is one.
const GIVEN: &str = "key_operator";
const SHORTEST: usize = 16;

impl Accounts {
    /// Sees to it that somebody can come in. With `given` (`FRONTDESK_ADMIN_KEY`) that text is the
    /// operator's admin key; another text than at the last start takes its place. Without it, and if no
    /// admin key is open in the operator's tenant, one is made and returned, to be shown once.
    ///
    /// # Errors
    /// `Invalid` when `given` is shorter than 16 or longer than 512 characters or is not plain visible
    /// ASCII; `Conflict` when it is the text of another key.
    pub async fn ensure_admin(&self, given: Option<&str>) -> Result<Option<String>> {
        if let Some(given) = given {
            self.take_operators_key(given).await?;
            return Ok(None);
        }
        let admin =
            |caller: &crate::Caller| caller.tenant == DEFAULT_TENANT && caller.principal.scopes.contains(&Scope::Admin);
        if self.0.table.any_open(self.0.clock.now(), admin) {
            return Ok(None);
        }
        let wanted = KeyRequest { name: "first admin key".into(), scopes: vec![Scope::Admin], expires_at: None };
        let made = self.create_key(DEFAULT_TENANT, wanted).await?;
        Ok(Some(made.secret))
    }

    async fn take_operators_key(&self, given: &str) -> Result<()> {
        if !(SHORTEST..=key::LONGEST).contains(&given.len()) || !given.bytes().all(|b| b.is_ascii_graphic()) {
            let message = "FRONTDESK_ADMIN_KEY must be 16 to 512 visible ASCII characters without spaces";
            return Err(Error::invalid("FRONTDESK_ADMIN_KEY", message));
        }
        let hash = self.0.pepper.hash(given);
        let cx = Self::cx(DEFAULT_TENANT);
        let door = self.0.store.tenant(&cx);
        if let Some(row) = door.find_key(GIVEN).await?
            && row.hash == hash.as_bytes()
        {
            if row.revoked_at.is_some() {
                tracing::warn!(
                    key = GIVEN,
                    "FRONTDESK_ADMIN_KEY names a key that was revoked: it stays closed, give another"
                );
            }
            return Ok(());
        }
        let row = NewKey {
            id: GIVEN.into(),
            name: "FRONTDESK_ADMIN_KEY".into(),
            hash: *hash.as_bytes(),
            scopes: vec![Scope::Admin],
            created_at: self.0.clock.now(),
            expires_at: None,
        };
        self.0.table.put(door.replace_key(&row).await?);
        Ok(())
    }
}
