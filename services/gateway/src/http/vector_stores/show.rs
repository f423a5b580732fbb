//! `GET /v1/vector_stores/{vector_store_id}`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::VectorStoreInfo;
use crate::{app::App, auth::Caller, problem::Problem};

/// One vector store
#[utoipa::path(
    get, path = "/v1/vector_stores/{vector_store_id}", tag = "memory",
    params(("vector_store_id" = String, Path, description = "The store's id")),
    responses((status = 200, body = VectorStoreInfo))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<VectorStoreInfo>, Problem> {
    Ok(Json(app.knowledge.load_store(&cx, &id).await?.into()))
}
