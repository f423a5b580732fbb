//! `POST /v1/handoffs/{handoff_id}/done`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::HandoffInfo;
use crate::{app::App, auth::Caller, problem::Problem};

/// Give a conversation back
///
/// The agent answers in it again, from the customer's next message on.
#[utoipa::path(
    post, path = "/v1/handoffs/{handoff_id}/done", tag = "agents",
    params(("handoff_id" = String, Path, description = "The hand-off's id")),
    responses((status = 200, body = HandoffInfo))
)]
pub async fn done(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<HandoffInfo>, Problem> {
    Ok(Json(app.agents.end_handoff(&cx, &id).await?.into()))
}
