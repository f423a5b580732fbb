//! `GET /v1/prompts/{prompt_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Deserialize;

use super::PromptInfo;
use crate::{app::App, auth::Caller, http::extract::Query, problem::Problem};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct VersionQuery {
    /// The default version where it is left out.
    version: Option<i64>,
}

/// A prompt at one of its versions
#[utoipa::path(
    get, path = "/v1/prompts/{prompt_id}", tag = "prompts",
    params(("prompt_id" = String, Path, description = "The prompt's id"), VersionQuery),
    responses((status = 200, body = PromptInfo))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    Query(query): Query<VersionQuery>,
) -> Result<Json<PromptInfo>, Problem> {
    Ok(Json(app.store.tenant(&cx).load_prompt(&id, query.version).await?.into()))
}
