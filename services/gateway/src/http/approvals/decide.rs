//! `POST /v1/approvals/{approval_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Deserialize;

use super::Approval;
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Word {
    approve: bool,
    /// For the model where the call is denied, and for the record; at most 2000 bytes.
    #[serde(default)]
    reason: Option<String>,
}

/// Approve or deny a call
///
/// The turn goes on, once nothing else of it is open: an approved call is made once, of a denied one the model reads
/// that a person denied it. The same word again gets the same answer, the other one is a conflict.
#[utoipa::path(
    post, path = "/v1/approvals/{approval_id}", tag = "agents", request_body = Word,
    params(("approval_id" = String, Path, description = "The approval's id")),
    responses((status = 200, body = Approval))
)]
pub async fn decide(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    extract::Json(word): extract::Json<Word>,
) -> Result<Json<Approval>, Problem> {
    Ok(Json(app.agents.decide(&cx, &id, word.approve, word.reason).await?.into()))
}
