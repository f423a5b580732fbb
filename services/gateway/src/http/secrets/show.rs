//! `GET /v1/secrets/{secret_name}`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::SecretShown;
use crate::{app::App, auth::Caller, problem::Problem};

/// One secret: its name and hosts
#[utoipa::path(
    get, path = "/v1/secrets/{secret_name}", tag = "tools",
    params(("secret_name" = String, Path, description = "The secret's name")),
    responses((status = 200, body = SecretShown))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(name): Path<String>,
) -> Result<Json<SecretShown>, Problem> {
    Ok(Json(app.accounts.show_secret(&cx, &name).await?.into()))
}
