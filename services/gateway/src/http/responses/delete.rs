//! `DELETE /v1/responses/{response_id}`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::ResponseDeleted;
use crate::{app::App, auth::Caller, http::extract::NoQuery, problem::Problem};

/// Delete a response
///
/// One that runs is stopped. Responses that continue it stay, and continue what came before it; a conversation keeps
/// what was said in it.
#[utoipa::path(
    delete, path = "/v1/responses/{response_id}", tag = "responses",
    params(("response_id" = String, Path, description = "The response's id")),
    responses((status = 200, body = ResponseDeleted))
)]
pub async fn delete(
    State(app): State<App>,
    Caller(cx): Caller,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Json<ResponseDeleted>, Problem> {
    app.agents.delete_response(&cx, &id).await?;
    Ok(Json(ResponseDeleted { id, object: "response", deleted: true }))
}
