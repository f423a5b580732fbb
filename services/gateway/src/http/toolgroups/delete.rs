//! `DELETE /v1/toolgroups/{toolgroup_id}`.

use axum::{
    extract::{Path, State},
    http::StatusCode,
};

use crate::{app::App, auth::Caller, problem::Problem};

/// Delete a tool group with the data its tools kept
#[utoipa::path(
    delete, path = "/v1/toolgroups/{*toolgroup_id}", tag = "tools",
    params(("toolgroup_id" = String, Path, description = "The group's id")),
    responses((status = 204, description = "It is gone"))
)]
pub async fn delete(State(app): State<App>, Caller(cx): Caller, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    app.tools.delete_group(&cx, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
