//! `POST /v1/vector_stores/{vector_store_id}/files`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_api::attributes::Attributes;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::VectorStoreFile;
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub struct AddFile {
    /// An uploaded file.
    file_id: String,
    /// Up to 16 pairs to search by: keys of up to 64 characters, values strings of up to 512, numbers or booleans.
    /// `url` is where the page lives, for citations.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    attributes: Option<Map<String, Value>>,
}

/// Put an uploaded file into a vector store
///
/// It is read before this answers; one that cannot be read is in the store as `failed`, with the reason. A
/// client that leaves does not stop the reading; a server that stops goes on with it when it starts again.
#[utoipa::path(
    post, path = "/v1/vector_stores/{vector_store_id}/files", tag = "memory",
    params(("vector_store_id" = String, Path, description = "The store's id")),
    request_body = AddFile, responses((status = 200, body = VectorStoreFile))
)]
pub async fn add_file(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    extract::Json(body): extract::Json<AddFile>,
) -> Result<Json<VectorStoreFile>, Problem> {
    let attributes = body.attributes.map(Attributes::new).transpose()?;
    Ok(Json(app.knowledge.attach_file(&cx, &id, &body.file_id, attributes).await?.into()))
}
