//! `GET /v1/providers/{provider_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_api::Error;

use super::ProviderInfo;
use crate::{app::App, problem::Problem};

/// One provider and how it is
#[utoipa::path(
    get, path = "/v1/providers/{provider_id}", tag = "platform",
    params(("provider_id" = String, Path, description = "The id from the configuration")),
    responses((status = 200, body = ProviderInfo))
)]
pub async fn show(State(app): State<App>, Path(id): Path<String>) -> Result<Json<ProviderInfo>, Problem> {
    let Some(provider) = app.providers.iter().find(|p| p.id == id) else {
        let known: Vec<&str> = app.providers.iter().map(|p| p.id.as_str()).collect();
        return Err(
            Error::not_found(format!("no provider '{id}' is configured; there are: {}", known.join(", "))).into()
        );
    };
    Ok(Json(ProviderInfo::of(&app, provider).await))
}
