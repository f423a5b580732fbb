//! `GET /v1/approvals`.

use axum::{Json, extract::State};

use super::Approval;
use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{List, PageQuery},
    },
    problem::Problem,
};

/// The calls that wait for a person now
#[utoipa::path(get, path = "/v1/approvals", tag = "agents", params(PageQuery), responses((status = 200, body = List<Approval>)))]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<Approval>>, Problem> {
    let page = app.agents.open_approvals(&cx, &page.request()?).await?;
    Ok(Json(List::of(page, Approval::from, |approval| &approval.id)))
}
