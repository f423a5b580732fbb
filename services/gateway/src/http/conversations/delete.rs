//! `DELETE /v1/conversations/{conversation_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;

use crate::{app::App, auth::Caller, http::extract::NoQuery, problem::Problem};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ConversationDeleted {
    id: String,
    #[schema(example = "conversation.deleted")]
    object: &'static str,
    deleted: bool,
}

/// Delete a conversation, with its items and responses
#[utoipa::path(
    delete, path = "/v1/conversations/{conversation_id}", tag = "responses",
    params(("conversation_id" = String, Path, description = "The conversation's id")),
    responses((status = 200, body = ConversationDeleted))
)]
pub async fn delete(
    State(app): State<App>,
    Caller(cx): Caller,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Json<ConversationDeleted>, Problem> {
    app.agents.delete_conversation(&cx, &id).await?;
    Ok(Json(ConversationDeleted { id, object: "conversation.deleted", deleted: true }))
}
