//! `POST /v1/questions/{question_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_api::question::Action;
use serde::Deserialize;

use super::Question;
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

// Not shown in any log: what a person wrote.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerRequest {
    action: Action,
    /// The values of an accepted form, by its `requested_schema`; those that are left out are as it says by default.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    content: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Answer a question
///
/// The turn goes on, once nothing else of it is open: the tool is called again with the answers, or hears this one where its
/// call stayed open. The same answer again gets the same response, another one is a conflict.
#[utoipa::path(
    post, path = "/v1/questions/{question_id}", tag = "agents", request_body = AnswerRequest,
    params(("question_id" = String, Path, description = "The question's id")),
    responses((status = 200, body = Question))
)]
pub async fn answer(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    extract::Json(said): extract::Json<AnswerRequest>,
) -> Result<Json<Question>, Problem> {
    Ok(Json(app.agents.answer(&cx, &id, said.action, said.content).await?.into()))
}
