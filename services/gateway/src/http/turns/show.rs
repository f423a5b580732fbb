//! `GET /v1/agents/{agent_id}/session/{session_id}/turn/{turn_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_wire::llama_stack::turn::Turn;

use super::shown;
use crate::{app::App, auth::Caller, problem::Problem};

/// One turn with its steps
///
/// `frontdesk.state` says how it stands, also while it runs.
#[utoipa::path(
    get, path = "/v1/agents/{agent_id}/session/{session_id}/turn/{turn_id}", tag = "agents",
    params(
        ("agent_id" = String, Path, description = "The agent's id"),
        ("session_id" = String, Path, description = "The session's id"),
        ("turn_id" = String, Path, description = "The turn's id"),
    ),
    responses((status = 200, body = Turn))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    Path((agent_id, session_id, turn_id)): Path<(String, String, String)>,
) -> Result<Json<Turn>, Problem> {
    Ok(Json(shown(&app.agents.load_turn_of(&cx, &agent_id, &session_id, &turn_id).await?)))
}
