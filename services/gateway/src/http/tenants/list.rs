//! `GET /v1/tenants`.

use axum::{Json, extract::State};

use super::{TenantInfo, operator};
use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{List, PageQuery},
    },
    problem::Problem,
};

/// The tenants of this installation
#[utoipa::path(
    get, path = "/v1/tenants", tag = "platform", params(PageQuery),
    responses((status = 200, body = List<TenantInfo>))
)]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<TenantInfo>>, Problem> {
    operator(&cx, "see and make tenants")?;
    let page = app.accounts.list_tenants(&page.request()?).await?;
    Ok(Json(List::of(page, TenantInfo::from, |tenant| &tenant.id)))
}
