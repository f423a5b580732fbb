//! Servers that a request names itself: looked into and called by the same rules as registered groups, and kept nowhere.
//!
//! Invariants: what such a server is sent along is sealed from the request to the end of its turn, for its tenant, label
//! and address; a tool is called as it was described when it was listed, or not at all; a program is never such a server,
//! and one inside is only for whoever might register it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use frontdesk_api::{
    Cx, Error, Kind, Result, Scope, Tools as _,
    chat::ToolCall,
    servers::{Filter, Server},
    tools::{Effect, Outcome, Risk, SecretArgs, ToolDef, ToolProvider, ToolSource},
};
use serde_json::{Value, json};

use crate::{
    Registry, arguments,
    fetch::Policy,
    group::{Ready, ReadyTool},
    registry::failed,
    sealing,
};

impl Registry {
    /// Takes in a server that a request names: looks whether it may be asked, and seals what it is to be sent along.
    /// Nobody is asked yet.
    ///
    /// # Errors
    /// `Invalid` on `server_label`, `server_url`, `headers` or `authorization`; `Forbidden` for a server inside, unless
    /// the key might register it.
    pub async fn take_server(&self, cx: &Cx, mut server: Server, secrets: SecretArgs) -> Result<Server> {
        let Some(url) = &server.url else {
            if !secrets.0.is_empty() {
                let message = "a tool group that is registered here is sent nothing by a request: give no headers and no \
                               authorization";
                return Err(Error::invalid("headers", message));
            }
            let found = self.load_group(cx, &server.label).await;
            return found.map(|_| server.clone()).map_err(|error| match error.kind {
                Kind::NotFound => {
                    let message = format!(
                        "no tool group is called '{}': name the server by server_url, or a group that is registered here",
                        server.label
                    );
                    Error::invalid("server_label", message).with_code("toolgroup_not_found")
                }
                _ => error,
            });
        };
        let (_, provider, mut source) = self.server(cx, &server)?;
        source.secrets = secrets;
        let inside = provider.is_inside(cx, &source).map_err(as_named)?;
        if inside && let Err(error) = cx.require(Scope::Write) {
            let message = format!("'{}' stands inside: {}, which naming it takes", server.label, error.message);
            return Err(Error::new(Kind::Forbidden, message).with_param("server_url"));
        }
        let place = place(&server.label, url);
        server.sealed = sealing::sealed(&*self.setting.seal, cx, &place, &source.secrets)?;
        Ok(server)
    }

    pub(crate) async fn tools_of(&self, cx: &Cx, server: &Server) -> Result<Vec<ToolDef>> {
        let mut tools = match &server.url {
            // The group's rules are its own; its tools are told apart by their names in it.
            None => {
                let tools = self.list(cx, std::slice::from_ref(&server.label)).await?;
                tools.into_iter().map(|tool| ToolDef { wire_name: tool.name.clone(), ..tool }).collect()
            }
            Some(_) => {
                let (_, provider, source) = self.server(cx, server)?;
                let mut tools = provider.inspect(cx, &source).await?.tools;
                for tool in &mut tools {
                    // What it says to its own favour is kept apart, for the request's filters.
                    tool.risk = tool.risk.max(Risk::LowImpactWrite);
                    tool.effect = if tool.effect == Effect::None { Effect::None } else { Effect::Unsafe };
                }
                tools
            }
        };
        tools.retain(|tool| server.allowed.holds(tool));
        let mut names = BTreeSet::new();
        match tools.iter().find(|tool| !names.insert(&tool.name)) {
            Some(twice) => Err(Error::upstream(format!("two tools of '{}' are called '{}'", server.label, twice.name))),
            None => Ok(tools),
        }
    }

    pub(crate) async fn call_tool_of(
        &self,
        cx: &Cx,
        server: &Server,
        tool: &ToolDef,
        call: &ToolCall,
        idempotency_key: &str,
    ) -> Result<Outcome> {
        if server.url.is_none() {
            // A client's word to a call is not a person's: what the group makes wait for one is not run.
            let (name, group) = (tool.wire_name.clone(), std::slice::from_ref(&server.label));
            let now = self.tools_of(cx, &Server { allowed: Filter::default(), ..server.clone() }).await?;
            // How its calls run beside others may be known better by now.
            let same = |now: &ToolDef| ToolDef { name: tool.name.clone(), alone: tool.alone, ..now.clone() } == *tool;
            if !now.iter().any(same) {
                return Ok(failed(&format!(
                    "tool_changed: '{name}' is not what it was when it was listed, and was not run"
                )));
            }
            return self.call(cx, group, &ToolCall { name, ..call.clone() }, idempotency_key, false).await;
        }
        let (provider_id, provider, mut source) = self.server(cx, server)?;
        let ready = ReadyTool::new(tool.clone())?;
        let arguments = match arguments::read(&call.arguments, &ready.check, &BTreeMap::new()) {
            Ok(arguments) => Value::Object(arguments).to_string(),
            Err(wrong) => return Ok(failed(&wrong)),
        };
        source.pinned.insert(tool.wire_name.clone(), tool.hash.clone());
        let call = ToolCall { id: idempotency_key.to_owned(), name: tool.wire_name.clone(), arguments };
        // It has no hosts and no secrets of the tenant's.
        let (disabled, policy) = (false, Policy::default());
        let group = Ready { provider_id, provider, source, disabled, policy, tools: vec![ready] };
        self.ask(cx, &Arc::new(group), &call).await
    }

    pub(crate) fn leave(&self, cx: &Cx, server: &Server) {
        // What cannot be told apart any more was not opened.
        if let (Some(_), Ok((_, provider, source))) = (&server.url, self.server(cx, server)) {
            provider.leave(cx, &source);
        }
    }

    fn server(&self, cx: &Cx, server: &Server) -> Result<(String, Arc<dyn ToolProvider>, ToolSource)> {
        let found = self.setting.servers.as_ref().and_then(|id| Some((id, self.setting.providers.get(id)?)));
        let (id, provider) = found.ok_or_else(|| {
            let message =
                "no servers are asked here: the operator adds a tool provider of the type 'mcp' with request_servers";
            Error::invalid("type", message).with_code("unsupported_tool")
        })?;
        let url = server.url.as_deref().unwrap_or_default();
        if !url.starts_with("https://") && !url.starts_with("http://") {
            let message = format!("server_url of '{}' must begin with https://", server.label);
            return Err(Error::invalid("server_url", message));
        }
        let secrets = match &server.sealed {
            Some(sealed) => sealing::opened(&*self.setting.seal, cx, &place(&server.label, url), sealed)?,
            None => SecretArgs::default(),
        };
        // What it says of its effects is heard, for the request's filters alone (`tools_of`).
        let args = json!({ "mcp_endpoint": { "uri": url }, "trust_annotations": true });
        // No registered group has a name with a blank.
        let toolgroup = format!("request {}", server.label);
        let source = ToolSource { toolgroup, args, secrets, ..ToolSource::default() };
        Ok((id.clone(), Arc::clone(provider), source))
    }
}

/// What secrets are sealed for; no registered group has such a name.
fn place(label: &str, url: &str) -> String {
    format!("request {label} {url}")
}

/// A fault of a registration, by the names that a request has for its members.
fn as_named(error: Error) -> Error {
    let named = |text: &str| text.replace("mcp_endpoint.uri", "server_url").replace("args.", "");
    let (message, param) = (named(&error.message), error.param.as_deref().map(named));
    Error { message, param, ..error }
}
