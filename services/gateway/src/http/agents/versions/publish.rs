//! `POST /v1/agents/{agent_id}/versions/{version}/publish`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Deserialize;

use super::{VersionView, number};
use crate::{app::App, auth::Caller, http::extract::Query, problem::Problem};

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PublishQuery {
    /// Published only while this is the published version; else 409 naming both.
    pub expected_published: Option<i64>,
}

/// Publish a version, or roll back to an older one
///
/// New conversations, and turns without one, begin with it from then on; conversations that began before stay on theirs.
#[utoipa::path(
    post, path = "/v1/agents/{agent_id}/versions/{version}/publish", tag = "agents",
    params(
        ("agent_id" = String, Path, description = "The agent's id"),
        ("version" = i64, Path, description = "Its number, from 1"),
        PublishQuery
    ),
    responses(
        (status = 200, body = VersionView),
        (status = 409, description = "Another version than the expected one is published, or the name is taken")
    )
)]
pub async fn publish(
    State(app): State<App>,
    Caller(cx): Caller,
    Path((id, version)): Path<(String, String)>,
    Query(query): Query<PublishQuery>,
) -> Result<Json<VersionView>, Problem> {
    let version = number(&id, &version)?;
    let published = app.agents.publish_version(&cx, &id, version, query.expected_published).await?;
    Ok(Json(VersionView::from(published)))
}
