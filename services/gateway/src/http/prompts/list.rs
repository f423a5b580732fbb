//! `GET /v1/prompts`.

use axum::{Json, extract::State};

use super::PromptList;
use crate::{app::App, auth::Caller, problem::Problem};

/// Every prompt at its default version, newest first; at most 1000
#[utoipa::path(get, path = "/v1/prompts", tag = "prompts", responses((status = 200, body = PromptList)))]
pub async fn list(State(app): State<App>, Caller(cx): Caller) -> Result<Json<PromptList>, Problem> {
    Ok(Json(app.store.tenant(&cx).list_prompts().await?.into()))
}
