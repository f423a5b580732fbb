//! `PATCH /v1/agents/{agent_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_agents::Writing;
use frontdesk_api::agent::AgentSpec;

use super::{
    document::{WritingQuery, patched},
    versions::VersionView,
};
use crate::{
    app::App,
    auth::Caller,
    http::extract::{Query, Raw},
    problem::Problem,
};

/// Change an agent, as a draft
///
/// A JSON merge patch (RFC 7396) on the spec of the newest version, written as the next one. It is live once it is
/// published: `POST …/versions/{version}/publish`, or `?publish=true` here. Conversations stay on their versions.
#[utoipa::path(
    patch, path = "/v1/agents/{agent_id}", tag = "agents",
    params(("agent_id" = String, Path, description = "The agent's id"), WritingQuery),
    request_body(content = AgentSpec, description = "The members that change", content_type = "application/merge-patch+json"),
    responses(
        (status = 200, body = VersionView),
        (status = 409, description = "Another version is the newest, or the name is taken")
    )
)]
pub async fn update(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    Query(query): Query<WritingQuery>,
    Raw(body): Raw,
) -> Result<Json<VersionView>, Problem> {
    let newest = app.agents.load_newest_version(&cx, &id).await?;
    let spec = patched(&newest.spec, &body)?;
    let mut writing = Writing::from(query);
    // What it was read from must still be the newest when it is written.
    writing.expected_newest.get_or_insert(newest.version);
    let written = app.agents.write_version(&cx, &id, &spec, &writing).await?;
    Ok(Json(VersionView::from(written)))
}
