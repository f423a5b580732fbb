//! `DELETE /v1/agents/{agent_id}/session/{session_id}`.

use axum::{
    extract::{Path, State},
    http::StatusCode,
};

use crate::{app::App, auth::Caller, problem::Problem};

/// Delete a conversation with its turns
#[utoipa::path(
    delete, path = "/v1/agents/{agent_id}/session/{session_id}", tag = "agents",
    params(("agent_id" = String, Path, description = "The agent's id"), ("session_id" = String, Path, description = "The session's id")),
    responses((status = 204, description = "It is gone"))
)]
pub async fn delete(
    State(app): State<App>,
    Caller(cx): Caller,
    Path((agent_id, session_id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    app.agents.delete_session(&cx, &agent_id, &session_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
