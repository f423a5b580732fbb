//! `GET /v1/secrets`.

use axum::{Json, extract::State};
use frontdesk_wire::llama_stack::tool::Listed;

use super::SecretShown;
use crate::{app::App, auth::Caller, problem::Problem};

/// The secrets for tools: names and hosts, by name
#[utoipa::path(get, path = "/v1/secrets", tag = "tools", responses((status = 200, body = Listed<SecretShown>)))]
pub async fn list(State(app): State<App>, Caller(cx): Caller) -> Result<Json<Listed<SecretShown>>, Problem> {
    let secrets = app.accounts.list_secrets(&cx).await?;
    Ok(Json(Listed { data: secrets.into_iter().map(SecretShown::from).collect() }))
}
