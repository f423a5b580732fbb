//! `POST /v1/turns/{turn_id}/dismiss`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::list::Listed;
use crate::{app::App, auth::Caller, problem::Problem};

/// Set a turn that was given up aside
///
/// Its rows stay; it counts as one that failed.
#[utoipa::path(
    post, path = "/v1/turns/{turn_id}/dismiss", tag = "agents",
    params(("turn_id" = String, Path, description = "The turn's id")),
    responses((status = 200, body = Listed))
)]
pub async fn dismiss(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(turn_id): Path<String>,
) -> Result<Json<Listed>, Problem> {
    Ok(Json(app.agents.dismiss(&cx, &turn_id).await?.into()))
}
