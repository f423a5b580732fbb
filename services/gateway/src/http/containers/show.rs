//! `GET /v1/containers/{container_id}`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::ContainerInfo;
use crate::{app::App, auth::Caller, http::extract::NoQuery, problem::Problem};

/// A container
#[utoipa::path(
    get, path = "/v1/containers/{container_id}", tag = "responses",
    params(("container_id" = String, Path, description = "The container's id")),
    responses((status = 200, body = ContainerInfo))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Json<ContainerInfo>, Problem> {
    Ok(Json(app.agents.container(&cx, &id).await?.into()))
}
