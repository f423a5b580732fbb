//! `GET /v1/messages/batches/{batch_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_batches::Endpoint;

use super::MessageBatch;
use crate::{app::App, auth::Caller, problem::Problem};

/// How a message batch stands
#[utoipa::path(
    get, path = "/v1/messages/batches/{batch_id}", tag = "inference",
    params(("batch_id" = String, Path, description = "The batch's id")),
    responses((status = 200, body = MessageBatch))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<MessageBatch>, Problem> {
    Ok(Json(app.batches.find(&cx, Endpoint::Messages, &id).await?.into()))
}
