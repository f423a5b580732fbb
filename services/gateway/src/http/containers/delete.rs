//! `DELETE /v1/containers/{container_id}`.

use axum::{
    Json,
    extract::{Path, State},
};

use crate::{
    app::App,
    auth::Caller,
    http::{extract::NoQuery, files::Deleted},
    problem::Problem,
};

/// Delete a container, with its files
///
/// The conversation that it was of goes on, and has another from its next run of code on.
#[utoipa::path(
    delete, path = "/v1/containers/{container_id}", tag = "responses",
    params(("container_id" = String, Path, description = "The container's id")),
    responses((status = 200, body = Deleted))
)]
pub async fn delete(
    State(app): State<App>,
    Caller(cx): Caller,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Json<Deleted>, Problem> {
    app.agents.delete_container(&cx, &id).await?;
    Ok(Json(Deleted { id, object: "container.deleted", deleted: true }))
}
