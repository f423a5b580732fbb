//! `GET /v1/tool-runtime/list-tools`.

use axum::{Json, extract::State};
use frontdesk_wire::llama_stack::tool::{Listed, ToolDef, runtime_tool};
use serde::Deserialize;

use crate::{app::App, auth::Caller, http::extract::Query, problem::Problem};

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RuntimeQuery {
    /// Only the tools of this group.
    pub tool_group_id: Option<String>,
}

/// The tools that can be called
#[utoipa::path(
    get, path = "/v1/tool-runtime/list-tools", tag = "tools", params(RuntimeQuery),
    responses((status = 200, body = Listed<ToolDef>))
)]
pub async fn list_tools(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(query): Query<RuntimeQuery>,
) -> Result<Json<Listed<ToolDef>>, Problem> {
    let tools = app.tools.list_tools(&cx, query.tool_group_id.as_deref()).await?;
    Ok(Json(Listed { data: tools.iter().map(|(def, _)| runtime_tool(def)).collect() }))
}
