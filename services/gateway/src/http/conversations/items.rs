//! `/v1/conversations/{conversation_id}/items`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_api::{Cx, Error, Result};
use frontdesk_wire::openai::responses::{
    conversation,
    item::{client_tools, items, sent},
    request::Include,
};
use serde_json::Value;

use super::{ConversationRequest, shown};
use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::{NoQuery, Raw},
        responses::{IncludeQuery, ItemsQuery, resolved},
    },
    problem::Problem,
};

/// Where an item stands.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub struct ItemPath {
    /// The conversation's id.
    conversation_id: String,
    /// The item's id.
    item_id: String,
}

/// Everything in the conversation, in order.
async fn all(app: &App, cx: &Cx, id: &str, include: Include) -> Result<Vec<Value>> {
    let said = app.agents.said(cx, id).await?;
    let shown = said.iter().flat_map(|turn| items(&turn.items, turn.inputs, &client_tools(&turn.echo), include));
    Ok(shown.collect())
}

/// The items of a conversation, newest first
#[utoipa::path(
    get, path = "/v1/conversations/{conversation_id}/items", tag = "responses",
    params(("conversation_id" = String, Path, description = "The conversation's id"), ItemsQuery),
    responses((status = 200, description = "OpenAI's list of items", body = serde_json::Value))
)]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    query: ItemsQuery,
) -> Result<Json<Value>, Problem> {
    let query = query.read()?;
    let (page, more) = query.cut(all(&app, &cx, &id, query.include).await?)?;
    Ok(Json(conversation::list(page, more)))
}

/// Add items to a conversation
#[utoipa::path(
    post, path = "/v1/conversations/{conversation_id}/items", tag = "responses",
    params(("conversation_id" = String, Path, description = "The conversation's id")),
    request_body(content = ConversationRequest, description = "`items` alone"),
    responses((status = 200, description = "OpenAI's list of the new items", body = serde_json::Value))
)]
pub async fn create(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    _: IncludeQuery,
    Raw(body): Raw,
) -> Result<Json<Value>, Problem> {
    let (new, _room) = resolved(&app, &cx, conversation::add(&body)?).await?;
    let added = app.agents.add_items(&cx, &id, &new).await?;
    Ok(Json(conversation::list(added.iter().filter_map(|item| sent(item, Include::EVERYTHING)).collect(), false)))
}

/// An item of a conversation
#[utoipa::path(
    get, path = "/v1/conversations/{conversation_id}/items/{item_id}", tag = "responses",
    params(ItemPath),
    responses((status = 200, description = "OpenAI's item", body = serde_json::Value))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(ItemPath { conversation_id: id, item_id }): Path<ItemPath>,
    _: IncludeQuery,
) -> Result<Json<Value>, Problem> {
    let item = all(&app, &cx, &id, Include::EVERYTHING).await?.into_iter().find(|item| item["id"] == item_id.as_str());
    let missing = || Error::not_found(format!("this conversation has no item with the id '{item_id}'"));
    Ok(Json(item.ok_or_else(|| missing().with_code("item_not_found"))?))
}

/// Delete an item of a conversation
///
/// Answers the conversation.
#[utoipa::path(
    delete, path = "/v1/conversations/{conversation_id}/items/{item_id}", tag = "responses",
    params(ItemPath),
    responses((status = 200, description = "OpenAI's conversation", body = serde_json::Value))
)]
pub async fn delete(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(ItemPath { conversation_id: id, item_id }): Path<ItemPath>,
    _: NoQuery,
) -> Result<Json<Value>, Problem> {
    app.agents.delete_item(&cx, &id, &item_id).await?;
    Ok(Json(shown(&app.agents.conversation(&cx, &id).await?)?))
}
