//! `GET /v1/agents/{agent_id}/sessions`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_wire::llama_stack::turn::Session;

use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{Window, WindowQuery, window},
    },
    problem::Problem,
};

/// An agent's conversations, newest first, without their turns
#[utoipa::path(
    get, path = "/v1/agents/{agent_id}/sessions", tag = "agents",
    params(("agent_id" = String, Path, description = "The agent's id"), WindowQuery),
    responses((status = 200, body = Window<Session>))
)]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(agent_id): Path<String>,
    Query(query): Query<WindowQuery>,
) -> Result<Json<Window<Session>>, Problem> {
    let (agents, cx, agent_id) = (&app.agents, &cx, &agent_id);
    let fetch = |page| async move { agents.list_sessions(cx, agent_id, &page).await };
    let sessions = window(query, fetch, |session| &session.id).await?;
    Ok(Json(sessions.map(|session| Session::new(&session, vec![]))))
}
