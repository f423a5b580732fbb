//! `POST /v1/handoffs/{handoff_id}/messages`.

use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
};
use serde::Deserialize;

use super::HandoffMessage;
use crate::{
    app::App,
    auth::Caller,
    http::{extract, turns::idempotency_key},
    problem::Problem,
};

/// What a person says.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SayInHandoff {
    /// The name that the conversation was taken with.
    #[schema(example = "Ada")]
    pub by: String,
    /// At most 64 KiB.
    pub text: String,
}

/// Say something in a conversation that was taken over
///
/// It stands in the conversation in the agent's place, with the person's name: in an agent's session a turn whose output
/// it is, in a conversation of OpenAI's an item of the role `assistant`. The agent knows it when it answers again. 409
/// unless this person has the conversation: `handoff_not_taken`, `handoff_taken`, `handoff_done`.
#[utoipa::path(
    post, path = "/v1/handoffs/{handoff_id}/messages", tag = "agents",
    params(
        ("handoff_id" = String, Path, description = "The hand-off's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Repeating the request with it says it once"),
    ),
    request_body = SayInHandoff,
    responses((status = 200, body = HandoffMessage))
)]
pub async fn say(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    extract::Json(body): extract::Json<SayInHandoff>,
) -> Result<Json<HandoffMessage>, Problem> {
    let key = idempotency_key(&headers)?;
    let said = app.agents.say_in_handoff(&cx, &id, &body.by, &body.text, key.as_deref()).await?;
    Ok(Json(said.into()))
}
