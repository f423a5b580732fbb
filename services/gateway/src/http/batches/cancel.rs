//! `POST /v1/batches/{batch_id}/cancel`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_batches::Endpoint;

use super::BatchInfo;
use crate::{app::App, auth::Caller, problem::Problem};

/// Cancel a batch
///
/// Nothing more of it is asked; what is being answered is let end, and the answers there are come as its output file.
#[utoipa::path(
    post, path = "/v1/batches/{batch_id}/cancel", tag = "inference",
    params(("batch_id" = String, Path, description = "The batch's id")),
    responses((status = 200, body = BatchInfo))
)]
pub async fn cancel(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<BatchInfo>, Problem> {
    Ok(Json(app.batches.cancel(&cx, Endpoint::ChatCompletions, &id).await?.into()))
}
