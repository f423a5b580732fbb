//! `GET /v1/chat/completions/{completion_id}`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::StoredChatCompletion;
use crate::{app::App, auth::Caller, problem::Problem};

/// One stored chat completion
#[utoipa::path(
    get, path = "/v1/chat/completions/{completion_id}", tag = "inference",
    params(("completion_id" = String, Path, description = "The id that the answer bore")),
    responses((status = 200, body = StoredChatCompletion))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<StoredChatCompletion>, Problem> {
    app.stored.flush().await;
    Ok(Json(StoredChatCompletion::read(app.store.tenant(&cx).load_completion(&id).await?)?))
}
