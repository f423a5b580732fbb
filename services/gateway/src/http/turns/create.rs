//! `POST /v1/agents/{agent_id}/session/{session_id}/turn`, streamed and not.

use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use frontdesk_agents::NewTurn;
use frontdesk_wire::llama_stack::{message::CreateTurn, turn::Turn};

use super::{after, answer, idempotency_key};
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

/// Ask the agent
///
/// With `stream: true` each step comes as it happens; every event is written before it is sent, and `id:`
/// is its number. The turn goes on when the client leaves: the same request with the same
/// `Idempotency-Key` and `Last-Event-ID` picks its stream up again.
#[utoipa::path(
    post, path = "/v1/agents/{agent_id}/session/{session_id}/turn", tag = "agents",
    params(
        ("agent_id" = String, Path, description = "The agent's id"),
        ("session_id" = String, Path, description = "The session's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Repeating the request with it gets the same turn"),
        ("Last-Event-ID" = Option<String>, Header, description = "Events up to this one are left out of the stream"),
    ),
    request_body = CreateTurn,
    responses((status = 200, description = "The turn, or its event stream", body = Turn))
)]
pub async fn create(
    State(app): State<App>,
    Caller(cx): Caller,
    Path((agent_id, session_id)): Path<(String, String)>,
    headers: HeaderMap,
    extract::Json(body): extract::Json<CreateTurn>,
) -> Result<Response, Problem> {
    let after = after(&headers)?;
    let input = body.to_domain()?;
    let new = NewTurn {
        agent_id,
        session_id: Some(session_id),
        items: input.items,
        idempotency_key: idempotency_key(&headers)?,
        toolgroups: input.toolgroups,
        knowledge: input.knowledge,
        tool_choice: input.tool_choice,
        ..NewTurn::default()
    };
    let turn = app.agents.create_turn(&cx, new).await?;
    let events = app.agents.events_of(&cx, &turn);
    answer(&app, &cx, &turn.id, events, body.stream.unwrap_or(false), after).await
}
