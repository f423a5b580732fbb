//! `POST /v1/conversations`.

use axum::{Json, extract::State};
use frontdesk_wire::openai::responses::conversation;
use serde_json::Value;

use super::{ConversationRequest, json, shown};
use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::{NoQuery, Raw},
        responses::resolved,
    },
    problem::Problem,
};

/// Open a conversation
#[utoipa::path(
    post, path = "/v1/conversations", tag = "responses",
    request_body(content = ConversationRequest, description = "OpenAI's request to create a conversation"),
    responses((status = 200, description = "OpenAI's conversation", body = serde_json::Value))
)]
pub async fn create(
    State(app): State<App>,
    Caller(cx): Caller,
    _: NoQuery,
    Raw(body): Raw,
) -> Result<Json<Value>, Problem> {
    let new = conversation::create(&body)?;
    let (items, _room) = resolved(&app, &cx, new.items).await?;
    let conversation = app.agents.open_conversation(&cx, &json(&new.metadata)?, &items).await?;
    Ok(Json(shown(&conversation)?))
}
