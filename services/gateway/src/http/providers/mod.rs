//! The configured providers, in the shape Llama Stack's and OGX's clients read.

pub mod list;
pub mod show;

use frontdesk_api::provider::Health;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::app::{App, Part, Provider};

/// A configured provider. `config` is always empty: it may hold secrets.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProviderInfo {
    /// `inference`, `tool_runtime`, `vector_io`, `safety` or `files`.
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
        if matches!(provider.part, Part::Inference(_)) {
            add_facts(app, &provider.id, &mut health);
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

/// Puts the list of models that is known into `facts.models`, and the provider's targets of routes into `facts.targets`.
fn add_facts(app: &App, provider: &str, health: &mut Health) {
    let all = app.router.targets();
    let own: Vec<_> = all.iter().filter(|target| target.provider == provider).collect();
    let list = app.router.list(provider);
    let facts = health.facts.get_or_insert_with(|| Value::Object(Map::new()));
    if let Some(facts) = facts.as_object_mut() {
        facts.extend(list.map(|list| ("models".to_owned(), json!(list))));
        if !own.is_empty() {
            facts.insert("targets".into(), json!(own));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::{Frames, TestGateway};

    #[tokio::test]
    async fn a_provider_shows_the_list_that_is_known_of_it() {
        let gateway = TestGateway::configured(
            "providers: { inference: [ { id: up, type: openai, config: { base_url: 'http://127.0.0.1:1/v1' } } ] }",
            Frames::whole(),
        )
        .await;
        let list = async || {
            let all = gateway.get("/v1/providers").await.json();
            let known = |provider: &&Value| provider["provider_id"] == "up";
            all["data"].as_array().and_then(|all| all.iter().find(known).cloned()).expect("up")["health"]["facts"]["models"].clone()
        };
        assert_eq!(list().await, json!({ "count": 0 }), "nobody has wanted to know");
        assert_eq!(gateway.get("/v1/models").await.status, 200);
        let known = list().await;
        assert!(known["count"] == 1 && known["age_s"].is_u64() && known.get("error").is_none(), "{known}");
    }
}
