//! `/v1/openai/v1/…`: where Llama Stack's server keeps OpenAI's routes. A client that was pointed there finds here
//! whatever `/v1/…` has.
//!
//! Invariant: there is one list of routes; this prefix has none of its own. It is taken off before anything looks at
//! the path, so keys, logs and metrics know the routes themselves only.

use std::task::{Context, Poll};

use axum::Router;
use http::{Request, Uri, uri::PathAndQuery};
use tower::Service;

/// What stands before the path that is meant.
const PREFIX: &str = "/v1/openai";

/// The routes, with and without the prefix.
#[derive(Clone)]
pub struct Prefixed(Router);

impl Prefixed {
    pub(super) fn new(routes: Router) -> Self {
        Self(routes)
    }
}

impl<B> Service<Request<B>> for Prefixed
where
    Router: Service<Request<B>>,
{
    type Response = <Router as Service<Request<B>>>::Response;
    type Error = <Router as Service<Request<B>>>::Error;
    type Future = <Router as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(meant) = without_prefix(request.uri()) {
            *request.uri_mut() = meant;
        }
        self.0.call(request)
    }
}

/// None: it has no prefix.
fn without_prefix(uri: &Uri) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(PREFIX)?;
    if !rest.starts_with("/v1/") {
        return None;
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(rest.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
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
        let method = gateway.get("/v1/openai/v1/embeddings").await;
        assert_eq!((method.status.as_u16(), &method.headers["allow"]), (405, &http::HeaderValue::from_static("POST")));
        let unknown = gateway.get("/v1/openai/v1/nowhere").await;
        assert_eq!((unknown.status.as_u16(), &unknown.json()["error"]["code"]), (404, &json!("unknown_route")));
        assert_eq!(unknown.json()["request_id"], unknown.headers["x-request-id"].to_str().expect("text"));
        let twice = gateway.get("/v1/openai/v1/openai/v1/models").await;
        assert_eq!(twice.status, 404);
    }
}
