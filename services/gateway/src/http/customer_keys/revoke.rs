//! `DELETE /v1/customer-keys/{key_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;

use crate::{app::App, auth::Caller, problem::Problem};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RevokedCustomerKey {
    pub id: String,
    #[schema(example = "customer_key")]
    pub object: &'static str,
    pub revoked: bool,
}

/// Revoke a customer key
///
/// Tokens by it are refused from the moment this answers, at every process. Revoking again changes nothing.
#[utoipa::path(
    delete, path = "/v1/customer-keys/{key_id}", tag = "platform",
    params(("key_id" = String, Path, description = "The key's id")),
    responses((status = 200, body = RevokedCustomerKey))
)]
pub async fn revoke(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<RevokedCustomerKey>, Problem> {
    app.accounts.revoke_customer_key(&cx, &id).await?;
    Ok(Json(RevokedCustomerKey { id, object: "customer_key", revoked: true }))
}
