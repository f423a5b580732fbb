//! `GET /v1/responses/{response_id}/input_items`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_wire::openai::responses::{conversation::list, item::sent};
use serde_json::Value;

use super::ItemsQuery;
use crate::{app::App, auth::Caller, problem::Problem};

/// What a response was asked
///
/// The items of its request, newest first; not what it continues.
#[utoipa::path(
    get, path = "/v1/responses/{response_id}/input_items", tag = "responses",
    params(("response_id" = String, Path, description = "The response's id"), ItemsQuery),
    responses((status = 200, description = "OpenAI's list of items", body = serde_json::Value))
)]
pub async fn input_items(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    query: ItemsQuery,
) -> Result<Json<Value>, Problem> {
    let query = query.read()?;
    let items = app.agents.response_input(&cx, &id).await?;
    let (page, more) = query.cut(items.iter().filter_map(|item| sent(item, query.include)).collect())?;
    Ok(Json(list(page, more)))
}
