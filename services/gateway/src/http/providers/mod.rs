//! The configured providers, in the shape Llama Stack's and OGX's clients read.

pub mod list;
pub mod show;

use frontdesk_api::provider::Health;
use serde::Serialize;
use serde_json::Value;

use crate::app::Provider;

/// A configured provider. `config` is always empty: it may hold secrets.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProviderInfo {
    /// `inference`, `tool_runtime`, `vector_io` or `safety`.
    pub api: &'static str,
    pub provider_id: String,
    /// As OGX names it (`remote::openai`).
    pub provider_type: String,
    #[schema(value_type = Object)]
    pub config: Value,
    pub health: Health,
}

impl ProviderInfo {
    /// Asks the provider how it is.
    pub async fn of(provider: &Provider) -> Self {
        Self {
            api: provider.api,
            provider_id: provider.id.clone(),
            provider_type: provider.ogx_type.to_owned(),
            config: Value::Object(serde_json::Map::new()),
            health: provider.health().await,
        }
    }
}
