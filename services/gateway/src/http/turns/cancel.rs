//! `POST /v1/agents/{agent_id}/session/{session_id}/turn/{turn_id}/cancel`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_wire::llama_stack::turn::Turn;

use super::shown;
use crate::{app::App, auth::Caller, problem::Problem};

/// Ask a turn to stop
///
/// A waiting turn ends at once, a running one as soon as its worker hears of it; one that has ended stays as it is.
#[utoipa::path(
    post, path = "/v1/agents/{agent_id}/session/{session_id}/turn/{turn_id}/cancel", tag = "agents",
    params(
        ("agent_id" = String, Path, description = "The agent's id"),
        ("session_id" = String, Path, description = "The session's id"),
        ("turn_id" = String, Path, description = "The turn's id"),
    ),
    responses((status = 200, body = Turn))
)]
pub async fn cancel(
    State(app): State<App>,
    Caller(cx): Caller,
    Path((agent_id, session_id, turn_id)): Path<(String, String, String)>,
) -> Result<Json<Turn>, Problem> {
    app.agents.load_turn_of(&cx, &agent_id, &session_id, &turn_id).await?;
    app.agents.cancel(&cx, &turn_id).await?;
    Ok(Json(shown(&app.agents.load_turn(&cx, &turn_id).await?)))
}
