//! `GET /v1/files/{file_id}`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::FileInfo;
use crate::{app::App, auth::Caller, problem::Problem};

/// One file, without its bytes
#[utoipa::path(
    get, path = "/v1/files/{file_id}", tag = "memory",
    params(("file_id" = String, Path, description = "The file's id")),
    responses((status = 200, body = FileInfo))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<FileInfo>, Problem> {
    Ok(Json(app.knowledge.load_file(&cx, &id).await?.into()))
}
