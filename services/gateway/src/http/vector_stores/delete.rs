//! `DELETE /v1/vector_stores/{vector_store_id}`.

use axum::{
    Json,
    extract::{Path, State},
};

use crate::{app::App, auth::Caller, http::files::Deleted, problem::Problem};

/// Delete a vector store with its index; uploaded files stay
#[utoipa::path(
    delete, path = "/v1/vector_stores/{vector_store_id}", tag = "memory",
    params(("vector_store_id" = String, Path, description = "The store's id")),
    responses((status = 200, body = Deleted))
)]
pub async fn delete(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<Deleted>, Problem> {
    app.knowledge.delete_store(&cx, &id).await?;
    Ok(Json(Deleted { id, object: "vector_store.deleted", deleted: true }))
}
