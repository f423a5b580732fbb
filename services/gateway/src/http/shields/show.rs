//! `GET /v1/shields/{shield_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_api::Error;
use frontdesk_wire::llama_stack::safety::Shield;

use super::shown;
use crate::{app::App, problem::Problem};

/// One shield
#[utoipa::path(
    get, path = "/v1/shields/{*shield_id}", tag = "safety",
    params(("shield_id" = String, Path, description = "The shield's id in the configuration")),
    responses((status = 200, body = Shield))
)]
pub async fn show(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Shield>, Problem> {
    let found = app.safety.find(&id);
    let missing = || {
        Error::not_found(format!("no shield is called '{id}'; GET /v1/shields lists them"))
            .with_code("shield_not_found")
    };
    Ok(Json(shown(&found.ok_or_else(missing)?)))
}
