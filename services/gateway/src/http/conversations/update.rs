//! `POST /v1/conversations/{conversation_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_wire::openai::responses::conversation;
use serde_json::Value;

use super::{ConversationRequest, json, shown};
use crate::{
    app::App,
    auth::Caller,
    http::extract::{NoQuery, Raw},
    problem::Problem,
};

/// Put other metadata in the place of a conversation's
#[utoipa::path(
    post, path = "/v1/conversations/{conversation_id}", tag = "responses",
    params(("conversation_id" = String, Path, description = "The conversation's id")),
    request_body(content = ConversationRequest, description = "`metadata` alone"),
    responses((status = 200, description = "OpenAI's conversation", body = serde_json::Value))
)]
pub async fn update(
    State(app): State<App>,
    Caller(cx): Caller,
    _: NoQuery,
    Path(id): Path<String>,
    Raw(body): Raw,
) -> Result<Json<Value>, Problem> {
    let metadata = json(&conversation::update(&body)?)?;
    Ok(Json(shown(&app.agents.update_conversation(&cx, &id, &metadata).await?)?))
}
