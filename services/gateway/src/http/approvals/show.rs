//! `GET /v1/approvals/{approval_id}`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::Approval;
use crate::{app::App, auth::Caller, problem::Problem};

/// An approval, open or not
#[utoipa::path(
    get, path = "/v1/approvals/{approval_id}", tag = "agents",
    params(("approval_id" = String, Path, description = "The approval's id")),
    responses((status = 200, body = Approval))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<Approval>, Problem> {
    Ok(Json(app.agents.approval(&cx, &id).await?.into()))
}
