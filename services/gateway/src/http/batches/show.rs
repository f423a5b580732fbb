//! `GET /v1/batches/{batch_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_batches::Endpoint;

use super::BatchInfo;
use crate::{app::App, auth::Caller, problem::Problem};

/// How a batch stands
#[utoipa::path(
    get, path = "/v1/batches/{batch_id}", tag = "inference",
    params(("batch_id" = String, Path, description = "The batch's id")),
    responses((status = 200, body = BatchInfo))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<BatchInfo>, Problem> {
    Ok(Json(app.batches.find(&cx, Endpoint::ChatCompletions, &id).await?.into()))
}
