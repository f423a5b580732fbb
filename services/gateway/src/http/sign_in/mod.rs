//! `GET /v1/toolgroup-sign-in`: a person who let a tool group in at its server comes back.
//!
//! Invariants: it needs no key, since a browser brings none, and so tells nothing of the installation but what the person
//! was sent for; what it says of strangers' words is escaped, and the page can load and run nothing.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use frontdesk_api::{Kind, sign_in::Brought};
use serde::Deserialize;

use super::{edge::Arrival, extract::Query};
use crate::app::App;

/// Where people come back to.
pub const PLACE: &str = "/v1/toolgroup-sign-in";

/// Bytes of a server's words that are shown.
const MOST_WORDS: usize = 500;

#[derive(Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Back {
    /// What the person was sent away with.
    #[serde(default)]
    state: String,
    code: Option<String>,
    /// The server that sends them back.
    iss: Option<String>,
    /// Why it let nobody in.
    error: Option<String>,
    error_description: Option<String>,
}

/// A person comes back from the server of a tool group
///
/// The redirect address of OAuth. Answers a page for them.
#[utoipa::path(
    get, path = "/v1/toolgroup-sign-in", tag = "tools", security(()), params(Back),
    responses((status = 200, description = "The group is let in", content_type = "text/html"))
)]
pub async fn back(
    State(app): State<App>,
    axum::Extension(arrival): axum::Extension<Arrival>,
    Query(back): Query<Back>,
) -> Response {
    let Back { state, code, iss, error, error_description } = back;
    let brought = match (code, error) {
        (Some(code), None) => Ok(Brought { code, iss }),
        (_, Some(error)) => {
            let said = [Some(error), error_description].into_iter().flatten().collect::<Vec<_>>().join(": ");
            Err(format!("the server let nobody in: {}", words(&said)))
        }
        (None, None) => Err("the server sent nothing along".to_owned()),
    };
    match app.tools.land(&arrival.id, &state, brought).await {
        Ok(landed) => {
            let id = &landed.group.id;
            page(StatusCode::OK, "Signed in", &format!("The tool group '{id}' is let in. You may close this page."))
        }
        Err(error) => {
            tracing::warn!(code = error.code, "a person came back from the server of a tool group: {error}");
            let status = match error.kind {
                Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
                Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::BAD_REQUEST,
            };
            page(status, "Not signed in", &error.message)
        }
    }
}

fn words(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MOST_WORDS).collect()
}

fn page(status: StatusCode, title: &str, said: &str) -> Response {
    let said = escaped(said);
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><h1>{title}</h1><p>{said}</p></html>"
    );
    let mut response = (status, body).into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The address holds what the person brought back.
        (header::REFERRER_POLICY, "no-referrer"),
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
