//! `POST /v1/chat/completions/{completion_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_wire::openai::peek;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::StoredChatCompletion;
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

/// What may be changed.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateChatCompletion {
    /// Up to 16 texts by names of your own, in place of those that are there; null: none.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Box<RawValue>>,
}

/// Change the metadata of a stored chat completion
#[utoipa::path(
    post, path = "/v1/chat/completions/{completion_id}", tag = "inference",
    params(("completion_id" = String, Path, description = "The id that the answer bore")),
    request_body = UpdateChatCompletion, responses((status = 200, body = StoredChatCompletion))
)]
pub async fn update(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    extract::Json(body): extract::Json<UpdateChatCompletion>,
) -> Result<Json<StoredChatCompletion>, Problem> {
    let metadata = super::json(&peek::metadata(body.metadata.as_deref().map(RawValue::get))?)?;
    app.stored.flush().await;
    let row = app.store.tenant(&cx).update_completion(&id, &metadata).await?;
    Ok(Json(StoredChatCompletion::read(row)?))
}
