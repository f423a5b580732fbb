//! `GET /v1/containers`.

use axum::{Json, extract::State};
use frontdesk_api::Error;
use serde::Deserialize;

use super::ContainerInfo;
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
pub struct NameQuery {
    /// Only containers of this name.
    pub name: Option<String>,
}

/// The containers that code ran in, those of the caller's customer alone
#[utoipa::path(
    get, path = "/v1/containers", tag = "responses",
    params(PageQuery, NameQuery), responses((status = 200, body = List<ContainerInfo>))
)]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(page): Query<PageQuery>,
    Query(only): Query<NameQuery>,
) -> Result<Json<List<ContainerInfo>>, Problem> {
    if only.name.as_ref().is_some_and(|name| name.contains('\0')) {
        return Err(Error::invalid("name", "name has no zero byte").into());
    }
    let containers = app.agents.list_containers(&cx, only.name.as_deref(), &page.request()?).await?;
    Ok(Json(List::of(containers, ContainerInfo::from, |container| &container.id)))
}
