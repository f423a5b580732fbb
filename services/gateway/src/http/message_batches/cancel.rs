//! `POST /v1/messages/batches/{batch_id}/cancel`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_batches::Endpoint;

use super::MessageBatch;
use crate::{app::App, auth::Caller, problem::Problem};

/// Cancel a message batch
///
/// Nothing more of it is asked; what is being answered is let end.
#[utoipa::path(
    post, path = "/v1/messages/batches/{batch_id}/cancel", tag = "inference",
    params(("batch_id" = String, Path, description = "The batch's id")),
    responses((status = 200, body = MessageBatch))
)]
pub async fn cancel(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<MessageBatch>, Problem> {
    Ok(Json(app.batches.cancel(&cx, Endpoint::Messages, &id).await?.into()))
}
