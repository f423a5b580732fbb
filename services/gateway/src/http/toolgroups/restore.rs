//! `POST /v1/toolgroup-changes/{change_id}/restore`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_wire::llama_stack::tool::ToolGroup;

use super::shown;
use crate::{app::App, auth::Caller, problem::Problem};

/// Bring back an earlier version of a tool group
///
/// The group is registered again as this change says it was registered: component, grants, settings, classes and bound
/// arguments of its tools. What it was made from has to be what it was, by hash. A new change of the group says who did it
/// (`detail.restored`).
#[utoipa::path(
    post, path = "/v1/toolgroup-changes/{change_id}/restore", tag = "tools",
    params(("change_id" = String, Path, description = "A change whose action is `registered`")),
    responses((status = 200, body = ToolGroup))
)]
pub async fn restore(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(change_id): Path<String>,
) -> Result<Json<ToolGroup>, Problem> {
    Ok(Json(shown(&cx, &app.tools.restore(&cx, &change_id).await?)))
}
