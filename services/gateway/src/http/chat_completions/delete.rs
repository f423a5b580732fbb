//! `DELETE /v1/chat/completions/{completion_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;

use crate::{app::App, auth::Caller, problem::Problem};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ChatCompletionDeleted {
    #[schema(example = "chat.completion.deleted")]
    object: &'static str,
    id: String,
    deleted: bool,
}

/// Delete a stored chat completion
#[utoipa::path(
    delete, path = "/v1/chat/completions/{completion_id}", tag = "inference",
    params(("completion_id" = String, Path, description = "The id that the answer bore")),
    responses((status = 200, body = ChatCompletionDeleted))
)]
pub async fn delete(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<ChatCompletionDeleted>, Problem> {
    app.stored.flush().await;
    app.store.tenant(&cx).delete_completion(&id).await?;
    Ok(Json(ChatCompletionDeleted { object: "chat.completion.deleted", id, deleted: true }))
}
