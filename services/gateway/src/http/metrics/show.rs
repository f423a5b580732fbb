//! `GET /metrics`.
//!
//! The numbers are the whole platform's, of all tenants together. Invariant: unless the operator opened them, they
//! are shown to a key of their own or to an administrator.

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use frontdesk_api::{Error, Kind};

use crate::{
    app::App,
    auth,
    config::MetricsAccess,
    problem::Problem,
    telemetry::{CONTENT_TYPE, Telemetry},
};

/// The numbers of this process
///
/// In Prometheus' text format. Takes `telemetry.metrics_key` or a key with the scope `admin`, unless
/// `telemetry.metrics` says otherwise.
#[utoipa::path(
    get, path = "/metrics", tag = "platform",
    responses((status = 200, description = "Prometheus' text format 0.0.4", content_type = "text/plain", body = String))
)]
pub async fn show(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let settings = &app.config.telemetry;
    match settings.metrics {
        MetricsAccess::Open => {}
        MetricsAccess::Key => auth::operator(&app, &headers, settings.metrics_key.as_deref())?,
        MetricsAccess::Off => {
            let error = Error::new(Kind::NotFound, "the metrics are switched off (telemetry.metrics)");
            return Err(error.with_code("metrics_off").into());
        }
    }
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], Telemetry::text(&app).await?).into_response())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use serde_json::json;

    use crate::testing::{Answer, Frames, TestGateway};

    const KEY: &str = "a-key-for-metrics-only";

    async fn asked(gateway: &TestGateway, key: Option<&str>) -> Answer {
        let mut request = Request::builder().uri("/metrics");
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        gateway.send(request.body(Body::empty()).expect("a request")).await
    }

    #[tokio::test]
    async fn a_scraper_has_a_key_that_opens_nothing_else() {
        let gateway = TestGateway::configured(&format!("telemetry: {{ metrics_key: {KEY} }}"), Frames::whole()).await;
        let answer = asked(&gateway, Some(KEY)).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["content-type"]),
            (200, &super::CONTENT_TYPE.parse().expect("a header"))
        );
        assert!(answer.text().contains("frontdesk_build_info"), "{}", answer.text());
        let elsewhere = Request::builder().uri("/v1/models").header("authorization", format!("Bearer {KEY}"));
        assert_eq!(gateway.send(elsewhere.body(Body::empty()).expect("a request")).await.status, 401);
        assert_eq!(gateway.get("/metrics").await.status, 200, "an administrator");
        assert_eq!(asked(&gateway, None).await.status, 401);
        assert_eq!(asked(&gateway, Some("a-key-for-metrics-onlz")).await.status, 401);
        let made = gateway.post("/v1/keys", &json!({ "name": "theirs", "scopes": ["write"] })).await;
        let theirs = made.json()["key"].as_str().expect("the key, shown once").to_owned();
        assert_eq!(asked(&gateway, Some(&theirs)).await.status, 403, "the numbers are all tenants'");
    }

    #[tokio::test]
    async fn without_a_key_of_their_own_an_empty_one_opens_nothing() {
        let gateway = TestGateway::start(Frames::whole()).await;
        assert_eq!(asked(&gateway, Some("")).await.status, 401);
    }

    #[tokio::test]
    async fn the_operator_may_open_them_or_switch_them_off() {
        let open = TestGateway::configured("telemetry: { metrics: open }", Frames::whole()).await;
        assert_eq!(asked(&open, None).await.status, 200);
        let off = TestGateway::configured("telemetry: { metrics: 'off' }", Frames::whole()).await;
        assert_eq!(off.get("/metrics").await.status, 404);
    }
}
