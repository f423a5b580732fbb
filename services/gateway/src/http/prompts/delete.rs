//! `DELETE /v1/prompts/{prompt_id}`.

use axum::{
    extract::{Path, State},
    http::StatusCode,
};

use crate::{app::App, auth::Caller, problem::Problem};

/// Delete a prompt with its versions
///
/// Responses that were made with it stay as they are.
#[utoipa::path(
    delete, path = "/v1/prompts/{prompt_id}", tag = "prompts",
    params(("prompt_id" = String, Path, description = "The prompt's id")),
    responses((status = 204, description = "It is gone"))
)]
pub async fn delete(State(app): State<App>, Caller(cx): Caller, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    app.store.tenant(&cx).delete_prompt(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
