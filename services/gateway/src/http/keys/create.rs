//! `POST /v1/keys`.

use axum::{Json, extract::State, http::StatusCode};
use frontdesk_accounts::KeyRequest;
use frontdesk_api::{Error, Scope};
use serde::{Deserialize, Serialize};

use super::{KeyInfo, tenant};
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// For people, 1 to 200 characters.
    name: String,
    /// What it may do; `["use"]` where it is left out.
    #[serde(default = "only_use")]
    scopes: Vec<Scope>,
    /// Unix seconds; left out: it never expires.
    #[serde(default)]
    expires_at: Option<i64>,
    /// Another tenant than the caller's own; only for the operator's admins.
    #[serde(default)]
    tenant: Option<String>,
}

fn only_use() -> Vec<Scope> {
    vec![Scope::Use]
}

/// A new key with its text, which is shown this once.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CreatedKey {
    #[serde(flatten)]
    info: KeyInfo,
    /// The key itself.
    key: String,
}

/// Make an API key
///
/// The answer holds the key's text; it is kept nowhere and never shown again.
#[utoipa::path(
    post, path = "/v1/keys", tag = "platform", request_body = CreateKey,
    responses((status = 201, body = CreatedKey))
)]
pub async fn create(
    State(app): State<App>,
    Caller(cx): Caller,
    extract::Json(wanted): extract::Json<CreateKey>,
) -> Result<(StatusCode, Json<CreatedKey>), Problem> {
    let tenant = tenant(&cx, wanted.tenant)?;
    let too_far = || Error::invalid("expires_at", "expires_at is unix seconds and this is beyond any date");
    let expires_at = wanted.expires_at.map(|s| s.checked_mul(1_000_000).ok_or_else(too_far)).transpose()?;
    let request = KeyRequest { name: wanted.name, scopes: wanted.scopes, expires_at };
    let made = app.accounts.create_key(&tenant, request).await?;
    Ok((StatusCode::CREATED, Json(CreatedKey { info: made.key.into(), key: made.secret })))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde_json::json;

    use crate::testing::{Frames, TestGateway};

    #[tokio::test]
    async fn a_key_opens_what_its_scope_says_until_it_is_revoked() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let made = gateway.post("/v1/keys", &json!({ "name": "shop" })).await;
        assert_eq!(made.status, 201);
        let made = made.json();
        let (id, key) = (made["id"].as_str().expect("id"), made["key"].as_str().expect("key"));
        let with = |method: &str, path: &str| {
            gateway
                .request(method, path)
                .header("authorization", "")
                .header("x-api-key", key)
                .body(Body::empty())
                .expect("a request")
        };
        let listed = gateway.get("/v1/keys").await;
        assert!(!listed.text().contains(key), "a list never shows a key");
        // The request builder's admin key comes first, so ask without it.
        let ask = |method: &str, path: &str| {
            let mut request = with(method, path);
            request.headers_mut().remove("authorization");
            request
        };
        assert_eq!(gateway.send(ask("GET", "/v1/models")).await.status, 200);
        let refused = gateway.send(ask("GET", "/v1/keys")).await;
        assert_eq!(refused.status, 403);
        assert!(refused.text().contains("'admin'"), "{}", refused.text());
        let revoked = gateway
            .send(gateway.request("DELETE", &format!("/v1/keys/{id}")).body(Body::empty()).expect("a request"))
            .await;
        assert_eq!(revoked.status, 200);
        let closed = gateway.send(ask("GET", "/v1/models")).await;
        assert_eq!((closed.status.as_u16(), closed.json()["error"]["code"].as_str()), (401, Some("revoked_api_key")));
    }

    #[tokio::test]
    async fn a_tenants_admin_sees_and_makes_only_its_own_keys() {
        let gateway = TestGateway::start(Frames::whole()).await;
        assert_eq!(gateway.post("/v1/tenants", &json!({ "id": "shop-b", "name": "Shop B" })).await.status, 201);
        let made =
            gateway.post("/v1/keys", &json!({ "name": "b", "scopes": ["admin"], "tenant": "shop-b" })).await.json();
        let key = made["key"].as_str().expect("key").to_owned();
        let ask = |method: &str, path: &str, body: String| {
            let mut request = gateway.request(method, path).body(Body::from(body)).expect("a request");
            request.headers_mut().insert("authorization", format!("Bearer {key}").parse().expect("a header"));
            request
        };
        let own = gateway.send(ask("GET", "/v1/keys", String::new())).await.json();
        assert_eq!(own["data"].as_array().expect("a list").len(), 1);
        for request in [
            ask("GET", "/v1/keys?tenant=default", String::new()),
            ask("DELETE", "/v1/keys/key_operator?tenant=default", String::new()),
            ask("DELETE", "/v1/keys/key_operator", String::new()),
            ask("POST", "/v1/keys", json!({ "name": "x", "tenant": "default" }).to_string()),
        ] {
            let what = format!("{} {}", request.method(), request.uri());
            assert_eq!(gateway.send(request).await.status, 404, "{what}");
        }
        assert_eq!(gateway.send(ask("GET", "/v1/tenants", String::new())).await.status, 403);
        assert_eq!(gateway.get("/v1/models").await.status, 200, "the operator's key still opens");
    }

    #[tokio::test]
    async fn a_bad_request_names_its_member() {
        let gateway = TestGateway::start(Frames::whole()).await;
        for (body, param) in [
            (json!({ "name": "" }), "name"),
            (json!({ "name": "x", "scopes": [] }), "scopes"),
            (json!({ "name": "x", "scopes": ["root"] }), "scopes[0]"),
            (json!({ "name": "x", "expires_at": 5 }), "expires_at"),
            (json!({ "name": "x", "expires_at": i64::MAX }), "expires_at"),
            (json!({ "nam": "x" }), "nam"),
        ] {
            let answer = gateway.post("/v1/keys", &body).await;
            assert_eq!(
                (answer.status.as_u16(), answer.json()["error"]["param"].as_str()),
                (400, Some(param)),
                "{body}"
            );
        }
    }
}
