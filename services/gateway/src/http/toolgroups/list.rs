//! `GET /v1/toolgroups`.

use axum::{Json, extract::State};
use frontdesk_wire::llama_stack::tool::{Listed, ToolGroup};

use super::shown;
use crate::{app::App, auth::Caller, problem::Problem};

/// The registered tool groups
#[utoipa::path(get, path = "/v1/toolgroups", tag = "tools", responses((status = 200, body = Listed<ToolGroup>)))]
pub async fn list(State(app): State<App>, Caller(cx): Caller) -> Result<Json<Listed<ToolGroup>>, Problem> {
    let groups = app.tools.list_groups(&cx).await?;
    Ok(Json(Listed { data: groups.iter().map(|group| shown(&cx, group)).collect() }))
}
