//! Where a client learns how to ask at `/mcp` (RFC 9728, "OAuth 2.0 Protected Resource Metadata").

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use serde_json::{Value, json};

use crate::app::App;

/// The route that this is about.
const ROUTE: &str = "/mcp";

/// Where its metadata are (RFC 9728, section 3.1: behind the well-known name stands the resource's path).
const PLACE: &str = "/.well-known/oauth-protected-resource/mcp";

/// How to ask at /mcp
///
/// OAuth's metadata of a protected resource: keys of this server are bearer tokens, and no other server gives any.
#[utoipa::path(
    get, path = "/.well-known/oauth-protected-resource", tag = "mcp", security(()),
    responses((status = 200, description = "RFC 9728's metadata", body = Value))
)]
pub async fn root(State(app): State<App>, headers: HeaderMap) -> Json<Value> {
    Json(metadata(&base(&app, &headers)))
}

/// How to ask at /mcp, under the name that stands for it
#[utoipa::path(
    get, path = "/.well-known/oauth-protected-resource/mcp", tag = "mcp", security(()),
    responses((status = 200, description = "RFC 9728's metadata", body = Value))
)]
pub async fn at_mcp(State(app): State<App>, headers: HeaderMap) -> Json<Value> {
    Json(metadata(&base(&app, &headers)))
}

fn metadata(base: &str) -> Value {
    json!({
        "resource": format!("{base}{ROUTE}"),
        "resource_name": "Frontdesk",
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["use"],
        "authorization_servers": [],
    })
}

/// As the operator says; else as the client reached us.
fn base(app: &App, headers: &HeaderMap) -> String {
    if let Some(said) = &app.config.public_url {
        return said.as_str().to_owned();
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST.as_str()).unwrap_or("localhost");
    // Behind a proxy that speaks TLS.
    let scheme = if text("x-forwarded-proto") == Some("https") { "https" } else { "http" };
    format!("{scheme}://{host}")
}

/// What a client without a key hears beside 401; None at other routes.
pub fn challenge(app: &App, request: &Request) -> Option<HeaderValue> {
    let here = request.uri().path() == ROUTE;
    let value = here.then(|| format!("Bearer resource_metadata=\"{}{PLACE}\"", base(app, request.headers())))?;
    value.parse().ok()
}

/// Puts it there.
pub fn challenged<B>(response: &mut Response<B>, challenge: Option<HeaderValue>) {
    if let Some(challenge) = challenge.filter(|_| response.status() == StatusCode::UNAUTHORIZED) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
}
