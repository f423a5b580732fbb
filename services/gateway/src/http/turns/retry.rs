//! `POST /v1/turns/{turn_id}/retry`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::list::Listed;
use crate::{app::App, auth::Caller, problem::Problem};

/// Ask a turn that was given up again
///
/// The same words as a new turn of the same conversation, in the name of the customer who said them: the answer is that
/// turn. What the old one did stays before it. Saying it twice asks once.
#[utoipa::path(
    post, path = "/v1/turns/{turn_id}/retry", tag = "agents",
    params(("turn_id" = String, Path, description = "The turn's id")),
    responses((status = 200, body = Listed))
)]
pub async fn retry(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(turn_id): Path<String>,
) -> Result<Json<Listed>, Problem> {
    Ok(Json(Box::pin(app.agents.retry(&cx, &turn_id)).await?.into()))
}
