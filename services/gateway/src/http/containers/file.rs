//! `GET /v1/containers/{container_id}/files/{container_file_id}`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::ContainerFileInfo;
use crate::{app::App, auth::Caller, http::extract::NoQuery, problem::Problem};

/// A file of a container, without its bytes
#[utoipa::path(
    get, path = "/v1/containers/{container_id}/files/{container_file_id}", tag = "responses",
    params(
        ("container_id" = String, Path, description = "The container's id"),
        ("container_file_id" = String, Path, description = "The file's id")
    ),
    responses((status = 200, body = ContainerFileInfo))
)]
pub async fn file(
    State(app): State<App>,
    Caller(cx): Caller,
    _: NoQuery,
    Path((id, file_id)): Path<(String, String)>,
) -> Result<Json<ContainerFileInfo>, Problem> {
    Ok(Json(app.agents.container_file(&cx, &id, &file_id).await?.into()))
}
