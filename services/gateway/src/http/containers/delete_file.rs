//! `DELETE /v1/containers/{container_id}/files/{container_file_id}`.

use axum::{
    Json,
    extract::{Path, State},
};

use crate::{
    app::App,
    auth::Caller,
    http::{extract::NoQuery, files::Deleted},
    problem::Problem,
};

/// Delete a file of a container
///
/// Interpreters that are kept for the container end; the next run finds the files that are left.
#[utoipa::path(
    delete, path = "/v1/containers/{container_id}/files/{container_file_id}", tag = "responses",
    params(
        ("container_id" = String, Path, description = "The container's id"),
        ("container_file_id" = String, Path, description = "The file's id")
    ),
    responses((status = 200, body = Deleted))
)]
pub async fn delete_file(
    State(app): State<App>,
    Caller(cx): Caller,
    _: NoQuery,
    Path((id, file_id)): Path<(String, String)>,
) -> Result<Json<Deleted>, Problem> {
    app.agents.delete_container_file(&cx, &id, &file_id).await?;
    Ok(Json(Deleted { id: file_id, object: "container.file.deleted", deleted: true }))
}
