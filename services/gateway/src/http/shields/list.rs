//! `GET /v1/shields`.

use axum::{Json, extract::State};
use frontdesk_wire::llama_stack::{safety::Shield, tool::Listed};

use super::shown;
use crate::{app::App, problem::Problem};

/// The configured shields
#[utoipa::path(get, path = "/v1/shields", tag = "safety", responses((status = 200, body = Listed<Shield>)))]
pub async fn list(State(app): State<App>) -> Result<Json<Listed<Shield>>, Problem> {
    Ok(Json(Listed { data: app.safety.list().iter().map(shown).collect() }))
}
