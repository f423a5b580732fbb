//! API keys: made, listed, revoked by an admin. A key's text is in the answer to its making and nowhere else.

pub mod create;
pub mod list;
pub mod revoke;

use frontdesk_accounts::{Accounts, ApiKey};
use frontdesk_api::{Cx, Result, Scope, clock::unix_seconds};
use serde::{Deserialize, Serialize};

/// A key without its text. Times are unix seconds.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct KeyInfo {
    pub id: String,
    #[schema(example = "api_key")]
    pub object: &'static str,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub created_at: i64,
    /// null: never.
    pub expires_at: Option<i64>,
    /// null: it still opens.
    pub revoked_at: Option<i64>,
    /// To the minute or so.
    pub last_used_at: Option<i64>,
}

impl From<ApiKey> for KeyInfo {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            object: "api_key",
            name: key.name,
            scopes: key.scopes.0,
            created_at: unix_seconds(key.created_at),
            expires_at: key.expires_at.map(unix_seconds),
            revoked_at: key.revoked_at.map(unix_seconds),
            last_used_at: key.last_used_at.map(unix_seconds),
        }
    }
}

/// Whose keys are meant.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TenantQuery {
    /// Another tenant than the caller's own; only for the operator's admins.
    pub tenant: Option<String>,
}

/// The tenant whose keys are meant, once it is sure that the caller may.
///
/// # Errors
/// As [`Accounts::may_manage`].
fn tenant(cx: &Cx, named: Option<String>) -> Result<String> {
    let tenant = named.unwrap_or_else(|| cx.tenant.clone());
    Accounts::may_manage(cx, &tenant)?;
    Ok(tenant)
}
