//! `POST /v1/containers`: one that is made beforehand, which a tool of a response names by its id.

use axum::{Json, extract::State};
use frontdesk_api::{Error, Result, code};
use serde::Deserialize;
use serde_json::Value;

use super::ContainerInfo;
use crate::{
    app::App,
    auth::Caller,
    http::extract::{self, NoQuery},
    problem::Problem,
};

/// Longest name, in bytes.
const LONGEST: usize = 255;

/// The minutes a container may be kept after its last use: 90 days at most.
const MINUTES: std::ops::RangeInclusive<i64> = 1..=129_600;

/// Files that are copied into it at once.
const MOST_FILES: usize = 50;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateContainer {
    name: String,
    /// 30 days after its last use where it is left out.
    #[serde(default)]
    expires_after: Option<Expires>,
    /// Uploaded files that are copied into it.
    #[serde(default)]
    file_ids: Vec<String>,
    /// `disabled`: code has no network.
    #[serde(default)]
    network_policy: Option<Value>,
    /// Not supported: code runs under the limits of this installation.
    #[serde(default)]
    memory_limit: Option<Value>,
    /// Not supported.
    #[serde(default)]
    skills: Option<Value>,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Expires {
    /// `last_active_at`.
    anchor: String,
    minutes: i64,
}

impl CreateContainer {
    /// How many minutes it is kept after its last use.
    fn read(&self) -> Result<i64> {
        if self.name.is_empty() || self.name.len() > LONGEST || self.name.contains('\0') {
            return Err(Error::invalid("name", format!("name has 1 to {LONGEST} bytes, none of them zero")));
        }
        if self.file_ids.len() > MOST_FILES {
            return Err(Error::invalid("file_ids", format!("file_ids names at most {MOST_FILES} files")));
        }
        let disabled = self.network_policy.as_ref().is_none_or(|policy| policy["type"] == "disabled");
        for (name, asked) in [
            ("memory_limit", self.memory_limit.is_some()),
            ("network_policy", !disabled),
            ("skills", self.skills.is_some()),
        ] {
            if asked {
                let message = format!(
                    "'{name}' is not supported: code runs under the limits of this installation, without a network"
                );
                return Err(Error::invalid(name, message).with_code("unsupported_parameter"));
            }
        }
        match &self.expires_after {
            None => Ok(i64::try_from(code::KEEP.as_secs() / 60).unwrap_or(i64::MAX)),
            Some(after) if after.anchor == "last_active_at" && MINUTES.contains(&after.minutes) => Ok(after.minutes),
            Some(_) => {
                let message = format!(
                    "expires_after has the anchor 'last_active_at' and {} to {} minutes",
                    MINUTES.start(),
                    MINUTES.end()
                );
                Err(Error::invalid("expires_after", message))
            }
        }
    }
}

/// Make a container
///
/// A response's code runs in it where its tool says `"container": "cntr_…"`. It is the customer's who is named by the
/// request's token.
#[utoipa::path(
    post, path = "/v1/containers", tag = "responses",
    request_body = CreateContainer, responses((status = 200, body = ContainerInfo))
)]
pub async fn create(
    State(app): State<App>,
    Caller(cx): Caller,
    _: NoQuery,
    extract::Json(body): extract::Json<CreateContainer>,
) -> std::result::Result<Json<ContainerInfo>, Problem> {
    let minutes = body.read()?;
    // All of them must be there before anything is made.
    for file in &body.file_ids {
        app.knowledge.load_file(&cx, file).await.map_err(|e| e.with_param("file_ids"))?;
    }
    let container = app.agents.make_container(&cx, &body.name, minutes).await?;
    for file in &body.file_ids {
        if let Err(error) = app.knowledge.copy_into_container(&cx, &container.id, file).await {
            app.agents.delete_container(&cx, &container.id).await?;
            return Err(error.with_param("file_ids").into());
        }
    }
    Ok(Json(container.into()))
}
