//! `GET /v1/responses`.

use axum::{Json, extract::State};
use frontdesk_api::{Error, Kind};
use frontdesk_wire::openai::responses::{conversation, item::sent, request::Include};
use serde::Deserialize;
use serde_json::{Value, json};

use super::standing;
use crate::{
    app::App,
    auth::Caller,
    http::{extract::Query, paging::PageQuery},
    problem::Problem,
};

/// What a page has, in bytes: it ends behind the response that goes past this.
const PAGE: usize = 8 << 20;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ResponsesQuery {
    /// Id of the response after which the page begins.
    after: Option<String>,
    /// 1 to 100; 20 where it is left out.
    limit: Option<u32>,
    /// `desc` (newest first, the default) or `asc`.
    order: Option<String>,
    /// Those of this model alone, as they were asked for.
    model: Option<String>,
    #[serde(rename = "beta")]
    #[param(ignore)]
    _beta: Option<String>,
    #[serde(rename = "api-version")]
    #[param(ignore)]
    _api_version: Option<String>,
}

/// The stored responses, newest first
///
/// Each with its `input`, as OGX's clients read it; OpenAI has no such list. A page of large responses ends early, at some
/// 8 MiB, with `has_more`.
#[utoipa::path(
    get, path = "/v1/responses", tag = "responses", params(ResponsesQuery),
    responses((status = 200, description = "A list of OpenAI's responses", body = serde_json::Value))
)]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(query): Query<ResponsesQuery>,
) -> Result<Json<Value>, Problem> {
    let page = PageQuery { after: query.after, limit: query.limit, order: query.order }.request()?;
    let found = app.agents.list_responses(&cx, &page, query.model.as_deref()).await?;
    let (mut shown, mut more, mut bytes) = (Vec::with_capacity(found.items.len()), found.more, 0);
    for response in found.items {
        if bytes > PAGE {
            more = true;
            break;
        }
        let id = &response.turn.id;
        let whole = async {
            let input = app.agents.response_input(&cx, id).await?;
            let input: Vec<Value> = input.iter().filter_map(|item| sent(item, Include::EVERYTHING)).collect();
            let mut one = standing(&app, &cx, id, response.echo, Include::default()).await?;
            one["input"] = json!(input);
            Ok::<_, Error>(one)
        };
        match whole.await {
            Ok(one) => {
                bytes += one.to_string().len();
                shown.push(one);
            }
            // Deleted since it was found.
            Err(error) if error.kind == Kind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Json(conversation::list(shown, more)))
}
