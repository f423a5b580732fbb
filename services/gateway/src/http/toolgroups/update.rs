//! `PATCH /v1/toolgroups/{toolgroup_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_wire::llama_stack::tool::ToolGroup;
use serde::Deserialize;

use super::shown;
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateToolgroup {
    /// true: no model is offered its tools and none runs, until it is false again.
    disabled: bool,
}

/// Switch a tool group off, or on again
///
/// Registering it anew leaves it as it is.
#[utoipa::path(
    patch, path = "/v1/toolgroups/{*toolgroup_id}", tag = "tools",
    params(("toolgroup_id" = String, Path, description = "The group's id")),
    request_body = UpdateToolgroup, responses((status = 200, body = ToolGroup))
)]
pub async fn update(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    extract::Json(UpdateToolgroup { disabled }): extract::Json<UpdateToolgroup>,
) -> Result<Json<ToolGroup>, Problem> {
    Ok(Json(shown(&cx, &app.tools.set_disabled(&cx, &id, disabled).await?)))
}
