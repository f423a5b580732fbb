//! `POST /v1/agents`.

use axum::{Json, extract::State};
use frontdesk_wire::llama_stack::agent::{AgentCreated, CreateAgent};

use crate::{app::App, auth::Caller, http::extract, problem::Problem};

/// Create an agent
///
/// Llama Stack's configuration; what Frontdesk knows beyond it (greeting, knowledge, shields, hand-off,
/// limits) is its member `frontdesk`. Tool groups must exist; the model is looked up when a turn asks for it, and
/// before that only where a limit of money needs its price.
#[utoipa::path(post, path = "/v1/agents", tag = "agents", request_body = CreateAgent, responses((status = 200, body = AgentCreated)))]
pub async fn create(
    State(app): State<App>,
    Caller(cx): Caller,
    extract::Json(body): extract::Json<CreateAgent>,
) -> Result<Json<AgentCreated>, Problem> {
    let agent = app.agents.create_agent(&cx, body.agent_config.to_spec()?).await?;
    Ok(Json(AgentCreated { agent_id: agent.id }))
}
