//! `POST /v1/vector_stores/{vector_store_id}/search`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_api::{Error, Memory as _, attributes::Attributes, filter::FileFilter, memory::Passage};
use frontdesk_wire::openai::filter;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{app::App, auth::Caller, http::extract, problem::Problem};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchVectorStore {
    query: QueryWords,
    /// 1 to 50; 10 where it is left out.
    #[serde(default)]
    max_num_results: Option<usize>,
    /// Only files whose attributes pass: `{type, key, value}` with a type of eq, ne, gt, gte, lt, lte, in or nin, or
    /// `{type: and|or, filters}`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    filters: Option<Value>,
    #[serde(default)]
    ranking_options: Option<RankingOptions>,
    /// Taken and without effect: what was searched for stands in `search_query`.
    #[serde(default, rename = "rewrite_query")]
    _rewrite_query: Option<bool>,
    /// Llama Stack's; pages are searched by their words.
    #[serde(default, rename = "search_mode")]
    _search_mode: Option<SearchMode>,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RankingOptions {
    /// There is one way to rank here, and each of these words names it.
    #[serde(default, rename = "ranker")]
    _ranker: Option<Ranker>,
    /// 0 to 1: passages with a lower score are left out.
    #[serde(default)]
    score_threshold: Option<f64>,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub enum Ranker {
    #[serde(rename = "none")]
    None,
    #[serde(rename = "auto")]
    Auto,
    #[serde(rename = "default-2024-11-15")]
    Default,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchMode {
    Keyword,
}

/// One question, or several that are searched as one.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum QueryWords {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SearchPage {
    #[schema(example = "vector_store.search_results.page")]
    object: &'static str,
    search_query: Vec<String>,
    data: Vec<SearchResult>,
    has_more: bool,
    next_page: Option<String>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SearchResult {
    file_id: String,
    filename: String,
    /// 0 to 1; comparable within one answer only.
    score: f64,
    /// The file's, as they were set.
    #[schema(value_type = Object)]
    attributes: Attributes,
    #[schema(value_type = Vec<Object>)]
    content: Value,
    /// Of the page or section.
    title: String,
    /// Where the page lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

impl From<Passage> for SearchResult {
    fn from(passage: Passage) -> Self {
        Self {
            file_id: passage.file_id,
            filename: passage.filename,
            score: passage.score,
            attributes: passage.attributes,
            content: json!([{ "type": "text", "text": passage.text }]),
            title: passage.title,
            url: passage.url,
        }
    }
}

/// The passages that answer a question, best first; none where nothing there is relevant
#[utoipa::path(
    post, path = "/v1/vector_stores/{vector_store_id}/search", tag = "memory",
    params(("vector_store_id" = String, Path, description = "The store's id")),
    request_body = SearchVectorStore, responses((status = 200, body = SearchPage))
)]
pub async fn search(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    extract::Json(body): extract::Json<SearchVectorStore>,
) -> Result<Json<SearchPage>, Problem> {
    let search_query = match body.query {
        QueryWords::One(words) => vec![words],
        QueryWords::Several(all) => all,
    };
    let limit = body.max_num_results.unwrap_or(10);
    if !(1..=50).contains(&limit) {
        let message = format!("max_num_results must be 1 to 50, found {limit}");
        return Err(Error::invalid("max_num_results", message).into());
    }
    let least = body.ranking_options.and_then(|ranking| ranking.score_threshold).unwrap_or(0.0);
    if !(0.0..=1.0).contains(&least) {
        let message = format!("ranking_options.score_threshold must be 0 to 1, found {least}");
        return Err(Error::invalid("ranking_options.score_threshold", message).into());
    }
    let filter = body.filters.map(|sent| filter::read(sent, "filters")).transpose()?;
    let filter = filter.map(|filter| FileFilter { stores: vec![id.clone()], filter });
    let query = search_query.join("\n");
    let mut passages = app.knowledge.recall_from(&cx, &[id], filter.as_ref(), &query, limit).await?;
    passages.retain(|passage| passage.score >= least);
    Ok(Json(SearchPage {
        object: "vector_store.search_results.page",
        search_query,
        data: passages.into_iter().map(SearchResult::from).collect(),
        has_more: false,
        next_page: None,
    }))
}
