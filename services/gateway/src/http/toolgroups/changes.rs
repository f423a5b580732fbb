//! `GET /v1/toolgroup-changes`.

use axum::{Json, extract::State};
use frontdesk_api::clock::unix_seconds;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{List, PageQuery},
    },
    problem::Problem,
};

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ChangesQuery {
    /// Only the changes of this group, which may be gone.
    toolgroup_id: Option<String>,
    /// Id after which the page begins.
    after: Option<String>,
    /// 1 to 100; 20 where it is left out.
    limit: Option<u32>,
    /// `desc` (newest first, the default) or `asc`.
    order: Option<String>,
}

/// Who changed a tool group, and to what.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ToolgroupChange {
    pub id: String,
    #[schema(example = "toolgroup_change")]
    pub object: &'static str,
    pub toolgroup_id: String,
    /// `registered`, `disabled`, `enabled`, `deleted`, `authorized` (a server let it in) or `deauthorized`.
    pub action: String,
    /// The API key that did it.
    pub key_id: String,
    /// Of `authorized` the issuer, of `deauthorized` the problem; of `registered`: provider, args, grants, and the tools with their classes and hashes, and of which change it is
    /// the version again (`restored`).
    #[schema(value_type = Option<Object>)]
    pub detail: Value,
    /// Unix seconds.
    pub created_at: i64,
}

/// Who changed the tool groups, newest first
#[utoipa::path(
    get, path = "/v1/toolgroup-changes", tag = "tools", params(ChangesQuery),
    responses((status = 200, body = List<ToolgroupChange>))
)]
pub async fn changes(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(query): Query<ChangesQuery>,
) -> Result<Json<List<ToolgroupChange>>, Problem> {
    let ChangesQuery { toolgroup_id, after, limit, order } = query;
    let page = PageQuery { after, limit, order }.request()?;
    let page = app.tools.changes(&cx, toolgroup_id.as_deref().unwrap_or_default(), &page).await?;
    let shown = |change: frontdesk_tools::Change| ToolgroupChange {
        id: change.id,
        object: "toolgroup_change",
        toolgroup_id: change.toolgroup_id,
        action: change.action,
        key_id: change.key_id,
        detail: change.detail,
        created_at: unix_seconds(change.created_at),
    };
    Ok(Json(List::of(page, shown, |change| &change.id)))
}
