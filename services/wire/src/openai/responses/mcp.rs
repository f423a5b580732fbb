//! Servers of tools on this wire: the `mcp` tool as a request names it, and what is shown of servers and their calls.
//!
//! Invariant: what a server is sent along (`headers`, `authorization`) is in nothing that is shown. Source of the shapes:
//! OpenAI's API reference, "Responses", `mcp_list_tools`, `mcp_call`, `mcp_approval_request` and `mcp_approval_response`,
//! its guide "MCP and connectors", and the types of its official packages.

use std::collections::HashMap;

use frontdesk_api::{
    Error, Result,
    chat::{ToolCall, ToolChoice},
    servers::{self, Approval, Filter, Server, WaitingCall},
    tools::{Effect, SecretArgs, ToolDef},
    turn::ItemBody,
};
use serde_json::{Map, Value, json};

use crate::fields::Fields;

/// The `type` of the tool.
pub const TOOL: &str = "mcp";

/// Whose tools the calls of an agent's own tools are shown as.
const OWN: &str = "frontdesk";

/// The most servers of one request: each is asked before the model is.
const MOST: usize = 8;

/// A server of tools, and what it is to be sent along.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// Nothing in it is sealed yet.
    pub server: Server,
    /// `headers` and `authorization`, as they were given.
    pub secrets: SecretArgs,
    /// Where the request names it.
    pub path: String,
}

/// A server, and how the response repeats it. Without a `server_url` its label names a tool group.
///
/// # Errors
/// `Invalid` naming the member; with the code `unsupported_parameter` for what is OpenAI's own.
pub fn read(mut fields: Fields, before: &[Named], path: &str) -> Result<(Named, Value)> {
    let label = fields.needed("server_label")?;
    let at = fields.path("server_label");
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !(1..=64).contains(&label.len()) || !label.chars().all(plain) {
        return Err(Error::invalid(at.clone(), format!("'{at}' must have 1 to 64 letters, digits, _ and -")));
    }
    if before.len() >= MOST {
        return Err(Error::invalid(at, format!("more than {MOST} servers are named: at most {MOST} are asked")));
    }
    if before.iter().any(|named| named.server.label == label) {
        return Err(Error::invalid(at, format!("two servers are called '{label}'")));
    }
    for name in ["connector_id", "tunnel_id"] {
        if fields.has(name) {
            let path = fields.path(name);
            let message = format!(
                "'{path}' is not supported, it is of OpenAI's own: name a server by server_url, or by its server_label a \
                 tool group that is registered here"
            );
            return Err(Error::invalid(path, message).with_code("unsupported_parameter"));
        }
    }
    let url = fields.id("server_url")?;
    let description = fields.text("server_description")?;
    let mut secrets = Map::new();
    if let Some(headers) = fields.object("headers")? {
        secrets.insert("headers".into(), headers.into_value());
    }
    if let Some(token) = fields.text("authorization")? {
        secrets.insert("authorization".into(), token.into());
    }
    let (allowed, shown_allowed) = allowed(&mut fields)?;
    let (approval, shown_approval) = approval(&mut fields)?;
    // Which tool is shown when is decided here.
    fields.take("defer_loading");
    if let Some(callers) = fields.list("allowed_callers")?
        && !callers.iter().any(|caller| caller == "direct")
    {
        let at = fields.path("allowed_callers");
        let message = format!("'{at}' must hold 'direct': nothing but the model calls tools here");
        return Err(Error::invalid(at, message).with_code("unsupported_parameter"));
    }
    fields.end()?;
    let mut shown = json!({ "type": TOOL, "server_label": label, "allowed_tools": shown_allowed,
                            "require_approval": shown_approval, "headers": null });
    for (name, value) in [("server_url", &url), ("server_description", &description)] {
        if let Some(value) = value {
            shown[name] = value.as_str().into();
        }
    }
    let server = Server { label, url, allowed, approval, sealed: None };
    Ok((Named { server, secrets: SecretArgs(secrets), path: path.to_owned() }, shown))
}

