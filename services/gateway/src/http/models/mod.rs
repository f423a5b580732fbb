//! Models as one object that OpenAI's, Llama Stack's and OGX's clients all read.

pub mod list;
pub mod show;

use frontdesk_api::inference::{Model, ModelKind};
use serde::Serialize;
use serde_json::{Value, json};

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
        let metadata = model.description.map_or_else(|| json!({}), |text| json!({ "description": text }));
        let mut custom_metadata = json!({
            "model_type": model.kind,
            "provider_id": provider,
            "provider_resource_id": model.upstream_id,
        });
        if let (Some(all), Some(more)) = (custom_metadata.as_object_mut(), metadata.as_object()) {
            all.extend(more.clone());
        }
        Self {
            identifier: model.id.clone(),
            id: model.id,
            object: "model",
            created: model.created,
            owned_by: provider.clone(),
            provider_id: provider,
            provider_resource_id: model.upstream_id,
            model_type: model.kind,
            kind: "model",
            metadata,
            custom_metadata,
        }
    }
}
