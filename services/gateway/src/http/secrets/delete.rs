//! `DELETE /v1/secrets/{secret_name}`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;

use crate::{app::App, auth::Caller, problem::Problem};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DeletedSecret {
    pub name: String,
    #[schema(example = "secret")]
    pub object: &'static str,
    pub deleted: bool,
}

/// Delete a secret
///
/// Calls of tools that use it fail from the moment this answers.
#[utoipa::path(
    delete, path = "/v1/secrets/{secret_name}", tag = "tools",
    params(("secret_name" = String, Path, description = "The secret's name")),
    responses((status = 200, body = DeletedSecret))
)]
pub async fn delete(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(name): Path<String>,
) -> Result<Json<DeletedSecret>, Problem> {
    app.accounts.delete_secret(&cx, &name).await?;
    Ok(Json(DeletedSecret { name, object: "secret", deleted: true }))
}
