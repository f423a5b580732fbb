//! `POST /v1/customer-keys`.

use axum::{Json, extract::State, http::StatusCode};
use frontdesk_accounts::{CustomerKeyRequest, Material};
use frontdesk_api::{Error, Result, customer::Algorithm};
use serde::{Deserialize, Serialize};

use super::CustomerKeyInfo;
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

/// Not `Debug`: it may hold a secret.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCustomerKey {
    /// What the header of a token calls it, 1 to 256 visible ASCII characters; left out: the key's id.
    #[serde(default)]
    kid: Option<String>,
    algorithm: Algorithm,
    /// What `aud` of a token must be or hold.
    #[schema(example = "shop")]
    audience: String,
    /// What `iss` must be; left out: it is not looked at.
    #[serde(default)]
    issuer: Option<String>,
    /// HS256: 32 to 1024 bytes, as they stand; left out: one is drawn and shown this once.
    #[serde(default)]
    secret: Option<String>,
    /// EdDSA: an Ed25519 key in PEM (`BEGIN PUBLIC KEY`), or the `x` of its JWK.
    #[serde(default)]
    public_key: Option<String>,
}

impl CreateCustomerKey {
    fn material(algorithm: Algorithm, secret: Option<String>, public_key: Option<String>) -> Result<Material> {
        match (algorithm, secret, public_key) {
            (Algorithm::Hs256, secret, None) => Ok(Material::Secret(secret)),
            (Algorithm::EdDsa, None, Some(key)) => Ok(Material::PublicKey(key)),
            (Algorithm::Hs256, _, Some(_)) => Err(Error::invalid("public_key", "an HS256 key has a secret alone")),
            (Algorithm::EdDsa, Some(_), _) => Err(Error::invalid("secret", "an EdDSA key has a public_key alone")),
            (Algorithm::EdDsa, None, None) => Err(Error::invalid("public_key", "an EdDSA key needs its public_key")),
        }
    }
}

/// A new key; `secret` is there where it was drawn here, this once.
#[derive(Serialize, utoipa::ToSchema)]
pub struct CreatedCustomerKey {
    #[serde(flatten)]
    info: CustomerKeyInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// Add a key that customers' tokens are verified with
///
/// Several may be alive, so keys change without a gap. What is stored of a key is sealed and never shown again.
#[utoipa::path(
    post, path = "/v1/customer-keys", tag = "platform", request_body = CreateCustomerKey,
    responses((status = 201, body = CreatedCustomerKey))
)]
pub async fn create(
    State(app): State<App>,
    Caller(cx): Caller,
    extract::Json(wanted): extract::Json<CreateCustomerKey>,
) -> Result<(StatusCode, Json<CreatedCustomerKey>), Problem> {
    let CreateCustomerKey { kid, algorithm, audience, issuer, secret, public_key } = wanted;
    let material = CreateCustomerKey::material(algorithm, secret, public_key)?;
    let (key, secret) =
        app.accounts.add_customer_key(&cx, CustomerKeyRequest { kid, audience, issuer, material }).await?;
    Ok((StatusCode::CREATED, Json(CreatedCustomerKey { info: key.into(), secret })))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde_json::json;

    use crate::testing::{Frames, TestGateway};

    #[tokio::test]
    async fn a_secret_is_shown_once_where_it_was_drawn_and_never_where_it_was_given() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let drawn = gateway.post("/v1/customer-keys", &json!({ "algorithm": "HS256", "audience": "shop" })).await;
        assert_eq!(drawn.status, 201, "{}", drawn.text());
        let drawn = drawn.json();
        let (id, secret) = (drawn["id"].as_str().expect("an id"), drawn["secret"].as_str().expect("a secret"));
        assert_eq!((drawn["kid"].as_str(), secret.len()), (Some(id), 43));
        let mine = "mine-mine-mine-mine-mine-mine-32b";
        let body = json!({ "algorithm": "HS256", "audience": "shop", "kid": "web", "secret": mine });
        let given = gateway.post("/v1/customer-keys", &body).await;
        assert!(given.status == 201 && !given.text().contains(mine), "{}", given.text());
        let again = gateway.post("/v1/customer-keys", &body).await;
        assert_eq!((again.status.as_u16(), again.json()["error"]["code"].as_str()), (409, Some("customer_key_exists")));
        let listed = gateway.get("/v1/customer-keys").await;
        assert!(!listed.text().contains(mine) && !listed.text().contains(secret), "{}", listed.text());
        assert_eq!(listed.json()["data"].as_array().map(Vec::len), Some(2));
        let path = format!("/v1/customer-keys/{id}");
        let revoked = gateway.send(gateway.request("DELETE", &path).body(Body::empty()).expect("a request")).await;
        assert_eq!(revoked.status, 200);
        let gone = gateway.request("DELETE", "/v1/customer-keys/ck_none").body(Body::empty()).expect("a request");
        let gone = gateway.send(gone).await;
        assert_eq!(
            (gone.status.as_u16(), gone.json()["error"]["code"].as_str()),
            (404, Some("customer_key_not_found"))
        );
    }

    #[tokio::test]
    async fn a_bad_request_names_its_member() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let rsa = "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK\n-----END PUBLIC KEY-----\n";
        for (body, param) in [
            (json!({ "algorithm": "HS256", "audience": "" }), "audience"),
            (json!({ "algorithm": "HS256", "audience": "a", "issuer": "\n" }), "issuer"),
            (json!({ "algorithm": "none", "audience": "a" }), "algorithm"),
            (json!({ "algorithm": "HS256", "audience": "a", "secret": "too short" }), "secret"),
            (json!({ "algorithm": "HS256", "audience": "a", "kid": "a b" }), "kid"),
            (json!({ "algorithm": "HS256", "audience": "a", "public_key": "x" }), "public_key"),
            (json!({ "algorithm": "EdDSA", "audience": "a" }), "public_key"),
            (json!({ "algorithm": "EdDSA", "audience": "a", "public_key": rsa }), "public_key"),
            (json!({ "algorithm": "EdDSA", "audience": "a", "public_key": "AAAA" }), "public_key"),
            (json!({ "algorithm": "EdDSA", "audience": "a", "secret": "x" }), "secret"),
        ] {
            let answer = gateway.post("/v1/customer-keys", &body).await;
            let error = answer.json();
            assert_eq!(
                (answer.status.as_u16(), error["error"]["param"].as_str()),
                (400, Some(param)),
                "{body} {error}"
            );
        }
    }
}
