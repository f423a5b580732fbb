//! A tenant's secrets: kept sealed under a name with the hosts they may go to, opened for tools, never shown.

use async_trait::async_trait;
use frontdesk_api::{Cx, Error, Kind, Micros, Result, Secrets, egress::HostRule, secret::Secret};
use frontdesk_store::secrets::StoredSecret;

use crate::{Accounts, seal};

/// How many secrets a tenant may have.
pub const MOST_SECRETS: i64 = 256;

/// Bytes of a secret. Shorter ones could not be struck out of an answer without striking out other words.
const VALUE: std::ops::RangeInclusive<usize> = 8..=4096;

/// Rules for hosts of one secret.
const MOST_HOSTS: usize = 32;

/// A secret as it is shown: without what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretInfo {
    pub name: String,
    pub hosts: Vec<HostRule>,
    pub created_at: Micros,
    pub updated_at: Micros,
}

impl From<StoredSecret> for SecretInfo {
    fn from(row: StoredSecret) -> Self {
        Self { name: row.name, hosts: row.hosts, created_at: row.created_at, updated_at: row.updated_at }
    }
}

impl Accounts {
    /// Keeps a secret, or puts another value and other hosts in its place.
    ///
    /// # Errors
    /// `Invalid` naming the field (never repeating the value); `Conflict` with the code `too_many_secrets`.
    pub async fn put_secret(&self, cx: &Cx, name: &str, value: &str, hosts: Vec<HostRule>) -> Result<SecretInfo> {
        check_name(name)?;
        let whole = value.trim() == value && value.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        if !VALUE.contains(&value.len()) || !whole {
            let message = format!("value has {} to {} visible ASCII characters", VALUE.start(), VALUE.end());
            return Err(Error::invalid("value", message));
        }
        if hosts.is_empty() || hosts.len() > MOST_HOSTS {
            return Err(Error::invalid("hosts", format!("hosts names 1 to {MOST_HOSTS} hosts that it may be sent to")));
        }
        let now = self.0.clock.now();
        let sealed = seal::seal(&self.0.pepper, &about(&cx.tenant, name, &listed(&hosts)), value.as_bytes())?;
        let row = StoredSecret { name: name.to_owned(), hosts, sealed, created_at: now, updated_at: now };
        self.0.store.tenant(cx).put_secret(&row, MOST_SECRETS).await?;
        self.show_secret(cx, name).await
    }

    /// # Errors
    /// `NotFound`.
    pub async fn show_secret(&self, cx: &Cx, name: &str) -> Result<SecretInfo> {
        let found = self.0.store.tenant(cx).find_secret(name).await?;
        found
            .map(SecretInfo::from)
            .ok_or_else(|| Error::not_found(format!("no secret is called '{name}'")).with_code("secret_not_found"))
    }

    /// All of the tenant's, by name.
    ///
    /// # Errors
    /// As the store.
    pub async fn list_secrets(&self, cx: &Cx) -> Result<Vec<SecretInfo>> {
        Ok(self.0.store.tenant(cx).list_secrets().await?.into_iter().map(SecretInfo::from).collect())
    }

    /// Tools that use it fail from now on.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_secret(&self, cx: &Cx, name: &str) -> Result<()> {
        self.0.store.tenant(cx).delete_secret(name).await
    }
}

#[async_trait]
impl Secrets for Accounts {
    async fn find(&self, cx: &Cx, name: &str) -> Result<Option<Secret>> {
        let Some(row) = self.0.store.tenant(cx).find_secret(name).await? else { return Ok(None) };
        let value = seal::open(&self.0.pepper, &about(&cx.tenant, &row.name, &listed(&row.hosts)), &row.sealed)?;
        let value =
            String::from_utf8(value).map_err(|_| Error::new(Kind::Internal, "a secret in the database is no text"))?;
        Ok(Some(Secret { value, hosts: row.hosts }))
    }
}

/// What a secret is bound to: who can write to the database cannot send it elsewhere.
fn about<'a>(tenant: &'a str, name: &'a str, hosts: &'a str) -> [&'a str; 4] {
    ["secret", tenant, name, hosts]
}

fn listed(hosts: &[HostRule]) -> String {
    hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if (1..=64).contains(&name.len()) && name.chars().all(plain) {
        return Ok(());
    }
    Err(Error::invalid("name", "name has 1 to 64 characters out of letters, digits and . _ -"))
}
