//! `/v1/toolgroup-sign-in/{place}/begin`: what a person is asked for, and their yes.

use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use frontdesk_api::{Error, Kind, Result};
use frontdesk_tools::{ATTEMPT, Visit};
use serde::Deserialize;

use super::{cookie_name, escaped, failed, page};
use crate::{app::App, http::extract::Query};

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Begin {
    /// What the person is known by.
    #[serde(default)]
    state: String,
}

/// What a person is asked for who lets a tool group in
///
/// Answers a page with tenant, tool group and server, and a form that goes on.
#[utoipa::path(
    get, path = "/v1/toolgroup-sign-in/{place}/begin", tag = "tools", security(()),
    params(("place" = String, Path, description = "The group's"), Begin),
    responses((status = 200, description = "The page", content_type = "text/html"))
)]
pub async fn show(State(app): State<App>, Path(place): Path<String>, Query(begin): Query<Begin>) -> Response {
    match app.tools.visit(&place, &begin.state).await {
        Ok(visit) => page(StatusCode::OK, "Let a tool group in", &asked(&visit)),
        Err(error) => failed(&error),
    }
}

/// A person says yes, and is sent to the server
///
/// By the form of the page alone.
#[utoipa::path(
    post, path = "/v1/toolgroup-sign-in/{place}/begin", tag = "tools", security(()),
    params(("place" = String, Path, description = "The group's"), Begin),
    responses((status = 303, description = "To the server"))
)]
pub async fn go(
    State(app): State<App>,
    Path(place): Path<String>,
    Query(begin): Query<Begin>,
    headers: HeaderMap,
) -> Response {
    let visit = app.tools.visit(&place, &begin.state).await;
    visit.and_then(|visit| sent(&visit, &cookie_name(&app, &place), &headers)).unwrap_or_else(|error| failed(&error))
}

fn sent(visit: &Visit, cookie: &str, headers: &HeaderMap) -> Result<Response> {
    // A page elsewhere could send whoever visits it past what they have to read.
    let from = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    if from.is_none_or(|from| Some(from) != origin(&visit.redirect_uri).as_deref()) {
        let message = "this goes on from the page of this server alone: open the address that you were given";
        return Err(Error::new(Kind::Forbidden, message).with_code("another_origin"));
    }
    let secure = if cookie.starts_with("__Host-") { "; Secure" } else { "" };
    let seconds = ATTEMPT.as_secs();
    let kept = format!("{cookie}={}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}", visit.cookie);
    let header = |text: &str| {
        HeaderValue::from_str(text).map_err(|_| Error::upstream("the server's address is none that a browser can open"))
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    let to = response.headers_mut();
    to.insert(header::LOCATION, header(&visit.url)?);
    to.insert(header::SET_COOKIE, header(&kept)?);
    to.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    to.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

fn origin(address: &str) -> Option<String> {
    let uri: Uri = address.parse().ok()?;
    Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?))
}

fn asked(visit: &Visit) -> String {
    let Visit { tenant, group, server, issuer, .. } = visit;
    let [tenant, group, server, issuer] = [tenant, group, server, issuer].map(|text| escaped(text));
    format!(
        "<p>The tool group <b>{group}</b> of the tenant <b>{tenant}</b> wants to use <b>{server}</b> as you. You agree to that \
         at <b>{issuer}</b>, and whoever uses the tool group then does there what you may do.</p>\
         <p>Go on only if you asked for this yourself.</p>\
         <form method=\"post\"><button>Go on to {issuer}</button></form>"
    )
}
