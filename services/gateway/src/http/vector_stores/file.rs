//! `GET /v1/vector_stores/{vector_store_id}/files/{file_id}`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::VectorStoreFile;
use crate::{app::App, auth::Caller, problem::Problem};

/// One file of a vector store, and whether it could be read
#[utoipa::path(
    get, path = "/v1/vector_stores/{vector_store_id}/files/{file_id}", tag = "memory",
    params(("vector_store_id" = String, Path, description = "The store's id"), ("file_id" = String, Path, description = "The file's id")),
    responses((status = 200, body = VectorStoreFile))
)]
pub async fn file(
    State(app): State<App>,
    Caller(cx): Caller,
    Path((store_id, file_id)): Path<(String, String)>,
) -> Result<Json<VectorStoreFile>, Problem> {
    Ok(Json(app.knowledge.load_store_file(&cx, &store_id, &file_id).await?.into()))
}
