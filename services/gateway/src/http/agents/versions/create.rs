//! `POST /v1/agents/{agent_id}/versions`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_api::agent::AgentSpec;

use super::VersionView;
use crate::{
    app::App,
    auth::Caller,
    http::{
        agents::document::{WritingQuery, whole},
        extract::{Query, Raw},
    },
    problem::Problem,
};

/// Write a version of an agent, as a draft
///
/// The body is a whole spec. It is live once it is published.
#[utoipa::path(
    post, path = "/v1/agents/{agent_id}/versions", tag = "agents",
    params(("agent_id" = String, Path, description = "The agent's id"), WritingQuery),
    request_body = AgentSpec,
    responses(
        (status = 200, body = VersionView),
        (status = 409, description = "Another version is the newest, or the name is taken")
    )
)]
pub async fn create(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    Query(query): Query<WritingQuery>,
    Raw(body): Raw,
) -> Result<Json<VersionView>, Problem> {
    let written = app.agents.write_version(&cx, &id, &whole(&body)?, &query.into()).await?;
    Ok(Json(VersionView::from(written)))
}
