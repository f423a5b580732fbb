//! `DELETE /v1/files/{file_id}`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::Deleted;
use crate::{app::App, auth::Caller, problem::Problem};

/// Delete a file, also from the vector stores that have it
#[utoipa::path(
    delete, path = "/v1/files/{file_id}", tag = "memory",
    params(("file_id" = String, Path, description = "The file's id")),
    responses((status = 200, body = Deleted))
)]
pub async fn delete(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<Deleted>, Problem> {
    app.knowledge.delete_file(&cx, &id).await?;
    Ok(Json(Deleted { id, object: "file", deleted: true }))
}
