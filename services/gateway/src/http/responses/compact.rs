//! `POST /v1/responses/compact`.

use axum::{Json, extract::State};
use frontdesk_agents::as_model::AGENT;
use frontdesk_api::Error;
use frontdesk_wire::openai::responses::{compaction::answer, request::request};
use serde_json::Value;

use super::{ResponseRequest, to_turn};
use crate::{
    app::App,
    auth::Caller,
    http::extract::{NoQuery, Raw},
    problem::Problem,
};

/// Make a conversation short
///
/// The model summarises what was said. The answer's `output`, what the customer said and one `compaction` item, is the
/// `input` of the next response in the place of all of it. Nothing is kept here. An agent is not asked, for its shields
/// do not look at summaries.
#[utoipa::path(
    post, path = "/v1/responses/compact", tag = "responses",
    request_body(content = ResponseRequest, description = "OpenAI's request to compact a response"),
    responses((status = 200, description = "OpenAI's compacted response", body = serde_json::Value))
)]
pub async fn compact(
    State(app): State<App>,
    Caller(cx): Caller,
    _: NoQuery,
    Raw(body): Raw,
) -> Result<Json<Value>, Problem> {
    let asked = request(&body)?;
    if asked.model.starts_with(AGENT) {
        return Err(Error::invalid("model", "name a model: an agent summarises nothing").into());
    }
    let (new, _room) = to_turn(&app, &cx, asked).await?;
    let made = app.agents.compact(&cx, &new).await?;
    let (id, item_id) = (app.ids.next("resp"), app.ids.next("cmp"));
    Ok(Json(answer(&id, app.clock.now(), &made.said, (&item_id, &made.summary), made.usage)))
}
