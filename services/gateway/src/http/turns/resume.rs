//! `POST /v1/agents/{agent_id}/session/{session_id}/turn/{turn_id}/resume`.

use axum::{
    extract::{Path, State},
    response::Response,
};
use frontdesk_wire::llama_stack::{message::ResumeTurn, turn::Turn};

use super::answer;
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

/// Give a waiting turn the results of its client tools
///
/// One result for every call the turn waits for; it then runs on. The stream begins behind what was shown before.
#[utoipa::path(
    post, path = "/v1/agents/{agent_id}/session/{session_id}/turn/{turn_id}/resume", tag = "agents",
    params(
        ("agent_id" = String, Path, description = "The agent's id"),
        ("session_id" = String, Path, description = "The session's id"),
        ("turn_id" = String, Path, description = "The turn's id"),
    ),
    request_body = ResumeTurn,
    responses((status = 200, description = "The turn, or its event stream", body = Turn))
)]
pub async fn resume(
    State(app): State<App>,
    Caller(cx): Caller,
    Path((agent_id, session_id, turn_id)): Path<(String, String, String)>,
    extract::Json(body): extract::Json<ResumeTurn>,
) -> Result<Response, Problem> {
    app.agents.load_turn_of(&cx, &agent_id, &session_id, &turn_id).await?;
    let resumed = app.agents.resume(&cx, &turn_id, body.to_domain()?).await?;
    let events = app.agents.events_of(&cx, &resumed.turn);
    answer(&app, &cx, &turn_id, events, body.stream.unwrap_or(false), Some(resumed.after)).await
}
