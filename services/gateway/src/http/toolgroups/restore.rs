//! `POST /v1/toolgroup-changes/{change_id}/restore`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_wire::llama_stack::tool::ToolGroup;

use serde::Deserialize;

use super::shown;
use crate::{app::App, auth::Caller, http::extract::Query, problem::Problem};

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RestoreQuery {
    /// The newest change of the group that the caller has seen: where there is a newer one, nothing is brought back and the
    /// answer is 409 (`toolgroup_changed`).
    newest_change_id: Option<String>,
}

/// Bring back an earlier version of a tool group
///
/// The group is registered again as this change says it was registered: component, grants, settings, classes and bound
/// arguments of its tools. What it was made from has to be what it was, by hash. A new change of the group says who did it
/// (`detail.restored`).
#[utoipa::path(
    post, path = "/v1/toolgroup-changes/{change_id}/restore", tag = "tools",
    params(("change_id" = String, Path, description = "A change whose action is `registered`"), RestoreQuery),
    responses((status = 200, body = ToolGroup))
)]
pub async fn restore(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(change_id): Path<String>,
    Query(query): Query<RestoreQuery>,
) -> Result<Json<ToolGroup>, Problem> {
    Ok(Json(shown(&cx, &app.tools.restore(&cx, &change_id, query.newest_change_id.as_deref()).await?)))
}
