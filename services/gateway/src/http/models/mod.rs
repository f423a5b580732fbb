//! Models as one object that OpenAI's, Llama Stack's and OGX's clients all read.

pub mod anthropic;
pub mod delete;
pub mod list;
pub mod register;
pub mod show;

use frontdesk_api::{
    Inference,
    inference::{Model, ModelKind},
};
use frontdesk_store::models::StoredModel;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// OpenAI's members first, then Llama Stack's (`identifier` …), then OGX's (`custom_metadata`).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ModelInfo {
    /// What to ask for: `provider/model`, or an alias.
    pub id: String,
    #[schema(example = "model")]
    pub object: &'static str,
    /// Unix seconds; 0 where the provider does not say.
    pub created: i64,
    pub owned_by: String,
    pub identifier: String,
    pub provider_id: String,
    pub provider_resource_id: String,
    /// `llm`, `embedding` or `rerank`.
    pub model_type: ModelKind,
    /// Tokens of prompt and answer together, where that is known by now; of a route what it says, else the smallest of its
    /// targets. Of OpenAI's own models it can be fewer than they take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<usize>,
    #[serde(rename = "type")]
    #[schema(example = "model")]
    pub kind: &'static str,
    #[schema(value_type = Object)]
    pub metadata: Value,
    #[schema(value_type = Object)]
    pub custom_metadata: Value,
}

impl From<Model> for ModelInfo {
    fn from(model: Model) -> Self {
        // An alias belongs to the house.
        let provider = if model.provider.is_empty() { "frontdesk".to_owned() } else { model.provider };
        let metadata = model.description.map(|text| ("description".to_owned(), text.into())).into_iter().collect();
        Self::new(model.id, provider, model.upstream_id, model.kind, model.created, metadata)
    }
}

impl From<StoredModel> for ModelInfo {
    fn from(model: StoredModel) -> Self {
        let created = model.created_at / 1_000_000;
        Self::new(model.id, model.provider_id, model.upstream_id, model.kind, created, model.metadata)
    }
}

impl ModelInfo {
    /// With the window that `models` know of it; one that a tenant registered has that of the model which it leads to.
    #[must_use]
    pub fn with_window(self, models: &dyn Inference) -> Self {
        let leads_to = || models.context_window(&format!("{}/{}", self.provider_id, self.provider_resource_id));
        Self { max_model_len: models.context_window(&self.id).or_else(leads_to), ..self }
    }

    fn new(
        id: String,
        provider: String,
        upstream_id: String,
        kind: ModelKind,
        created: i64,
        metadata: Map<String, Value>,
    ) -> Self {
        let mut custom_metadata = json!({
            "model_type": kind,
            "provider_id": provider,
            "provider_resource_id": upstream_id,
        });
        for (name, value) in &metadata {
            // What the house says of a model stands before what its tenant noted.
            if custom_metadata.get(name).is_none() {
                custom_metadata[name] = value.clone();
            }
        }
        Self {
            identifier: id.clone(),
            id,
            object: "model",
            created,
            owned_by: provider.clone(),
            provider_id: provider,
            provider_resource_id: upstream_id,
            model_type: kind,
            max_model_len: None,
            kind: "model",
            metadata: Value::Object(metadata),
            custom_metadata,
        }
    }
}
