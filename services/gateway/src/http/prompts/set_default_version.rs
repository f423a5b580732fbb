//! `PUT /v1/prompts/{prompt_id}/set-default-version`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Deserialize;

use super::PromptInfo;
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DefaultVersion {
    version: i64,
}

/// Choose the version that is meant where none is named
#[utoipa::path(
    put, path = "/v1/prompts/{prompt_id}/set-default-version", tag = "prompts",
    params(("prompt_id" = String, Path, description = "The prompt's id")),
    request_body = DefaultVersion, responses((status = 200, body = PromptInfo))
)]
pub async fn set_default_version(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    extract::Json(body): extract::Json<DefaultVersion>,
) -> Result<Json<PromptInfo>, Problem> {
    Ok(Json(app.store.tenant(&cx).set_default_prompt(&id, body.version).await?.into()))
}
