//! `GET /v1/toolgroups/{toolgroup_id}`; ids may contain slashes and `::`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_wire::llama_stack::tool::ToolGroup;

use super::shown;
use crate::{app::App, auth::Caller, problem::Problem};

/// One tool group
#[utoipa::path(
    get, path = "/v1/toolgroups/{*toolgroup_id}", tag = "tools",
    params(("toolgroup_id" = String, Path, description = "The group's id")),
    responses((status = 200, body = ToolGroup))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<ToolGroup>, Problem> {
    Ok(Json(shown(&cx, &app.tools.load_group(&cx, &id).await?)))
}
