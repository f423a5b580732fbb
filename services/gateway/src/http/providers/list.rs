//! `GET /v1/providers`.

use axum::{Json, extract::State};
use futures::future::join_all;
use serde::Serialize;

use super::ProviderInfo;
use crate::app::App;

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProviderList {
    pub data: Vec<ProviderInfo>,
}

/// The configured providers and how they are
///
/// `health.facts.models` says how many models are known of each and how old that list is; `health.facts.targets` says of each target that routes have there: the breaker's state (`closed`, `open`,
/// `half_open`), answers under way, recent failures.
#[utoipa::path(get, path = "/v1/providers", tag = "platform", responses((status = 200, body = ProviderList)))]
pub async fn list(State(app): State<App>) -> Json<ProviderList> {
    Json(ProviderList { data: join_all(app.providers.iter().map(|provider| ProviderInfo::of(&app, provider))).await })
}
