//! `GET /v1/files/{file_id}/content`.

use axum::{
    extract::{Path, State},
    http::header,
    response::IntoResponse,
};

use crate::{app::App, auth::Caller, problem::Problem};

/// A file's bytes
///
/// Always as an attachment of no particular type: a page that somebody uploaded must never run here.
#[utoipa::path(
    get, path = "/v1/files/{file_id}/content", tag = "memory",
    params(("file_id" = String, Path, description = "The file's id")),
    responses((status = 200, description = "The bytes as they were uploaded", content_type = "application/octet-stream"))
)]
pub async fn content(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let bytes = app.knowledge.load_content(&cx, &id).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, bytes))
}
