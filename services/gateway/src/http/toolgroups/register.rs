//! `POST /v1/toolgroups`.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use frontdesk_api::Error;
use frontdesk_tools::{Override, Preview, Registration, Trust};
use frontdesk_wire::llama_stack::tool::{RegisterToolgroup, Tool, ToolGroup, tool};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::shown;
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DryRun {
    /// Show what would come of it, and register nothing.
    #[serde(default)]
    dry_run: bool,
}

/// The registered group, or what a dry run shows.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Registered {
    Group(Box<ToolGroup>),
    Preview(Box<ToolgroupPreview>),
}

/// What a registration would come to.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ToolgroupPreview {
    /// Always true.
    pub dry_run: bool,
    pub toolgroup: ToolGroup,
    pub tools: Vec<Tool>,
    /// Powers it asks for; all of them are granted.
    pub requests: Vec<String>,
    /// What the provider says: hosts and secrets that its tools ask for, what was left out and why.
    #[schema(value_type = Option<Object>)]
    pub report: Value,
}

impl ToolgroupPreview {
    fn of(cx: &frontdesk_api::Cx, preview: Preview) -> Self {
        let provider = &preview.group.provider_id;
        Self {
            dry_run: true,
            toolgroup: shown(cx, &preview.group),
            tools: preview.tools.iter().map(|def| tool(def, provider)).collect(),
            requests: preview.requests,
            report: preview.report,
        }
    }
}

/// Register a tool group, or register it anew
///
/// For a component: `provider_id: "wasm"` and `args: {"component": FILE_ID, "grants": ["kv"]}`. It is
/// compiled and looked into now; a power it asks for and was not granted is refused by name.
/// `args.hosts` and `args.secrets` say which servers its tools may ask and which secrets they may use there,
/// `args.limits` what they get less of than the sandbox gives.
#[utoipa::path(
    post, path = "/v1/toolgroups", tag = "tools", params(DryRun),
    request_body = RegisterToolgroup, responses((status = 200, body = Registered))
)]
pub async fn register(
    State(app): State<App>,
    Caller(cx): Caller,
    extract::Query(DryRun { dry_run }): extract::Query<DryRun>,
    extract::Json(body): extract::Json<RegisterToolgroup>,
) -> Result<Json<Registered>, Problem> {
    let registration = Registration {
        toolgroup_id: body.toolgroup_id,
        provider_id: body.provider_id,
        args: body.args.unwrap_or_default(),
        mcp_endpoint: body.mcp_endpoint.map(|endpoint| endpoint.uri),
        trust: trust(body.trust.as_deref())?,
        tools: overrides(body.tools)?,
    };
    if dry_run {
        let preview = app.tools.preview(&cx, registration).await?;
        return Ok(Json(Registered::Preview(Box::new(ToolgroupPreview::of(&cx, preview)))));
    }
    Ok(Json(Registered::Group(Box::new(shown(&cx, &app.tools.register(&cx, registration).await?)))))
}

fn trust(word: Option<&str>) -> frontdesk_api::Result<Trust> {
    match word {
        None | Some("own") => Ok(Trust::Own),
        Some("third_party") => Ok(Trust::ThirdParty),
        Some(other) => Err(Error::invalid("trust", format!("trust must be 'own' or 'third_party', found '{other}'"))),
    }
}

fn overrides(tools: Option<Value>) -> frontdesk_api::Result<BTreeMap<String, Override>> {
    let Some(tools) = tools else { return Ok(BTreeMap::new()) };
    serde_path_to_error::deserialize(tools).map_err(|e| {
        let path = match e.path().to_string() {
            root if root == "." => "tools".to_owned(),
            below => format!("tools.{below}"),
        };
        let message = format!("{path}: {}", e.inner());
        Error::invalid(path, message)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{Frames, TestGateway};

    #[tokio::test]
    async fn a_registration_that_does_not_fit_names_its_member() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let base = json!({ "toolgroup_id": "shop", "provider_id": "wasm", "args": { "component": "file_none" } });
        for (change, status, param) in [
            (json!({ "provider_id": "wsam" }), 400, "provider_id"),
            (json!({ "trust": "blind" }), 400, "trust"),
            (json!({ "tools": { "look": { "risk": "huge" } } }), 400, "tools.look.risk"),
            (json!({ "tolos": {} }), 400, "tolos"),
            (json!({ "toolgroup_id": "a b" }), 400, "toolgroup_id"),
            (json!({}), 404, "args.component"),
        ] {
            let mut body = base.clone();
            body.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
            let answer = gateway.post("/v1/toolgroups", &body).await;
            let said = answer.json();
            let seen = (answer.status.as_u16(), said["error"]["param"].as_str());
            // Without the sandbox there is no provider 'wasm' to look for the file.
            let no_sandbox = !cfg!(feature = "wasm") && status == 404;
            assert_eq!(seen, if no_sandbox { (400, Some("provider_id")) } else { (status, Some(param)) }, "{said}");
        }
    }
}
