//! `POST /v1/vector_stores/{vector_store_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::VectorStoreInfo;
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

/// What is left out stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub struct UpdateVectorStore {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
}

/// Rename a vector store, or change its metadata
#[utoipa::path(
    post, path = "/v1/vector_stores/{vector_store_id}", tag = "memory",
    params(("vector_store_id" = String, Path, description = "The store's id")),
    request_body = UpdateVectorStore, responses((status = 200, body = VectorStoreInfo))
)]
pub async fn update(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    extract::Json(body): extract::Json<UpdateVectorStore>,
) -> Result<Json<VectorStoreInfo>, Problem> {
    Ok(Json(app.knowledge.update_store(&cx, &id, body.name.as_deref(), body.metadata).await?.into()))
}
