//! `GET /v1/containers/{container_id}/files/{container_file_id}/content`, whole or in part.

use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};

use crate::{
    app::App,
    auth::Caller,
    http::files::content::{Part, sent},
    problem::Problem,
};

/// The bytes of a file of a container
///
/// Always as an attachment of no particular type: a page that code wrote must never run here. With the header
/// `Range: bytes=…` a part of them.
#[utoipa::path(
    get, path = "/v1/containers/{container_id}/files/{container_file_id}/content", tag = "responses",
    params(
        ("container_id" = String, Path, description = "The container's id"),
        ("container_file_id" = String, Path, description = "The file's id"),
        ("range" = Option<String>, Header, description = "One range of bytes: `bytes=0-99`, `bytes=100-`, `bytes=-100`")
    ),
    responses(
        (status = 200, description = "The bytes as they were written", content_type = "application/octet-stream"),
        (status = 206, description = "The bytes that were asked for", content_type = "application/octet-stream"),
        (status = 416, description = "The range begins behind the last byte")
    )
)]
pub async fn content(
    State(app): State<App>,
    Caller(cx): Caller,
    Path((id, file_id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let file = app.agents.container_file(&cx, &id, &file_id).await?;
    let part = match Part::of(&headers, u64::try_from(file.bytes).unwrap_or_default()) {
        Part::Whole => None,
        Part::Range(part) => Some(part),
        Part::Behind(nothing) => return Ok(nothing.told(&file_id)),
    };
    let opened = app.knowledge.open_container_file(&cx, &file_id, part.clone()).await?;
    Ok(sent(opened, part.is_some()))
}
