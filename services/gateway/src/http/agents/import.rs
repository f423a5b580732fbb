//! `POST /v1/agents/import`.

use axum::{Json, extract::State};
use frontdesk_api::Error;

use super::{document::WritingQuery, versions::VersionView, yaml};
use crate::{
    app::App,
    auth::Caller,
    http::extract::{Query, Raw},
    problem::Problem,
};

/// Import an agent from a YAML file
///
/// An agent of that name gets it as a draft (published at once with `?publish=true`); where there is none, one is
/// created, with its version 1 published.
#[utoipa::path(
    post, path = "/v1/agents/import", tag = "agents", params(WritingQuery),
    request_body(content = String, description = "The file, as export writes it", content_type = "application/yaml"),
    responses((status = 200, body = VersionView), (status = 409, description = "Another version is the newest"))
)]
pub async fn import(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(query): Query<WritingQuery>,
    Raw(body): Raw,
) -> Result<Json<VersionView>, Problem> {
    let text = std::str::from_utf8(&body).map_err(|_| Error::invalid("", "the file is not text in UTF-8"))?;
    let spec = yaml::read(text)?;
    let known = match &spec.name {
        Some(name) => app.agents.find_agent_named(&cx, name).await?,
        None => None,
    };
    let written = match known {
        Some(agent) => app.agents.write_version(&cx, &agent.id, &spec, &query.into()).await?,
        None => {
            if let Some(expected) = query.expected_newest {
                let name = spec.name.as_deref().unwrap_or_default();
                let message = format!("no agent named '{name}' is published, so {expected} is not its newest version");
                return Err(Error::conflict(message).with_code("version_changed").with_param("expected_newest").into());
            }
            let agent = app.agents.create_agent_noted(&cx, spec, query.note.as_deref()).await?;
            app.agents.load_version(&cx, &agent.id, agent.version).await?
        }
    };
    Ok(Json(VersionView::from(written)))
}
