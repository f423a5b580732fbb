//! `POST /v1/handoffs/{handoff_id}/take`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_api::Error;
use serde::Deserialize;

use super::HandoffInfo;
use crate::{
    app::App,
    auth::Caller,
    http::extract::{Raw, parse},
    problem::Problem,
};

/// The longest name of a person, in bytes.
const LONGEST: usize = 256;

/// Who takes it.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeHandoff {
    /// The person's name; the id of the key where it is left out.
    pub by: Option<String>,
}

/// Take a conversation over
///
/// From then on the agent is quiet in it: what the customer writes is kept and not answered, until the hand-off is
/// done. One that another person has is 409, `handoff_taken`.
#[utoipa::path(
    post, path = "/v1/handoffs/{handoff_id}/take", tag = "agents",
    params(("handoff_id" = String, Path, description = "The hand-off's id")),
    request_body(content = TakeHandoff, description = "May be left out"),
    responses((status = 200, body = HandoffInfo))
)]
pub async fn take(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    Raw(body): Raw,
) -> Result<Json<HandoffInfo>, Problem> {
    let body: TakeHandoff = if body.is_empty() { TakeHandoff::default() } else { parse(&body)? };
    let by = body.by.unwrap_or_else(|| cx.principal.key_id.clone());
    if by.is_empty() || by.len() > LONGEST || by.chars().any(char::is_control) {
        let message = format!("by must have 1 to {LONGEST} bytes and no control characters");
        return Err(Error::invalid("by", message).into());
    }
    Ok(Json(app.agents.take_handoff(&cx, &id, &by).await?.into()))
}
