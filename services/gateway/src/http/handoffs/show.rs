//! `GET /v1/handoffs/{handoff_id}`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::HandoffInfo;
use crate::{app::App, auth::Caller, problem::Problem};

/// One hand-off
#[utoipa::path(
    get, path = "/v1/handoffs/{handoff_id}", tag = "agents",
    params(("handoff_id" = String, Path, description = "The hand-off's id")),
    responses((status = 200, body = HandoffInfo))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<HandoffInfo>, Problem> {
    Ok(Json(app.agents.load_handoff(&cx, &id).await?.into()))
}
