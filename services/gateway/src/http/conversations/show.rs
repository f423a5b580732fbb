//! `GET /v1/conversations/{conversation_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::Value;

use super::shown;
use crate::{app::App, auth::Caller, http::extract::NoQuery, problem::Problem};

/// A conversation
#[utoipa::path(
    get, path = "/v1/conversations/{conversation_id}", tag = "responses",
    params(("conversation_id" = String, Path, description = "The conversation's id")),
    responses((status = 200, description = "OpenAI's conversation", body = serde_json::Value))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(shown(&app.agents.conversation(&cx, &id).await?)?))
}
