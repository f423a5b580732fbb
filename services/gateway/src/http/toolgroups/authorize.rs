//! `POST /v1/toolgroups/{toolgroup_id}/authorize`; ids may contain slashes and `::`.

use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
};
use frontdesk_api::{Error, Kind};
use serde::Serialize;

use crate::{app::App, auth::Caller, http::sign_in::redirect_uri, problem::Problem};

/// Where a person lets a tool group in.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ToolgroupAuthorization {
    #[schema(example = "toolgroup_authorization")]
    pub object: &'static str,
    pub toolgroup_id: String,
    /// To be opened in a browser.
    pub url: String,
    /// Where they come back to; a client that the operator registers at the authorization server has to name it.
    pub redirect_uri: String,
    /// Seconds within which the person has to be back.
    pub expires_in: u64,
}

/// Sign in at the server of a tool group
///
/// For groups whose server asks for OAuth. Whoever opens the address is shown what it is for; whoever agrees there and at
/// the server lets the group in with what they are allowed. They come back to `redirect_uri`, which takes them once, in the
/// same browser.
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
    let redirect_uri = redirect_uri(&app, &headers, &app.tools.sign_in_place(&cx, id))?;
    let state = app.tools.authorize(&cx, id, &redirect_uri).await?;
    Ok(Json(ToolgroupAuthorization {
        object: "toolgroup_authorization",
        toolgroup_id: id.to_owned(),
        url: format!("{redirect_uri}/begin?state={state}"),
        redirect_uri,
        expires_in: frontdesk_tools::ATTEMPT.as_secs(),
    }))
}
