//! The configured providers, in the shape Llama Stack's and OGX's clients read.

pub mod list;
pub mod load;
pub mod show;
pub mod unload;

use frontdesk_api::{Cx, Error, Result, provider::Health};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::tenants::operator;
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

/// A model of a provider by the provider's own name.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelNamed {
    /// Without the provider's id before it.
    #[schema(example = "qwen")]
    pub model: String,
}

/// A configured provider by its id.
///
/// # Errors
/// `NotFound` naming those that there are.
fn find<'a>(app: &'a App, id: &str) -> Result<&'a Provider> {
    app.providers.iter().find(|provider| provider.id == id).ok_or_else(|| {
        let known: Vec<&str> = app.providers.iter().map(|provider| provider.id.as_str()).collect();
        Error::not_found(format!("no provider '{id}' is configured; there are: {}", known.join(", ")))
    })
}

/// Loads a provider's model in this process, or lets it go, and tells how the provider is then. It is there for all tenants,
/// so only the operator may.
async fn set_loaded(app: &App, cx: &Cx, id: &str, model: &str, loaded: bool) -> Result<ProviderInfo> {
    operator(cx, "load models and let them go")?;
    let provider = find(app, id)?;
    match &provider.part {
        Part::Inference(inference) => inference.set_loaded(cx, model, loaded).await?,
        _ => return Err(Error::invalid("provider_id", format!("provider '{id}' has no models"))),
    }
    Ok(ProviderInfo::of(app, provider).await)
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
