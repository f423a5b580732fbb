//! `GET /v1/toolgroup-sign-in/{place}`: a person comes back from the server of a tool group.

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use frontdesk_api::sign_in::Brought;
use serde::Deserialize;

use super::{cookie, cookie_name, escaped, failed, page};
use crate::{
    app::App,
    http::{edge::Arrival, extract::Query},
};

/// Characters of a server's words that are shown.
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
    get, path = "/v1/toolgroup-sign-in/{place}", tag = "tools", security(()),
    params(("place" = String, Path, description = "The group's"), Back),
    responses((status = 200, description = "The group is let in", content_type = "text/html"))
)]
pub async fn back(
    State(app): State<App>,
    axum::Extension(arrival): axum::Extension<Arrival>,
    Path(place): Path<String>,
    Query(back): Query<Back>,
    headers: HeaderMap,
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
    let name = cookie_name(&app, &place);
    match Box::pin(app.tools.land(&arrival.id, &place, &state, cookie(&headers, &name), brought)).await {
        Ok(landed) => {
            let id = escaped(&landed.group.id);
            page(
                StatusCode::OK,
                "Signed in",
                &format!("<p>The tool group '{id}' is let in. You may close this page.</p>"),
            )
        }
        Err(error) => failed(&error),
    }
}

fn words(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MOST_WORDS).collect()
}
