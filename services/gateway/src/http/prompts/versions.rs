//! `GET /v1/prompts/{prompt_id}/versions`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::PromptList;
use crate::{app::App, auth::Caller, problem::Problem};

/// The versions of a prompt, newest first; at most 1000
#[utoipa::path(
    get, path = "/v1/prompts/{prompt_id}/versions", tag = "prompts",
    params(("prompt_id" = String, Path, description = "The prompt's id")),
    responses((status = 200, body = PromptList))
)]
pub async fn versions(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<PromptList>, Problem> {
    Ok(Json(app.store.tenant(&cx).list_prompt_versions(&id).await?.into()))
}
