//! `GET /v1/containers/{container_id}/files`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::ContainerFileInfo;
use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{List, PageQuery},
    },
    problem::Problem,
};

/// The files of a container
///
/// A file that was changed stands here once for each time, under an id of its own: the newest is how it is now.
#[utoipa::path(
    get, path = "/v1/containers/{container_id}/files", tag = "responses",
    params(("container_id" = String, Path, description = "The container's id"), PageQuery),
    responses((status = 200, body = List<ContainerFileInfo>))
)]
pub async fn files(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<ContainerFileInfo>>, Problem> {
    let files = app.agents.container_files(&cx, &id, &page.request()?).await?;
    Ok(Json(List::of(files, ContainerFileInfo::from, |file| &file.id)))
}
