//! `GET /v1/agents/{agent_id}/export`.

use axum::{
    extract::{Path, State},
    http::header,
    response::IntoResponse,
};
use serde::Deserialize;

use super::yaml;
use crate::{app::App, auth::Caller, http::extract::Query, problem::Problem};

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// Which version; the published one where it is left out.
    pub version: Option<i64>,
}

/// An agent as a YAML file
///
/// Members in the order of the reference, those at their defaults left out; `POST /v1/agents/import` reads it.
#[utoipa::path(
    get, path = "/v1/agents/{agent_id}/export", tag = "agents",
    params(("agent_id" = String, Path, description = "The agent's id"), ExportQuery),
    responses((status = 200, description = "The file", body = String, content_type = "application/yaml"))
)]
pub async fn export(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    Query(query): Query<ExportQuery>,
) -> Result<impl IntoResponse, Problem> {
    let version = match query.version {
        Some(version) => version,
        None => app.agents.load_agent(&cx, &id).await?.version,
    };
    let version = app.agents.load_version(&cx, &id, version).await?;
    Ok(([(header::CONTENT_TYPE, "application/yaml")], yaml::write(&version)?))
}
