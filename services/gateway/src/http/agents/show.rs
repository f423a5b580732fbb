//! `GET /v1/agents/{agent_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_wire::llama_stack::agent::AgentView;

use crate::{app::App, auth::Caller, problem::Problem};

/// One agent at its published version
#[utoipa::path(
    get, path = "/v1/agents/{agent_id}", tag = "agents",
    params(("agent_id" = String, Path, description = "The agent's id")),
    responses((status = 200, body = AgentView))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<AgentView>, Problem> {
    let agent = app.agents.load_agent(&cx, &id).await?;
    Ok(Json(AgentView::from(&agent)))
}
