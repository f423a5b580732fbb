//! `GET /v1/tools/{tool_name}`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_wire::llama_stack::tool::{Tool, tool};

use crate::{app::App, auth::Caller, problem::Problem};

/// One tool, by its name or `group/name`
#[utoipa::path(
    get, path = "/v1/tools/{*tool_name}", tag = "tools",
    params(("tool_name" = String, Path, description = "The tool's name; `group/name` where several groups have one of that name")),
    responses((status = 200, body = Tool))
)]
pub async fn show(State(app): State<App>, Caller(cx): Caller, Path(name): Path<String>) -> Result<Json<Tool>, Problem> {
    let (def, provider) = app.tools.load_tool(&cx, &name).await?;
    Ok(Json(tool(&def, &provider)))
}
