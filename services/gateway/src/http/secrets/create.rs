//! `POST /v1/secrets`.

use axum::{Json, extract::State, http::StatusCode};
use frontdesk_api::{Error, Result, egress::HostRule};
use serde::Deserialize;

use super::SecretShown;
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

/// Not `Debug`: it holds a secret.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutSecret {
    /// What tool groups name it by: 1 to 64 letters, digits and `.` `_` `-`.
    #[schema(example = "crm_token")]
    name: String,
    /// 8 to 4096 visible ASCII characters; for HTTP Basic `user:password`.
    value: String,
    /// Where it may be sent: `api.crm.example`, `*.crm.example`, `http://10.0.0.7:8080`. Without a scheme: https.
    hosts: Vec<String>,
}

/// Keep a secret for tools, or put another value and other hosts in its place
///
/// It is sealed before it is stored and never shown again. Tools name it; the platform writes it into their requests,
/// to its hosts alone, and strikes it out of what comes back.
#[utoipa::path(
    post, path = "/v1/secrets", tag = "tools", request_body = PutSecret,
    responses((status = 201, body = SecretShown))
)]
pub async fn create(
    State(app): State<App>,
    Caller(cx): Caller,
    extract::Json(PutSecret { name, value, hosts }): extract::Json<PutSecret>,
) -> Result<(StatusCode, Json<SecretShown>), Problem> {
    let rules = hosts
        .iter()
        .enumerate()
        .map(|(i, host)| host.parse::<HostRule>().map_err(|wrong| Error::invalid(format!("hosts[{i}]"), wrong)));
    let rules = rules.collect::<Result<Vec<_>>>()?;
    Ok((StatusCode::CREATED, Json(app.accounts.put_secret(&cx, &name, &value, rules).await?.into())))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde_json::json;

    use crate::testing::{Frames, TestGateway};

    #[tokio::test]
    async fn a_value_is_in_no_answer_and_what_is_wrong_is_named() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let body =
            json!({ "name": "crm", "value": "hunter2-hunter2", "hosts": ["api.crm.example", "*.crm.example:8443"] });
        let kept = gateway.post("/v1/secrets", &body).await;
        assert_eq!(kept.status, 201, "{}", kept.text());
        assert_eq!(kept.json()["hosts"], body["hosts"]);
        for answer in [kept, gateway.get("/v1/secrets").await, gateway.get("/v1/secrets/crm").await] {
            assert!(answer.text().contains("crm") && !answer.text().contains("hunter2"), "{}", answer.text());
        }
        for (change, param) in [
            (json!({ "hosts": ["*.com"] }), "hosts[0]"),
            (json!({ "hosts": ["a.example", "https://a.example/x"] }), "hosts[1]"),
            (json!({ "hosts": [] }), "hosts"),
            (json!({ "value": "hunter2" }), "value"),
            (json!({ "name": "a/b" }), "name"),
        ] {
            let mut wrong = body.clone();
            wrong.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
            let answer = gateway.post("/v1/secrets", &wrong).await;
            assert_eq!((answer.status.as_u16(), answer.json()["error"]["param"].as_str()), (400, Some(param)));
            assert!(!answer.text().contains("hunter2"), "{}", answer.text());
        }
        let delete = || gateway.request("DELETE", "/v1/secrets/crm").body(Body::empty()).expect("a request");
        assert_eq!(gateway.send(delete()).await.status, 200);
        let gone = gateway.send(delete()).await;
        assert_eq!((gone.status.as_u16(), gone.json()["error"]["code"].as_str()), (404, Some("secret_not_found")));
    }
}
