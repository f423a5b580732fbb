//! `POST /v1/providers/{provider_id}/unload`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::{ModelNamed, ProviderInfo, set_loaded};
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

/// Let go of a model
///
/// For models of the local engine (type `mistralrs`) and the operator's admins. Answers when its running answers have ended and its engine has stopped; its memory is free in a moment. The next request for it loads it again.
/// Of several processes the one that is asked does it.
#[utoipa::path(
    post, path = "/v1/providers/{provider_id}/unload", tag = "platform", request_body = ModelNamed,
    params(("provider_id" = String, Path, description = "The id from the configuration")),
    responses((status = 200, body = ProviderInfo))
)]
pub async fn unload(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    extract::Json(named): extract::Json<ModelNamed>,
) -> Result<Json<ProviderInfo>, Problem> {
    Ok(Json(set_loaded(&app, &cx, &id, &named.model, false).await?))
}
