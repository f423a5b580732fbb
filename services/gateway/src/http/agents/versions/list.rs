//! `GET /v1/agents/{agent_id}/versions`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::VersionView;
use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{List, PageQuery},
    },
    problem::Problem,
};

/// The versions of an agent, newest first
///
/// `first_id`, `last_id` and `after` are version numbers.
#[utoipa::path(
    get, path = "/v1/agents/{agent_id}/versions", tag = "agents",
    params(("agent_id" = String, Path, description = "The agent's id"), PageQuery),
    responses((status = 200, body = List<VersionView>))
)]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<List<VersionView>>, Problem> {
    let page = query.request()?;
    if let Some(after) = &page.after {
        super::number(&id, after)?;
    }
    let page = app.agents.list_versions(&cx, &id, &page).await?;
    let data: Vec<VersionView> = page.items.into_iter().map(VersionView::from).collect();
    let number = |version: Option<&VersionView>| version.map(|v| v.version.to_string());
    let (first_id, last_id) = (number(data.first()), number(data.last()));
    Ok(Json(List { object: "list", data, first_id, last_id, has_more: page.more }))
}