fn allowed(fields: &mut Fields) -> Result<(Filter, Value)> {
    if fields.is_object("allowed_tools") {
        let filter = fields.object("allowed_tools")?.map(filter).transpose()?.unwrap_or_default();
        let shown = chosen(&filter);
        return Ok((filter, shown));
    }
    let Some(list) = fields.list("allowed_tools")? else { return Ok((Filter::default(), Value::Null)) };
    let names = texts(&list, &fields.path("allowed_tools"))?;
    let shown = json!(names);
    Ok((Filter { names: Some(names), read_only: None }, shown))
}

/// What is left out waits, as at OpenAI.
fn approval(fields: &mut Fields) -> Result<(Approval, Value)> {
    if !fields.is_object("require_approval") {
        let word = fields.word("require_approval", &["always", "never"])?;
        let approval = if word.as_deref() == Some("never") { Approval::Never } else { Approval::Always };
        return Ok((approval, json!(word.as_deref().unwrap_or("always"))));
    }
    let Some(mut policy) = fields.object("require_approval")? else { return Ok((Approval::Always, json!("always"))) };
    let always = policy.object("always")?.map(filter).transpose()?;
    let never = policy.object("never")?.map(filter).transpose()?;
    policy.end()?;
    let shown = json!({ "always": always.as_ref().map(chosen), "never": never.as_ref().map(chosen) });
    Ok((Approval::Chosen { always, never }, shown))
}

fn filter(mut fields: Fields) -> Result<Filter> {
    let path = fields.path("tool_names");
    let names = fields.list("tool_names")?.map(|list| texts(&list, &path)).transpose()?;
    let read_only = fields.flag("read_only")?;
    fields.end()?;
    if names.is_none() && read_only.is_none() {
        // It would choose all tools, which nobody says like this.
        return Err(Error::invalid(path.clone(), format!("'{path}' or read_only must say which tools are chosen")));
    }
    Ok(Filter { names, read_only })
}

fn chosen(filter: &Filter) -> Value {
    json!({ "tool_names": filter.names, "read_only": filter.read_only })
}

fn texts(list: &[Value], path: &str) -> Result<Vec<String>> {
    let names: Option<Vec<String>> = list.iter().map(|name| name.as_str().map(str::to_owned)).collect();
    names.ok_or_else(|| Error::invalid(path, format!("'{path}' must be a list of names")))
}

/// Whether a `tool_choice` names one of the request's servers.
#[must_use]
pub fn is_named(servers: &[Named], choice: &Value) -> bool {
    let label = choice.get("server_label").and_then(Value::as_str);
    servers.iter().any(|named| Some(named.server.label.as_str()) == label)
}

/// A `tool_choice` of one of these servers. Without the name of a tool it is any of the server's, which can be forced only
/// where the request has no other tools.
///
/// # Errors
/// `Invalid` on `tool_choice`.
pub fn choice(choice: &Value, tool: Option<&str>, alone: bool) -> Result<ToolChoice> {
    let label = choice.get("server_label").and_then(Value::as_str).unwrap_or_default();
    match tool {
        Some(name) => Ok(ToolChoice::Named(servers::choice(label, name))),
        None if alone => Ok(ToolChoice::Required),
        None => {
            let message = format!("'tool_choice' must name a tool of '{label}', since there are tools beside its own");
            Err(Error::invalid("tool_choice", message))
        }
    }
}

/// A tool of a server.
#[derive(Debug, Clone)]
struct Served {
    label: String,
    /// At the server.
    name: String,
    waits: bool,
}

/// Whose tools are called, by the names that the model calls them by.
#[derive(Debug, Default)]
pub struct Servers(HashMap<String, Served>);

impl Servers {
    /// Takes in what an item lists.
    pub fn learn(&mut self, body: &ItemBody) {
        if let ItemBody::ServerTools { server, tools, waits, .. } = body {
            self.0.extend(tools.iter().map(|tool| {
                let served =
                    Served { label: server.clone(), name: tool.wire_name.clone(), waits: waits.contains(&tool.name) };
                (tool.name.clone(), served)
            }));
        }
    }

    /// Whether a call of this tool waits for a word, and is shown as what asks for it.
    #[must_use]
    pub fn waits(&self, tool: &str) -> bool {
        self.0.get(tool).is_some_and(|served| served.waits)
    }

