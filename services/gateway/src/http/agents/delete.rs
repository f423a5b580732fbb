//! `DELETE /v1/agents/{agent_id}`.

use axum::{
    extract::{Path, State},
    http::StatusCode,
};

use crate::{app::App, auth::Caller, problem::Problem};

/// Delete an agent with its conversations
#[utoipa::path(
    delete, path = "/v1/agents/{agent_id}", tag = "agents",
    params(("agent_id" = String, Path, description = "The agent's id")),
    responses((status = 204, description = "It is gone"))
)]
pub async fn delete(State(app): State<App>, Caller(cx): Caller, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    app.agents.delete_agent(&cx, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
