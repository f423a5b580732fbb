//! `DELETE /v1/vector_stores/{vector_store_id}/files/{file_id}`.

use axum::{
    Json,
    extract::{Path, State},
};

use crate::{app::App, auth::Caller, http::files::Deleted, problem::Problem};

/// Take a file out of a vector store; the uploaded file stays
#[utoipa::path(
    delete, path = "/v1/vector_stores/{vector_store_id}/files/{file_id}", tag = "memory",
    params(("vector_store_id" = String, Path, description = "The store's id"), ("file_id" = String, Path, description = "The file's id")),
    responses((status = 200, body = Deleted))
)]
pub async fn remove_file(
    State(app): State<App>,
    Caller(cx): Caller,
    Path((store_id, file_id)): Path<(String, String)>,
) -> Result<Json<Deleted>, Problem> {
    app.knowledge.remove_store_file(&cx, &store_id, &file_id).await?;
    Ok(Json(Deleted { id: file_id, object: "vector_store.file.deleted", deleted: true }))
}
