//! `DELETE /v1/messages/batches/{batch_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;

use crate::{app::App, auth::Caller, problem::Problem};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DeletedMessageBatch {
    id: String,
    #[serde(rename = "type")]
    #[schema(example = "message_batch_deleted")]
    kind: &'static str,
}

/// Delete a message batch that has ended, with its results
#[utoipa::path(
    delete, path = "/v1/messages/batches/{batch_id}", tag = "inference",
    params(("batch_id" = String, Path, description = "The batch's id")),
    responses((status = 200, body = DeletedMessageBatch))
)]
pub async fn delete(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<DeletedMessageBatch>, Problem> {
    app.batches.delete_messages(&cx, &id).await?;
    Ok(Json(DeletedMessageBatch { id, kind: "message_batch_deleted" }))
}
