//! `/v1/toolgroup-sign-in/…`: a person lets a tool group in at its server.
//!
//! They begin at a page of ours that says for whom, go to the server, and come back. Invariants: it needs no key, since a
//! browser brings none, and so tells nothing of the installation but what the person was sent for; nobody is sent on but by
//! a form of that page; what it says of strangers' words is escaped, and no page can load or run anything.

pub mod back;
pub mod begin;
#[cfg(test)]
mod tests;

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use frontdesk_api::{Error, Kind, Result};

use crate::{app::App, config::PublicUrl};

/// Where people come back to, and behind it the group's own part.
const PLACE: &str = "/v1/toolgroup-sign-in";

/// Where the people of a group come back to.
///
/// # Errors
/// As [`PublicUrl::of`].
pub fn redirect_uri(app: &App, headers: &HeaderMap, place: &str) -> Result<String> {
    let base = app.config.public_url.clone().map_or_else(|| PublicUrl::of(headers), Ok)?;
    Ok(format!("{}{PLACE}/{place}", base.as_str()))
}

/// What the browser that said yes keeps of it. Over TLS no other host of the domain can set it (RFC 6265bis, `__Host-`).
fn cookie_name(app: &App, place: &str) -> String {
    let tls = app.config.public_url.as_ref().is_some_and(|url| url.as_str().starts_with("https:"));
    format!("{}frontdesk-sign-in-{place}", if tls { "__Host-" } else { "" })
}

/// The value of a cookie.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(given, _)| *given == name).map(|(_, value)| value)
}

/// A page that says why not.
fn failed(error: &Error) -> Response {
    tracing::warn!(code = error.code, "nobody was let in at the server of a tool group: {error}");
    let status = match error.kind {
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    page(status, "Not signed in", &format!("<p>{}</p>", escaped(&error.message)))
}

/// `body`: escaped.
fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><h1>{title}</h1>{body}</html>"
    );
    let mut response = (status, body).into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        // Nothing of forms: some browsers hold it against where the form leads on to.
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The address holds what the person is known by. Where none goes along at all, a form says no origin either.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
