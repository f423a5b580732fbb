//! The configured providers, in the shape Llama Stack's and OGX's clients read.

pub mod list;
pub mod show;

use frontdesk_api::provider::Health;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::app::{App, Provider};

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
    /// Asks the provider how it is, and adds what routes know of its models.
    pub async fn of(app: &App, provider: &Provider) -> Self {
        let mut health = provider.health().await;
        if provider.inference.is_some() {
            add_targets(app, &provider.id, &mut health);
        }
        Self {
            api: provider.api,
            provider_id: provider.id.clone(),
            provider_type: provider.ogx_type.to_owned(),
            config: Value::Object(Map::new()),
            health,
        }
    }
}

/// Puts the provider's targets of routes into `facts.targets`; nothing where no route leads to it.
fn add_targets(app: &App, provider: &str, health: &mut Health) {
    let all = app.router.targets();
    let own: Vec<_> = all.iter().filter(|target| target.provider == provider).collect();
    if own.is_empty() {
        return;
    }
    let facts = health.facts.get_or_insert_with(|| Value::Object(Map::new()));
    if let Some(facts) = facts.as_object_mut() {
        facts.insert("targets".into(), json!(own));
    }
}
