//! Tenants and API keys as rows. What a key means is decided in services/accounts.
//!
//! Invariant: `changed_at` is the database's clock at every change that decides whether a key opens
//! anything, so every gateway learns of it by asking what changed; for one key it only ever grows.

use frontdesk_api::{Micros, Order, Page, PageRequest, Result, Scope};
use sqlx::types::Json;

use crate::{Doing as _, System, Tenant, Tx, on, paging};

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredTenant {
    pub id: String,
    /// For people.
    pub name: String,
    pub created_at: Micros,
}

/// A key as people see it in a list; the secret and its hash are not here.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ApiKey {
    pub id: String,
    /// For people.
    pub name: String,
    pub scopes: Json<Vec<Scope>>,
    pub created_at: Micros,
    /// None: never.
    pub expires_at: Option<Micros>,
    /// None: it still opens.
    pub revoked_at: Option<Micros>,
    /// To the minute or so; None: not yet.
    pub last_used_at: Option<Micros>,
}

/// A key to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    pub id: String,
    pub name: String,
    pub hash: [u8; 32],
    pub scopes: Vec<Scope>,
    pub created_at: Micros,
    pub expires_at: Option<Micros>,
}

/// What a gateway needs to know of a key to check it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct KeyChange {
    pub tenant: String,
    pub id: String,
    pub hash: Vec<u8>,
    pub scopes: Json<Vec<Scope>>,
    pub expires_at: Option<Micros>,
    pub revoked_at: Option<Micros>,
    pub last_used_at: Option<Micros>,
    pub changed_at: Micros,
}