    /// How a call of this tool is shown.
    #[must_use]
    pub fn call(&self, call: &ToolCall) -> Made {
        let served = self.0.get(&call.name);
        Made {
            label: served.map_or(OWN, |served| &served.label).to_owned(),
            name: served.map_or(&call.name, |served| &served.name).clone(),
            arguments: call.arguments.clone(),
            request: None,
        }
    }
}

/// A call that is made here.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    label: String,
    name: String,
    arguments: String,
    /// What asked for it.
    request: Option<String>,
}

impl Made {
    /// A call that was approved.
    #[must_use]
    pub fn approved(request_id: &str, waiting: &WaitingCall) -> Self {
        Self {
            label: waiting.server.clone(),
            name: waiting.tool.wire_name.clone(),
            arguments: waiting.call.arguments.clone(),
            request: Some(request_id.to_owned()),
        }
    }

    /// As it begins: its arguments are told of behind it.
    #[must_use]
    pub fn begun(&self, id: &str) -> Value {
        Self { arguments: String::new(), ..self.clone() }.shown(id, None)
    }

    /// With its result once there is one: the text, and whether it tells of a failure.
    #[must_use]
    pub fn shown(&self, id: &str, result: Option<(&str, bool)>) -> Value {
        let (status, output, error) = match result {
            None => ("in_progress", Value::Null, Value::Null),
            Some((text, false)) => ("completed", json!(text), Value::Null),
            Some((text, true)) => {
                let content = [json!({ "type": "text", "text": text })];
                ("failed", Value::Null, json!({ "type": "mcp_tool_execution_error", "content": content }))
            }
        };
        json!({ "id": id, "type": "mcp_call", "server_label": self.label, "name": self.name,
                "arguments": self.arguments, "approval_request_id": self.request, "status": status, "output": output,
                "error": error })
    }
}

/// The id of a call that was made since this request for it was approved.
#[must_use]
pub fn approved_id(request_id: &str) -> String {
    format!("mcp_{}", request_id.strip_prefix("mcpr_").unwrap_or(request_id))
}

/// A call that waits for a word.
#[must_use]
pub fn request(id: &str, waiting: &WaitingCall) -> Value {
    json!({ "id": id, "type": "mcp_approval_request", "server_label": waiting.server,
            "name": waiting.tool.wire_name, "arguments": waiting.call.arguments })
}

/// That word.
#[must_use]
pub fn response(id: &str, request_id: &str, approved: bool, reason: Option<&str>) -> Value {
    json!({ "id": id, "type": "mcp_approval_response", "approval_request_id": request_id, "approve": approved,
            "reason": reason })
}

