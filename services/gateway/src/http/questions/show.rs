//! `GET /v1/questions/{question_id}`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::Question;
use crate::{app::App, auth::Caller, problem::Problem};

/// A question, open or not
#[utoipa::path(
    get, path = "/v1/questions/{question_id}", tag = "agents",
    params(("question_id" = String, Path, description = "The question's id")),
    responses((status = 200, body = Question))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<Question>, Problem> {
    Ok(Json(app.agents.question(&cx, &id).await?.into()))
}
