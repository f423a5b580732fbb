//! `POST /v1/handoffs/{handoff_id}/take`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Deserialize;

use super::HandoffInfo;
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

/// Who takes it.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeHandoff {
    /// The person's name, at most 256 bytes. The key it comes with is kept beside it.
    #[schema(example = "Ada")]
    pub by: String,
}

/// Take a conversation over
///
/// From then on the agent is quiet in it: what the customer writes is kept and not answered, until the hand-off is
/// done. One that another person has is 409, `handoff_taken`; a person is a name together with a key.
#[utoipa::path(
    post, path = "/v1/handoffs/{handoff_id}/take", tag = "agents",
    params(("handoff_id" = String, Path, description = "The hand-off's id")),
    request_body = TakeHandoff,
    responses((status = 200, body = HandoffInfo))
)]
pub async fn take(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    extract::Json(body): extract::Json<TakeHandoff>,
) -> Result<Json<HandoffInfo>, Problem> {
    Ok(Json(app.agents.take_handoff(&cx, &id, &body.by).await?.into()))
}
