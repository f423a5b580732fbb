//! Secrets that tools use without seeing them: kept, listed by name, deleted by an admin. No answer holds a value.

pub mod create;
pub mod delete;
pub mod list;
pub mod show;

use frontdesk_accounts::SecretInfo;
use frontdesk_api::clock::unix_seconds;
use serde::Serialize;

/// A secret without what it is. Times are unix seconds.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SecretShown {
    /// What tool groups name it by.
    #[schema(example = "crm_token")]
    pub name: String,
    #[schema(example = "secret")]
    pub object: &'static str,
    /// The hosts that it may be sent to.
    #[schema(example = json!(["api.crm.example"]))]
    pub hosts: Vec<String>,
    pub created_at: i64,
    /// When its value or its hosts were last put.
    pub updated_at: i64,
}

impl From<SecretInfo> for SecretShown {
    fn from(secret: SecretInfo) -> Self {
        Self {
            name: secret.name,
            object: "secret",
            hosts: secret.hosts.iter().map(ToString::to_string).collect(),
            created_at: unix_seconds(secret.created_at),
            updated_at: unix_seconds(secret.updated_at),
        }
    }
}
