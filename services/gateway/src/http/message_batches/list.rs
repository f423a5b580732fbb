//! `GET /v1/messages/batches`.

use axum::{Json, extract::State};
use frontdesk_api::{Error, Order, Page, PageRequest};
use frontdesk_batches::Endpoint;
use serde::{Deserialize, Serialize};

use super::MessageBatch;
use crate::{app::App, auth::Caller, http::extract::Query, problem::Problem};

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MessageBatchQuery {
    /// 1 to 1000, 20 where it is left out.
    limit: Option<u32>,
    /// The id behind which the page begins.
    after_id: Option<String>,
    /// The id before which the page ends.
    before_id: Option<String>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MessageBatchList {
    data: Vec<MessageBatch>,
    first_id: Option<String>,
    last_id: Option<String>,
    has_more: bool,
}

/// The message batches, newest first
#[utoipa::path(
    get, path = "/v1/messages/batches", tag = "inference",
    params(MessageBatchQuery), responses((status = 200, body = MessageBatchList))
)]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(query): Query<MessageBatchQuery>,
) -> Result<Json<MessageBatchList>, Problem> {
    let limit = query.limit.unwrap_or(20);
    if !(1..=1000).contains(&limit) {
        return Err(Error::invalid("limit", format!("limit must be 1 to 1000, found {limit}")).into());
    }
    let backwards = query.before_id.is_some();
    let (after, order) = match (query.after_id, query.before_id) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid("before_id", "after_id and before_id cannot both be given").into());
        }
        (None, Some(before)) => (Some(before), Order::Asc),
        (after, None) => (after, Order::Desc),
    };
    let page = app.batches.list(&cx, Endpoint::Messages, &PageRequest { after, limit, order }).await?;
    let Page { mut items, more } = page;
    if backwards {
        items.reverse();
    }
    let data: Vec<MessageBatch> = items.into_iter().map(MessageBatch::from).collect();
    let (first_id, last_id) = (data.first().map(|b| b.id.clone()), data.last().map(|b| b.id.clone()));
    Ok(Json(MessageBatchList { data, first_id, last_id, has_more: more }))
}
