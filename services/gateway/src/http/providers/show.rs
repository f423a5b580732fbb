//! `GET /v1/providers/{provider_id}`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::{ProviderInfo, find};
use crate::{app::App, problem::Problem};

/// One provider and how it is
#[utoipa::path(
    get, path = "/v1/providers/{provider_id}", tag = "platform",
    params(("provider_id" = String, Path, description = "The id from the configuration")),
    responses((status = 200, body = ProviderInfo))
)]
pub async fn show(State(app): State<App>, Path(id): Path<String>) -> Result<Json<ProviderInfo>, Problem> {
    Ok(Json(ProviderInfo::of(&app, find(&app, &id)?).await))
}
