//! `GET /v1/tools`.

use axum::{Json, extract::State};
use frontdesk_wire::llama_stack::tool::{Listed, Tool, tool};
use serde::Deserialize;

use crate::{app::App, auth::Caller, http::extract::Query, problem::Problem};

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ToolQuery {
    /// Only the tools of this group.
    pub toolgroup_id: Option<String>,
}

/// The registered tools
#[utoipa::path(get, path = "/v1/tools", tag = "tools", params(ToolQuery), responses((status = 200, body = Listed<Tool>)))]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(query): Query<ToolQuery>,
) -> Result<Json<Listed<Tool>>, Problem> {
    let tools = app.tools.list_tools(&cx, query.toolgroup_id.as_deref()).await?;
    Ok(Json(Listed { data: tools.iter().map(|(def, provider)| tool(def, provider)).collect() }))
}
