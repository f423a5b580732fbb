//! `GET /v1/batches`.

use axum::{Json, extract::State};
use frontdesk_batches::Endpoint;

use super::BatchInfo;
use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{List, PageQuery},
    },
    problem::Problem,
};

/// The batches
#[utoipa::path(get, path = "/v1/batches", tag = "inference", params(PageQuery), responses((status = 200, body = List<BatchInfo>)))]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<BatchInfo>>, Problem> {
    let batches = app.batches.list(&cx, Endpoint::ChatCompletions, &page.request()?).await?;
    Ok(Json(List::of(batches, BatchInfo::from, |batch| &batch.id)))
}
