//! `GET /v1/messages/batches`.

use axum::{Json, extract::State};
use frontdesk_api::{Order, Page, PageRequest};
use frontdesk_batches::Endpoint;

use super::MessageBatch;
use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{AnthropicList, AnthropicPageQuery, Side},
    },
    problem::Problem,
};

/// The message batches, newest first
#[utoipa::path(
    get, path = "/v1/messages/batches", tag = "inference",
    params(AnthropicPageQuery), responses((status = 200, body = AnthropicList<MessageBatch>))
)]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(query): Query<AnthropicPageQuery>,
) -> Result<Json<AnthropicList<MessageBatch>>, Problem> {
    let (limit, side) = query.read()?;
    let backwards = matches!(side, Side::Before(_));
    let (after, order) = match side {
        Side::Start => (None, Order::Desc),
        Side::After(id) => (Some(id), Order::Desc),
        Side::Before(id) => (Some(id), Order::Asc),
    };
    let page = app.batches.list(&cx, Endpoint::Messages, &PageRequest { after, limit, order }).await?;
    let Page { mut items, more } = page;
    if backwards {
        items.reverse();
    }
    let data = items.into_iter().map(MessageBatch::from).collect();
    Ok(Json(AnthropicList::of(data, more, |batch: &MessageBatch| &batch.id)))
}
