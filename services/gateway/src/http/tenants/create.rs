//! `POST /v1/tenants`.

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;

use super::{TenantInfo, operator};
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTenant {
    /// a to z, digits, `-` and `_`, at most 63; left out: one is made.
    #[serde(default)]
    id: Option<String>,
    /// For people, 1 to 200 characters.
    name: String,
}

/// Make a tenant
#[utoipa::path(
    post, path = "/v1/tenants", tag = "platform", request_body = CreateTenant,
    responses((status = 201, body = TenantInfo))
)]
pub async fn create(
    State(app): State<App>,
    Caller(cx): Caller,
    extract::Json(wanted): extract::Json<CreateTenant>,
) -> Result<(StatusCode, Json<TenantInfo>), Problem> {
    operator(&cx, "see and make tenants")?;
    let made = app.accounts.create_tenant(wanted.id.as_deref(), &wanted.name).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{Frames, TestGateway};

    #[tokio::test]
    async fn a_tenants_id_is_taken_once() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let body = json!({ "id": "shop", "name": "Shop" });
        insta::assert_snapshot!(gateway.post("/v1/tenants", &body).await.shown(), @r#"
        201
        {
          "id": "shop",
          "object": "tenant",
          "name": "Shop",
          "created_at": 1795492101
        }
        "#);
        assert_eq!(gateway.post("/v1/tenants", &body).await.status, 409);
        assert_eq!(gateway.post("/v1/tenants", &json!({ "id": "No!", "name": "x" })).await.status, 400);
        let listed = gateway.get("/v1/tenants?order=asc").await.json();
        assert_eq!((listed["data"][0]["id"].as_str(), listed["last_id"].as_str()), (Some("default"), Some("shop")));
    }
}
