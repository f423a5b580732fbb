//! `POST /v1/toolgroups/{toolgroup_id}/authorize`; ids may contain slashes and `::`.

use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
};
use frontdesk_api::{Error, Kind};
use serde::Serialize;

use crate::{
    app::App,
    auth::Caller,
    http::{mcp::metadata::base, sign_in::PLACE},
    problem::Problem,
};

/// Where a person lets a tool group in.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ToolgroupAuthorization {
    #[schema(example = "toolgroup_authorization")]
    pub object: &'static str,
    pub toolgroup_id: String,
    /// To be opened in a browser.
    pub url: String,
    /// Seconds within which the person has to be back.
    pub expires_in: u64,
}

/// Sign in at the server of a tool group
///
/// For groups whose server asks for OAuth. Whoever opens the address and agrees there lets the group in with what they are
/// allowed; they come back to `/v1/toolgroup-sign-in`, which takes them once.
#[utoipa::path(
    post, path = "/v1/toolgroups/{*toolgroup_id}", tag = "tools",
    params(("toolgroup_id" = String, Path, description = "The group's id, and `/authorize` behind it")),
    responses((status = 200, body = ToolgroupAuthorization))
)]
pub async fn authorize(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Json<ToolgroupAuthorization>, Problem> {
    let Some(id) = path.strip_suffix("/authorize") else {
        let message = format!("there is no route POST /v1/toolgroups/{path}; /docs lists them");
        return Err(Error::new(Kind::NotFound, message).with_code("unknown_route").into());
    };
    let url = app.tools.authorize(&cx, id, &format!("{}{PLACE}", base(&headers))).await?;
    Ok(Json(ToolgroupAuthorization {
        object: "toolgroup_authorization",
        toolgroup_id: id.to_owned(),
        url,
        expires_in: frontdesk_tools::ATTEMPT.as_secs(),
    }))
}
