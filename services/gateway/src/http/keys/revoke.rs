//! `DELETE /v1/keys/{key_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;

use super::{TenantQuery, tenant};
use crate::{app::App, auth::Caller, http::extract::Query, problem::Problem};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RevokedKey {
    pub id: String,
    #[schema(example = "api_key")]
    pub object: &'static str,
    pub revoked: bool,
}

/// Revoke an API key
///
/// It opens nothing from the moment this answers. Revoking again changes nothing.
#[utoipa::path(
    delete, path = "/v1/keys/{key_id}", tag = "platform",
    params(("key_id" = String, Path, description = "The key's id"), TenantQuery),
    responses((status = 200, body = RevokedKey))
)]
pub async fn revoke(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    Query(whose): Query<TenantQuery>,
) -> Result<Json<RevokedKey>, Problem> {
    let tenant = tenant(&cx, whose.tenant)?;
    app.accounts.revoke_key(&tenant, &id).await?;
    Ok(Json(RevokedKey { id, object: "api_key", revoked: true }))
}