/// The tools of a server, by their names there; of what it says of their effects whether they only read.
#[must_use]
pub fn list(id: &str, server: &str, tools: &[ToolDef], error: Option<&str>) -> Value {
    let tool = |tool: &ToolDef| {
        let hints = (tool.effect == Effect::None).then(|| json!({ "readOnlyHint": true }));
        json!({ "name": tool.wire_name, "description": tool.description, "input_schema": tool.schema,
                "annotations": hints })
    };
    let tools: Vec<Value> = tools.iter().map(tool).collect();
    json!({ "id": id, "type": "mcp_list_tools", "server_label": server, "tools": tools, "error": error })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(more: Value) -> Result<(Named, Value)> {
        let mut tool = json!({ "server_label": "shop", "server_url": "https://h/mcp" });
        tool.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        read(Fields::of(tool, "tools[0]").expect("an object"), &[], "tools[0]")
    }

    fn names(names: &[&str]) -> Filter {
        Filter { names: Some(names.iter().map(|name| (*name).to_owned()).collect()), read_only: None }
    }

    #[test]
    fn a_server_is_named_with_what_may_be_called_and_what_waits() {
        let given = json!({ "headers": { "X-Key": "k1" }, "authorization": "t1", "allowed_tools": ["look"],
                            "require_approval": "never" });
        let (Named { server, secrets, .. }, shown) = one(given).expect("a server");
        assert_eq!((server.label.as_str(), server.url.as_deref()), ("shop", Some("https://h/mcp")));
        assert_eq!((server.allowed, server.approval), (names(&["look"]), Approval::Never));
        assert_eq!(json!(secrets.0), json!({ "headers": { "X-Key": "k1" }, "authorization": "t1" }));
        assert!(!shown.to_string().contains("X-Key") && !shown.to_string().contains("t1"), "{shown}");
        for (policy, want) in [
            (json!(null), Approval::Always),
            (json!("always"), Approval::Always),
            (
                json!({ "never": { "tool_names": ["look"] } }),
                Approval::Chosen { always: None, never: Some(names(&["look"])) },
            ),
            (
                json!({ "always": { "read_only": false } }),
                Approval::Chosen { always: Some(Filter { names: None, read_only: Some(false) }), never: None },
            ),
        ] {
            let (named, _) = one(json!({ "require_approval": policy })).expect("a server");
            assert_eq!(named.server.approval, want, "{policy}");
        }
        let (named, shown) = one(json!({ "allowed_tools": { "tool_names": ["a"], "read_only": true } })).expect("one");
        assert_eq!(named.server.allowed, Filter { read_only: Some(true), ..names(&["a"]) });
        assert_eq!(shown["allowed_tools"], json!({ "tool_names": ["a"], "read_only": true }));
        one(json!({ "allowed_callers": ["direct", "programmatic"] })).expect("a model may call it");
        let (group, _) = one(json!({ "server_url": null })).expect("a group");
        assert_eq!(group.server.url, None);
    }

    #[test]
    fn a_choice_is_of_its_servers_tool() {
        let asked = json!({ "type": "mcp", "server_label": "shop" });
        let of = |tool, alone| choice(&asked, tool, alone);
        assert_eq!(of(Some("orders.look"), false).expect("one"), ToolChoice::Named("shop orders.look".into()));
        assert_eq!(of(None, true).expect("any"), ToolChoice::Required);
        let error = of(None, false).expect_err("it would force another's tool as well");
        assert!(error.param.as_deref() == Some("tool_choice") && error.message.contains("'shop'"), "{error}");
    }

    #[test]
    fn what_is_wrong_with_a_server_is_named() {
        for (more, param) in [
            (json!({ "server_label": "a b" }), "tools[0].server_label"),
            (json!({ "server_label": null }), "tools[0].server_label"),
            (json!({ "server_url": "" }), "tools[0].server_url"),
            (json!({ "server_url": 7 }), "tools[0].server_url"),
            (json!({ "connector_id": "connector_gmail" }), "tools[0].connector_id"),
            (json!({ "allowed_tools": [7] }), "tools[0].allowed_tools"),
            (json!({ "allowed_tools": { "read_only": 1 } }), "tools[0].allowed_tools.read_only"),
            (json!({ "allowed_tools": { "names": [] } }), "tools[0].allowed_tools.names"),
            (json!({ "require_approval": "sometimes" }), "tools[0].require_approval"),
            (
                json!({ "require_approval": { "never": { "tool_names": "a" } } }),
                "tools[0].require_approval.never.tool_names",
            ),
            (json!({ "require_approval": { "never": {} } }), "tools[0].require_approval.never.tool_names"),
            (
                json!({ "require_approval": { "always": { "read_only": null } } }),
                "tools[0].require_approval.always.tool_names",
            ),
            (json!({ "allowed_tools": {} }), "tools[0].allowed_tools.tool_names"),
            (json!({ "allowed_callers": ["programmatic"] }), "tools[0].allowed_callers"),
            (json!({ "allowed_callers": [] }), "tools[0].allowed_callers"),
            (json!({ "headers": [] }), "tools[0].headers"),
            (json!({ "header": {} }), "tools[0].header"),
        ] {
            let error = one(more.clone()).expect_err(param);
            assert_eq!(error.param.as_deref(), Some(param), "{more}: {error}");
        }
        let (named, _) = one(json!({})).expect("a server");
        let many: Vec<Named> = (0..MOST)
            .map(|n| {
                let server = Server { label: format!("s{n}"), ..named.server.clone() };
                Named { server, ..named.clone() }
            })
            .collect();
        let again = |label: &str, before: &[Named]| {
            let tool = json!({ "server_label": label, "server_url": "https://h/" });
            read(Fields::of(tool, "tools[9]").expect("an object"), before, "tools[9]").expect_err("refused").message
        };
        assert!(again("s0", &many[..1]).contains("two servers are called 's0'"));
        assert!(again("more", &many).contains("at most 8"));
    }
}
