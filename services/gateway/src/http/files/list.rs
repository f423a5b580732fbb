//! `GET /v1/files`.

use axum::{Json, extract::State};
use serde::Deserialize;

use super::FileInfo;
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
pub struct PurposeQuery {
    /// Only files of this purpose.
    pub purpose: Option<String>,
}

/// The most files on a page, and how many where nothing is said: clients that read one page see them all (the openai
/// package, FileListParams).
const PAGE: u32 = 10_000;

/// The uploaded files
///
/// `limit` is 1 to 10,000 here, and 10,000 where it is left out.
#[utoipa::path(get, path = "/v1/files", tag = "memory", params(PageQuery, PurposeQuery), responses((status = 200, body = List<FileInfo>)))]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(page): Query<PageQuery>,
    Query(only): Query<PurposeQuery>,
) -> Result<Json<List<FileInfo>>, Problem> {
    let files = app.knowledge.list_files(&cx, only.purpose.as_deref(), &page.request_of(PAGE, PAGE)?).await?;
    Ok(Json(List::of(files, FileInfo::from, |file| &file.id)))
}
