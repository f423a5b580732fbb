//! `PUT /v1/prompts/{prompt_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Deserialize;

use super::{PromptInfo, check};
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatePrompt {
    /// With `{{ name }}` where a variable stands.
    prompt: String,
    /// The newest version as you know it: a prompt that was changed meanwhile is 409.
    version: i64,
    /// Every name that the text uses.
    #[serde(default)]
    variables: Option<Vec<String>>,
    /// Whether the new version is meant where none is named; true where it is left out.
    #[serde(default)]
    set_as_default: Option<bool>,
}

/// Store the next version of a prompt
#[utoipa::path(
    put, path = "/v1/prompts/{prompt_id}", tag = "prompts",
    params(("prompt_id" = String, Path, description = "The prompt's id")),
    request_body = UpdatePrompt, responses((status = 200, body = PromptInfo))
)]
pub async fn update(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    extract::Json(body): extract::Json<UpdatePrompt>,
) -> Result<Json<PromptInfo>, Problem> {
    let variables = body.variables.unwrap_or_default();
    check(&body.prompt, &variables)?;
    let as_default = body.set_as_default.unwrap_or(true);
    let tenant = app.store.tenant(&cx);
    let now = app.clock.now();
    Ok(Json(tenant.change_prompt(&id, body.version, &body.prompt, &variables, as_default, now).await?.into()))
}
