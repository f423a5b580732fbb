//! `POST /v1/agents/{agent_id}/session`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_wire::llama_stack::turn::{CreateSession, SessionCreated};

use crate::{app::App, auth::Caller, http::extract, problem::Problem};

/// Begin a conversation
///
/// It stays on the version that its agent has now.
#[utoipa::path(
    post, path = "/v1/agents/{agent_id}/session", tag = "agents",
    params(("agent_id" = String, Path, description = "The agent's id")),
    request_body = CreateSession, responses((status = 200, body = SessionCreated))
)]
pub async fn create(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(agent_id): Path<String>,
    extract::Json(body): extract::Json<CreateSession>,
) -> Result<Json<SessionCreated>, Problem> {
    let session = app.agents.create_session(&cx, &agent_id, &body.session_name).await?;
    Ok(Json(SessionCreated { session_id: session.id }))
}