impl System<'_> {
    /// # Errors
    /// `Conflict` when the id is taken.
    pub async fn add_tenant(&self, tenant: &StoredTenant) -> Result<()> {
        let mut tx = self.write().await?;
        on!(tx, conn => sqlx::query("INSERT INTO tenant (id, name, created_at) VALUES ($1, $2, $3)")
            .bind(&tenant.id).bind(&tenant.name).bind(tenant.created_at).execute(conn).await.map(|_| ()))
        .doing(&format!("create the tenant '{}'", tenant.id))?;
        tx.commit().await
    }

    /// Makes the tenant if it is missing; true when it was.
    ///
    /// # Errors
    /// As any query.
    pub async fn ensure_tenant(&self, tenant: &StoredTenant) -> Result<bool> {
        let mut tx = self.write().await?;
        let made = on!(tx, conn => sqlx::query("INSERT INTO tenant (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(&tenant.id).bind(&tenant.name).bind(tenant.created_at).execute(conn).await.map(|done| done.rows_affected()))
        .doing(&format!("see to the tenant '{}'", tenant.id))?;
        tx.commit().await?;
        Ok(made == 1)
    }

    /// # Errors
    /// As any query.
    pub async fn find_tenant(&self, id: &str) -> Result<Option<StoredTenant>> {
        let mut tx = self.read().await?;
        on!(tx, conn => sqlx::query_as("SELECT id, name, created_at FROM tenant WHERE id = $1").bind(id).fetch_optional(conn).await)
            .doing("look up a tenant")
    }

    /// # Errors
    /// As any query.
    pub async fn list_tenants(&self, page: &PageRequest) -> Result<Page<StoredTenant>> {
        let sql = match page.order {
            Order::Asc => "SELECT id, name, created_at FROM tenant WHERE id > $1 ORDER BY id LIMIT $2",
            Order::Desc => "SELECT id, name, created_at FROM tenant WHERE id < $1 ORDER BY id DESC LIMIT $2",
        };
        let mut tx = self.read().await?;
        let rows = on!(tx, conn => sqlx::query_as(sql).bind(paging::cursor(page)).bind(paging::fetch(page)).fetch_all(conn).await)
            .doing("list tenants")?;
        Ok(Page::of(rows, page.limit))
    }

    /// Every key, of every tenant, that changed at `since` or later; revoked ones too.
    ///
    /// # Errors
    /// As any query.
    pub async fn keys_changed(&self, since: Micros) -> Result<Vec<KeyChange>> {
        let mut tx = self.read().await?;
        on!(tx, conn => sqlx::query_as("SELECT tenant, id, hash, scopes, expires_at, revoked_at, last_used_at, changed_at \
             FROM api_key WHERE changed_at >= $1 ORDER BY changed_at")
            .bind(since).fetch_all(conn).await)
        .doing("load API keys")
    }

    /// Notes when keys (tenant, id) were last used; an earlier time never replaces a later one.
    ///
    /// # Errors
    /// As any query.
    pub async fn keys_used(&self, uses: &[(String, String, Micros)]) -> Result<()> {
        let mut tx = self.write().await?;
        for (tenant, id, at) in uses {
            on!(tx, conn => sqlx::query("UPDATE api_key SET last_used_at = $3 WHERE tenant = $1 AND id = $2 AND coalesce(last_used_at, 0) < $3")
                .bind(tenant).bind(id).bind(at).execute(conn).await.map(|_| ()))
            .doing("note when API keys were used")?;
        }
        tx.commit().await
    }

    /// The value kept under `name` for the whole installation; `value` becomes it when there was none.
    ///
    /// # Errors
    /// As any query.
    pub async fn settle(&self, name: &str, value: &str) -> Result<String> {
        let mut tx = self.write().await?;
        // The update changes nothing; it makes the row come back.
        let kept = on!(tx, conn => sqlx::query_scalar("INSERT INTO installation (name, value) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING value")
            .bind(name).bind(value).fetch_one(conn).await)
        .doing(&format!("settle '{name}' for this installation"))?;
        tx.commit().await?;
        Ok(kept)
    }
}

impl Tenant<'_> {
    /// Adds a key.
    ///
    /// # Errors
    /// `Conflict` when the id or the hash is taken, or the tenant does not exist.
    pub async fn add_key(&self, key: &NewKey) -> Result<KeyChange> {
        let mut tx = self.write().await?;
        let written = write_key(&mut tx, key, None).await?;
        tx.commit().await?;
        Ok(written)
    }

    /// # Errors
    /// As any query.
    pub async fn find_key(&self, id: &str) -> Result<Option<KeyChange>> {
        let mut tx = self.read().await?;
        on!(tx, conn => sqlx::query_as("SELECT tenant, id, hash, scopes, expires_at, revoked_at, last_used_at, changed_at \
             FROM api_key WHERE tenant = $1 AND id = $2")
            .bind(self.id()).bind(id).fetch_optional(conn).await)
        .doing("look up an API key")
    }

    /// Newest first unless asked otherwise; revoked and expired ones too.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_keys(&self, page: &PageRequest) -> Result<Page<ApiKey>> {
        let sql = match page.order {
            Order::Asc => {
                "SELECT id, name, scopes, created_at, expires_at, revoked_at, last_used_at FROM api_key \
                 WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3"
            }
            Order::Desc => {
                "SELECT id, name, scopes, created_at, expires_at, revoked_at, last_used_at FROM api_key \
                 WHERE tenant = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
            }
        };
        let mut tx = self.read().await?;
        let rows = on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(paging::cursor(page)).bind(paging::fetch(page)).fetch_all(conn).await)
            .doing("list API keys")?;
        Ok(Page::of(rows, page.limit))
    }

    /// Revokes a key; one that is revoked already stays as it was.
    ///
    /// # Errors
    /// `NotFound` when this tenant has no such key.
    pub async fn revoke_key(&self, id: &str, at: Micros) -> Result<KeyChange> {
        let mut tx = self.write().await?;
        let now = tx.now().await?;
        let revoked = on!(tx, conn => sqlx::query_as("UPDATE api_key SET revoked_at = coalesce(revoked_at, $3), \
             changed_at = CASE WHEN changed_at < $4 THEN $4 ELSE changed_at + 1 END \
             WHERE tenant = $1 AND id = $2 \
             RETURNING tenant, id, hash, scopes, expires_at, revoked_at, last_used_at, changed_at")
            .bind(self.id()).bind(id).bind(at).bind(now).fetch_one(conn).await)
        .doing(&format!("revoke the API key '{id}'"))?;
        tx.commit().await?;
        Ok(revoked)
    }

    /// Puts `key` in the place of the one with its id, if there is one; the new one is not revoked.
    ///
    /// # Errors
    /// `Conflict` when another key has this hash.
    pub async fn replace_key(&self, key: &NewKey) -> Result<KeyChange> {
        let mut tx = self.write().await?;
        let former: Option<Micros> = on!(tx, conn => sqlx::query_scalar("DELETE FROM api_key WHERE tenant = $1 AND id = $2 RETURNING changed_at")
            .bind(self.id()).bind(&key.id).fetch_optional(conn).await)
        .doing("replace an API key")?;
        let written = write_key(&mut tx, key, former).await?;
        tx.commit().await?;
        Ok(written)
    }
}

/// `former`: when the key that this one replaces last changed.
async fn write_key(tx: &mut Tx, key: &NewKey, former: Option<Micros>) -> Result<KeyChange> {
    let tenant = tx.tenant();
    let now = tx.now().await?.max(former.map_or(0, |former| former + 1));
    on!(tx, conn => sqlx::query_as("INSERT INTO api_key (tenant, id, name, hash, scopes, created_at, expires_at, changed_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         RETURNING tenant, id, hash, scopes, expires_at, revoked_at, last_used_at, changed_at")
        .bind(&*tenant).bind(&key.id).bind(&key.name).bind(&key.hash[..]).bind(Json(&key.scopes))
        .bind(key.created_at).bind(key.expires_at).bind(now).fetch_one(conn).await)
    .doing(&format!("create the API key '{}'", key.name))
}
