//! `/v1/openai/v1/…`: where Llama Stack's server keeps OpenAI's routes. A client that was pointed there finds here
//! whatever `/v1/…` has.
//!
//! Invariant: there is one list of routes; this prefix has none of its own.

use axum::{Extension, Router, extract::Request, routing::any};
use http::{Uri, uri::PathAndQuery};
use tower::ServiceExt;

use crate::http::edge::Arrival;

/// What stands before the path that is meant.
const PREFIX: &str = "/v1/openai";

/// All of its paths.
pub const TEMPLATE: &str = "/v1/openai/v1/{*rest}";

/// A router for the prefix over `routes`, which know nothing of it.
pub fn router<S: Clone + Send + Sync + 'static>(routes: Router) -> Router<S> {
    let serve = |Extension(arrival): Extension<Arrival>, request: Request| async move {
        let Ok(response) = routes.oneshot(meant(request, arrival)).await;
        response
    };
    Router::new().route(TEMPLATE, any(serve))
}

/// The request as it would have come without the prefix. What routing noted of it (the rest of the path as a
/// parameter) stays behind.
fn meant(request: Request, arrival: Arrival) -> Request {
    let (parts, body) = request.into_parts();
    let mut meant = Request::new(body);
    *meant.method_mut() = parts.method;
    *meant.version_mut() = parts.version;
    *meant.headers_mut() = parts.headers;
    *meant.uri_mut() = without_prefix(parts.uri);
    meant.extensions_mut().insert(arrival);
    meant
}

fn without_prefix(uri: Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let path = path.strip_prefix(PREFIX).and_then(|rest| rest.parse::<PathAndQuery>().ok());
    let mut parts = uri.into_parts();
    parts.path_and_query = path.or(parts.path_and_query);
    Uri::from_parts(parts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde_json::json;

    use crate::testing::{Frames, TestGateway};

    #[tokio::test]
    async fn every_route_is_found_behind_the_prefix_with_its_parameters_and_keys() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let question = json!({ "model": "up/echo", "messages": [{ "role": "user", "content": "hi" }] });
        let answer = gateway.post("/v1/openai/v1/chat/completions", &question).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (200, r#"{"id":"c1","choices":[],"x_vendor":{"kept":true}}"#)
        );
        let model = gateway.get("/v1/openai/v1/models/up/echo").await;
        assert_eq!((model.status.as_u16(), &model.json()["id"]), (200, &json!("up/echo")));
        assert_eq!(gateway.get("/v1/openai/v1/files?limit=1&order=asc").await.status, 200);

        let keyless = http::Request::get("/v1/openai/v1/models").body(Body::empty()).expect("a request");
        assert_eq!(gateway.send(keyless).await.status, 401);
        let method = gateway.get("/v1/openai/v1/chat/completions").await;
        assert_eq!((method.status.as_u16(), &method.headers["allow"]), (405, &http::HeaderValue::from_static("POST")));
        let unknown = gateway.get("/v1/openai/v1/nowhere").await;
        assert_eq!((unknown.status.as_u16(), &unknown.json()["error"]["code"]), (404, &json!("unknown_route")));
        assert_eq!(unknown.json()["request_id"], unknown.headers["x-request-id"].to_str().expect("text"));
        let twice = gateway.get("/v1/openai/v1/openai/v1/models").await;
        assert_eq!(twice.status, 404);
    }
}
