//! `GET /v1/customer-keys`.

use axum::{Json, extract::State};

use super::CustomerKeyInfo;
use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{List, PageQuery},
    },
    problem::Problem,
};

/// The customer keys, without what they are made of
#[utoipa::path(
    get, path = "/v1/customer-keys", tag = "platform", params(PageQuery),
    responses((status = 200, body = List<CustomerKeyInfo>))
)]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<CustomerKeyInfo>>, Problem> {
    let page = app.accounts.list_customer_keys(&cx, &page.request()?).await?;
    Ok(Json(List::of(page, CustomerKeyInfo::from, |key| &key.id)))
}
