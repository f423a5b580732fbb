//! `GET /v1/keys`.

use axum::{Json, extract::State};

use super::{KeyInfo, TenantQuery, tenant};
use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{List, PageQuery},
    },
    problem::Problem,
};

/// The keys, without their text
#[utoipa::path(
    get, path = "/v1/keys", tag = "platform", params(PageQuery, TenantQuery),
    responses((status = 200, body = List<KeyInfo>))
)]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(page): Query<PageQuery>,
    Query(whose): Query<TenantQuery>,
) -> Result<Json<List<KeyInfo>>, Problem> {
    let tenant = tenant(&cx, whose.tenant)?;
    let page = app.accounts.list_keys(&tenant, &page.request()?).await?;
    Ok(Json(List::of(page, KeyInfo::from, |key| &key.id)))
}
