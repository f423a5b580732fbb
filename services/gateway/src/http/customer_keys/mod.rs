//! Keys by which a tenant vouches for its end customers: added, listed, revoked by an admin.
//!
//! A secret is in the answer that drew it and nowhere else. What tokens by these keys open is said in docs/identity.md.

pub mod create;
pub mod list;
pub mod revoke;

use frontdesk_accounts::CustomerKey;
use frontdesk_api::{clock::unix_seconds, customer::Algorithm};
use serde::Serialize;

/// A key without what it is made of. Times are unix seconds.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CustomerKeyInfo {
    pub id: String,
    #[schema(example = "customer_key")]
    pub object: &'static str,
    /// What the header of a token calls it.
    pub kid: String,
    pub algorithm: Algorithm,
    /// What `aud` of a token must be or hold.
    pub audience: String,
    /// What `iss` must be; null: it is not looked at.
    pub issuer: Option<String>,
    pub created_at: i64,
    /// null: its tokens are good.
    pub revoked_at: Option<i64>,
}

impl From<CustomerKey> for CustomerKeyInfo {
    fn from(key: CustomerKey) -> Self {
        Self {
            id: key.id,
            object: "customer_key",
            kid: key.kid,
            algorithm: key.algorithm,
            audience: key.audience,
            issuer: key.issuer,
            created_at: unix_seconds(key.created_at),
            revoked_at: key.revoked_at.map(unix_seconds),
        }
    }
}
