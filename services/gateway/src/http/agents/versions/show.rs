//! `GET /v1/agents/{agent_id}/versions/{version}`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::{VersionView, number};
use crate::{app::App, auth::Caller, problem::Problem};

/// One version of an agent
#[utoipa::path(
    get, path = "/v1/agents/{agent_id}/versions/{version}", tag = "agents",
    params(
        ("agent_id" = String, Path, description = "The agent's id"),
        ("version" = i64, Path, description = "Its number, from 1")
    ),
    responses((status = 200, body = VersionView))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    Path((id, version)): Path<(String, String)>,
) -> Result<Json<VersionView>, Problem> {
    let version = app.agents.load_version(&cx, &id, number(&id, &version)?).await?;
    Ok(Json(VersionView::from(version)))
}
