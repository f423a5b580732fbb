//! The page at `/`: make an agent, talk to it, see each step. Three static files in the binary.
//!
//! Invariant: nothing on it comes from another address (the content security policy holds it to that),
//! and it holds no secret: every call it makes carries the visitor's key.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The console page
#[utoipa::path(get, path = "/", tag = "platform", security(()), responses((status = 200, description = "The console page", content_type = "text/html")))]
pub async fn page() -> Response {
    file("text/html; charset=utf-8", include_str!("page.html"))
}

/// The console page's style
#[utoipa::path(get, path = "/assets/console.css", tag = "platform", security(()), responses((status = 200, description = "Its style", content_type = "text/css")))]
pub async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("console.css"))
}

/// The console page's behaviour
#[utoipa::path(get, path = "/assets/console.js", tag = "platform", security(()), responses((status = 200, description = "Its behaviour", content_type = "text/javascript")))]
pub async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("console.js"))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
