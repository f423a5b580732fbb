//! `GET /v1/agents/{agent_id}/session/{session_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_wire::llama_stack::turn::Session;

use crate::{app::App, auth::Caller, http::turns, problem::Problem};

/// A conversation with its turns in order
#[utoipa::path(
    get, path = "/v1/agents/{agent_id}/session/{session_id}", tag = "agents",
    params(("agent_id" = String, Path, description = "The agent's id"), ("session_id" = String, Path, description = "The session's id")),
    responses((status = 200, body = Session))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    Path((agent_id, session_id)): Path<(String, String)>,
) -> Result<Json<Session>, Problem> {
    let (session, views) = app.agents.load_conversation(&cx, &agent_id, &session_id).await?;
    Ok(Json(Session::new(&session, views.iter().map(turns::shown).collect())))
}
