//! Tenants: the shops of one installation. Only the operator's admins see that there are others.

pub mod create;
pub mod list;

use frontdesk_accounts::{DEFAULT_TENANT, StoredTenant};
use frontdesk_api::{Cx, Error, Kind, Result, clock::unix_seconds};
use serde::Serialize;

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TenantInfo {
    pub id: String,
    #[schema(example = "tenant")]
    pub object: &'static str,
    pub name: String,
    /// Unix seconds.
    pub created_at: i64,
}

impl From<StoredTenant> for TenantInfo {
    fn from(tenant: StoredTenant) -> Self {
        Self { id: tenant.id, object: "tenant", name: tenant.name, created_at: unix_seconds(tenant.created_at) }
    }
}

/// # Errors
/// `Forbidden` for everyone but the operator. `may`: what only that one may do.
pub(crate) fn operator(cx: &Cx, may: &str) -> Result<()> {
    if cx.tenant == DEFAULT_TENANT {
        return Ok(());
    }
    Err(Error::new(Kind::Forbidden, format!("only the operator's admin keys may {may}")))
}
