//! `GET /v1/vector_stores`.

use axum::{Json, extract::State};

use super::VectorStoreInfo;
use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{List, PageQuery},
    },
    problem::Problem,
};

/// The vector stores
#[utoipa::path(get, path = "/v1/vector_stores", tag = "memory", params(PageQuery), responses((status = 200, body = List<VectorStoreInfo>)))]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<VectorStoreInfo>>, Problem> {
    let stores = app.knowledge.list_stores(&cx, &page.request()?).await?;
    Ok(Json(List::of(stores, VectorStoreInfo::from, |store| &store.id)))
}
