//! `GET /v1/vector_stores/{vector_store_id}/files`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Deserialize;

use super::VectorStoreFile;
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
pub struct StatusQuery {
    /// Only files of this status: `in_progress`, `completed` or `failed`.
    pub filter: Option<String>,
}

/// The files in a vector store
#[utoipa::path(
    get, path = "/v1/vector_stores/{vector_store_id}/files", tag = "memory",
    params(("vector_store_id" = String, Path, description = "The store's id"), PageQuery, StatusQuery),
    responses((status = 200, body = List<VectorStoreFile>))
)]
pub async fn files(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    Query(page): Query<PageQuery>,
    Query(only): Query<StatusQuery>,
) -> Result<Json<List<VectorStoreFile>>, Problem> {
    let files = app.knowledge.list_store_files(&cx, &id, only.filter.as_deref(), &page.request()?).await?;
    Ok(Json(List::of(files, VectorStoreFile::from, |file| &file.id)))
}
