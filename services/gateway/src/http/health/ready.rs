//! `GET /v1/health/ready`: the status code is the answer, for load balancers.

use axum::{Json, extract::State, http::StatusCode};

use super::{Health, check};
use crate::app::App;

/// Whether requests can be served now
///
/// 503 with reasons while not. Needs no key.
#[utoipa::path(
    get, path = "/v1/health/ready", tag = "platform", security(()),
    responses((status = 200, body = Health), (status = 503, description = "Not ready; `reasons` says why", body = Health))
)]
pub async fn ready(State(app): State<App>) -> (StatusCode, Json<Health>) {
    let health = check(&app).await;
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health))
}
