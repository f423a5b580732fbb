//! `GET /v1/health`: 200 as long as the process lives.

use axum::{Json, extract::State};

use super::{Health, check};
use crate::app::App;

/// Whether the server lives, and whether it is ready
///
/// Answers 200 as long as the process lives; `ready` says whether requests can be served. Needs no key.
#[utoipa::path(get, path = "/v1/health", tag = "platform", security(()), responses((status = 200, body = Health)))]
pub async fn show(State(app): State<App>) -> Json<Health> {
    Json(check(&app).await)
}
