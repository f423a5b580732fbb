//! `GET /v1/agents/{agent_id}/session/{session_id}/turn/{turn_id}/step/{step_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_api::Error;
use frontdesk_wire::llama_stack::step::{StepRetrieved, step as shown};

use crate::{app::App, auth::Caller, problem::Problem};

/// One step of a turn
#[utoipa::path(
    get, path = "/v1/agents/{agent_id}/session/{session_id}/turn/{turn_id}/step/{step_id}", tag = "agents",
    params(
        ("agent_id" = String, Path, description = "The agent's id"),
        ("session_id" = String, Path, description = "The session's id"),
        ("turn_id" = String, Path, description = "The turn's id"),
        ("step_id" = String, Path, description = "The step's id"),
    ),
    responses((status = 200, body = StepRetrieved))
)]
pub async fn step(
    State(app): State<App>,
    Caller(cx): Caller,
    Path((agent_id, session_id, turn_id, step_id)): Path<(String, String, String, String)>,
) -> Result<Json<StepRetrieved>, Problem> {
    app.agents.load_turn_of(&cx, &agent_id, &session_id, &turn_id).await?;
    let step = app.agents.load_step(&cx, &turn_id, &step_id).await?;
    let step =
        shown(&turn_id, &step).ok_or_else(|| Error::not_found(format!("the step '{step_id}' has no shape here")))?;
    Ok(Json(StepRetrieved { step }))
}
