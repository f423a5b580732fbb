//! `DELETE /v1/files/{file_id}`.

use axum::{
    Json,
    extract::{Path, State},
};

use frontdesk_api::Error;

use super::Deleted;
use crate::{app::App, auth::Caller, problem::Problem};

/// Delete a file, also from the vector stores that have it
///
/// One that a tool group is made from is kept: `file_in_use`.
#[utoipa::path(
    delete, path = "/v1/files/{file_id}", tag = "memory",
    params(("file_id" = String, Path, description = "The file's id")),
    responses((status = 200, body = Deleted))
)]
pub async fn delete(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<Deleted>, Problem> {
    if let Some(group) = app.tools.group_of_file(&cx, &id).await? {
        let message =
            format!("the tool group '{group}' is made from this file: register it from another, or delete it, first");
        return Err(Error::conflict(message).with_code("file_in_use").into());
    }
    app.knowledge.delete_file(&cx, &id).await?;
    Ok(Json(Deleted { id, object: "file", deleted: true }))
}
