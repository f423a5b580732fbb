//! What a server says of its tools, held to rules before anyone believes it.
//!
//! Names go to models, descriptions into every prompt, schemas are run against every call, so secrets that a server repeats
//! in them are struck out. A hint that makes a tool more
//! careful is taken from anyone (`destructiveHint`: a person is asked); one that makes it less careful counts only
//! where the operator trusts the server. Invariant: a tool's hash covers all that the server says of what it does, in
//! whatever order it says it.

use std::collections::BTreeSet;

use frontdesk_api::{
    Cx, Error, Kind, Result,
    tools::{Effect, Risk, Runs, ToolDef},
};
use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value, json};

use crate::{
    endpoint::Endpoint,
    peer::{Peer, object},
    progress::Progress,
    rpc::words_of,
};

/// Tools of one server.
const MOST_TOOLS: usize = 256;
/// Bytes of their list, all pages together.
const MOST_BYTES: usize = 4 << 20;
/// Pages of their list.
const MOST_PAGES: usize = 64;
/// What is kept of a tool.
const KEPT: [&str; 7] = ["name", "title", "description", "inputSchema", "outputSchema", "annotations", "execution"];
/// Bytes of a description: it is paid for in every prompt.
const MOST_DESCRIPTION: usize = 16 << 10;
/// Bytes of a schema's text.
const MOST_SCHEMA: usize = 64 << 10;

/// A tool as the server describes it.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) def: ToolDef,
    /// It is called as a task and no other way.
    pub(crate) as_task: bool,
    /// What its structured results have to fit, where the server says.
    pub(crate) output: Option<Validator>,
}

/// Asks a server for its tools.
///
/// # Errors
/// As [`Peer::ask`]; `Upstream` for what breaks a rule, naming the tool.
pub(crate) async fn ask(cx: &Cx, peer: &Peer) -> Result<Vec<Value>> {
    let (mut tools, mut cursor, mut bytes): (Vec<Value>, Option<String>, usize) = (vec![], None, 0);
    for _ in 0..MOST_PAGES {
        let params = cursor.map(|cursor| object(json!({ "cursor": cursor }))).unwrap_or_default();
        let mut page = peer.ask(cx, "tools/list", params, &Progress::default()).await?;
        bytes += page.to_string().len();
        if bytes > MOST_BYTES {
            return Err(Error::upstream(format!("the server's list of tools has more than {MOST_BYTES} bytes")));
        }
        let Some(Value::Array(more)) = page.get_mut("tools").map(Value::take) else {
            return Err(Error::upstream("the server answered 'tools/list' without a list of tools"));
        };
        tools.extend(more.into_iter().map(kept));
        if tools.len() > MOST_TOOLS {
            return Err(Error::upstream(format!("the server has more than {MOST_TOOLS} tools")));
        }
        match page.get("nextCursor").and_then(Value::as_str) {
            None => return Ok(tools),
            Some(next) => cursor = Some(next.to_owned()),
        }
    }
    Err(Error::upstream(format!("the server's list of tools has more than {MOST_PAGES} pages")))
}

/// A tool without what nobody here reads.
fn kept(mut tool: Value) -> Value {
    if let Value::Object(members) = &mut tool {
        members.retain(|name, _| KEPT.contains(&name.as_str()));
    }
    tool
}

/// Bytes of what is remembered of these tools, near enough.
pub(crate) fn weight(tools: &[Value]) -> usize {
    tools.iter().map(|tool| tool.to_string().len()).sum()
}

/// The tools that the registration allows, by its rules.
///
/// # Errors
/// `Upstream` naming the tool and the rule; `Invalid` on `args.allowed_tools` for one that is not there.
pub(crate) fn read(endpoint: &Endpoint, group: &str, tools: &[Value]) -> Result<Vec<Listed>> {
    let names: BTreeSet<&str> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
    if let Some(missing) = endpoint.allowed.iter().flatten().find(|name| !names.contains(name.as_str())) {
        let there = names.into_iter().map(|name| words_of(&endpoint.cleaned(name.to_owned())));
        let there = there.collect::<Vec<_>>().join(", ");
        let message = format!("the server has no tool '{missing}'; there are {there}");
        return Err(Error::invalid("args.allowed_tools", message));
    }
    let mut taken = BTreeSet::new();
    let mut listed = vec![];
    for tool in tools {
        let Some(wire_name) = tool["name"].as_str() else {
            return Err(Error::upstream("the server lists a tool without a name"));
        };
        if endpoint.allowed.as_ref().is_some_and(|allowed| !allowed.contains(wire_name)) {
            continue;
        }
        if endpoint.cleaned(wire_name.to_owned()) != wire_name {
            return Err(Error::upstream("the server calls a tool by a secret that it was sent along"));
        }
        let name = callable(wire_name);
        if name.is_empty() || !taken.insert(name.clone()) {
            let message =
                format!("the server's tool '{}' has a name that no model could tell from others", words_of(wire_name));
            return Err(Error::upstream(message));
        }
        listed.push(one(endpoint, group, name, wire_name, &endpoint.cleaned_value(tool))?);
    }
    Ok(listed)
}

fn one(endpoint: &Endpoint, group: &str, name: String, wire_name: &str, tool: &Value) -> Result<Listed> {
    let broken = |rule: String| Error::upstream(format!("the server's tool '{name}': {rule}"));
    let description = [&tool["description"], &tool["title"], &tool["annotations"]["title"]];
    let description = description.into_iter().find_map(Value::as_str).unwrap_or_default();
    if description.len() > MOST_DESCRIPTION {
        return Err(broken(format!("a description has at most {MOST_DESCRIPTION} bytes")));
    }
    let schema = match &tool["inputSchema"] {
        Value::Object(schema) => Value::Object(schema.clone()),
        _ => return Err(broken("inputSchema must be a JSON Schema of an object".into())),
    };
    if schema.get("type").is_some_and(|kind| kind != "object") {
        return Err(broken("inputSchema must be a JSON Schema of an object".into()));
    }
    compiled(&schema).map_err(|rule| broken(format!("inputSchema {rule}")))?;
    let output = match &tool["outputSchema"] {
        Value::Null => None,
        schema => Some(compiled(schema).map_err(|rule| broken(format!("outputSchema {rule}")))?),
    };
    let (effect, risk) = careful(&tool["annotations"], endpoint.trusted);
    // Not `execution`: how a call is waited for says nothing of what it does.
    let said = json!([wire_name, description, schema, tool["outputSchema"], tool["annotations"]]);
    let hash = blake3::hash(sorted(&said).to_string().as_bytes()).to_hex().to_string();
    let def = ToolDef {
        name,
        wire_name: wire_name.to_owned(),
        toolgroup: group.to_owned(),
        description: description.to_owned(),
        schema,
        runs: Runs::Server,
        effect,
        risk,
        bound_args: Default::default(),
        // [`frontdesk_api::tools::ToolProvider::one_at_a_time`] says it, of what was pinned before too.
        alone: false,
        hash,
    };
    let as_task = tool["execution"]["taskSupport"] == "required";
    Ok(Listed { def, as_task, output })
}

/// Only what schemas say themselves is read: nothing is fetched, and patterns take linear time.
fn compiled(schema: &Value) -> Result<Validator, String> {
    if schema.to_string().len() > MOST_SCHEMA {
        return Err(format!("has more than {MOST_SCHEMA} bytes"));
    }
    let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
    options.build(schema).map_err(|e| format!("is no JSON Schema: {}", words_of(&e.to_string())))
}

fn careful(hints: &Value, trusted: bool) -> (Effect, Risk) {
    let hint = |name: &str| hints[name].as_bool();
    if hint("destructiveHint") == Some(true) && hint("readOnlyHint") != Some(true) {
        let repeats = trusted && hint("idempotentHint") == Some(true);
        return (if repeats { Effect::Idempotent } else { Effect::Unsafe }, Risk::ApprovalRequired);
    }
    match trusted {
        true if hint("readOnlyHint") == Some(true) => (Effect::None, Risk::Read),
        true if hint("idempotentHint") == Some(true) => (Effect::Idempotent, Risk::LowImpactWrite),
        _ => (Effect::Unsafe, Risk::LowImpactWrite),
    }
}

/// A name as models may call it: 1 to 64 letters, digits, `_` and `-`.
fn callable(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    name.chars().take(64).map(fits).collect()
}

/// With the members of every object in one order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            Value::Object(names.into_iter().map(|name| (name.clone(), sorted(&members[name]))).collect::<Map<_, _>>())
        }
        Value::Array(list) => list.iter().map(sorted).collect(),
        plain => plain.clone(),
    }
}

/// Why a tool is not called though it was registered.
///
/// # Errors
/// `Conflict`.
pub(crate) fn as_pinned<'l>(listed: &'l [Listed], wire_name: &str, pinned: Option<&String>) -> Result<&'l Listed> {
    let Some(tool) = listed.iter().find(|tool| tool.def.wire_name == wire_name) else {
        let message = format!("the server has no tool '{}' any more; register the group again", words_of(wire_name));
        return Err(Error::new(Kind::Conflict, message).with_code("tool_gone"));
    };
    if pinned.is_some_and(|hash| *hash != tool.def.hash) {
        let message = format!(
            "the server describes '{}' otherwise than when it was registered, so it is not called: look at it, and \
             register the group again to accept it",
            tool.def.name
        );
        return Err(Error::new(Kind::Conflict, message).with_code("tool_changed"));
    }
    Ok(tool)
}

#[cfg(test)]
mod tests {
    use frontdesk_api::tools::{SecretArgs, ToolSource};

    use super::*;
    use crate::config::Config;

    fn endpoint(more: Value) -> Endpoint {
        let mut args = json!({ "mcp_endpoint": { "uri": "https://h/mcp" } });
        args.as_object_mut().expect("an object").extend(object(more));
        let config = Config::read(json!({})).expect("a configuration");
        let source = ToolSource { toolgroup: "g".into(), args, ..ToolSource::default() };
        Endpoint::of(&config, &Cx::internal("t", "r"), &source).expect("an endpoint")
    }

    fn tool(name: &str, more: Value) -> Value {
        let mut tool = json!({ "name": name, "description": "d", "inputSchema": { "type": "object" } });
        tool.as_object_mut().expect("an object").extend(object(more));
        tool
    }

    fn hints(hints: Value) -> Value {
        tool("t", json!({ "annotations": hints }))
    }

    #[test]
    fn hints_make_a_tool_more_careful_and_less_so_only_where_the_server_is_trusted() {
        let (usual, asks) = ((Effect::Unsafe, Risk::LowImpactWrite), (Effect::Unsafe, Risk::ApprovalRequired));
        for (said, strange, trusted) in [
            (json!({}), usual, usual),
            (json!({ "readOnlyHint": true }), usual, (Effect::None, Risk::Read)),
            (json!({ "readOnlyHint": true, "destructiveHint": true }), usual, (Effect::None, Risk::Read)),
            (json!({ "idempotentHint": true }), usual, (Effect::Idempotent, Risk::LowImpactWrite)),
            (json!({ "destructiveHint": true }), asks, asks),
            (
                json!({ "destructiveHint": true, "idempotentHint": true }),
                asks,
                (Effect::Idempotent, Risk::ApprovalRequired),
            ),
            (json!({ "destructiveHint": "yes" }), usual, usual),
        ] {
            for (trusts, want) in [(false, strange), (true, trusted)] {
                let endpoint = endpoint(json!({ "trust_annotations": trusts }));
                let listed = read(&endpoint, "g", &[hints(said.clone())]).expect("a tool");
                assert_eq!((listed[0].def.effect, listed[0].def.risk), want, "{said} {trusts}");
            }
        }
    }

    #[test]
    fn a_hash_covers_what_is_said_whatever_its_order() {
        let hash = |tool: &str| {
            let tool: Value = serde_json::from_str(tool).expect("JSON");
            read(&endpoint(json!({})), "g", &[tool]).expect("a tool")[0].def.hash.clone()
        };
        let one = r#"{"name":"t","description":"d","inputSchema":{"type":"object","properties":{"a":{},"b":{}}}}"#;
        let turned = r#"{"inputSchema":{"properties":{"b":{},"a":{}},"type":"object"},"description":"d","name":"t"}"#;
        assert_eq!(hash(one), hash(turned));
        for other in [
            one.replace(r#""d""#, r#""e""#),
            one.replace(r#""b":{}"#, r#""b":{"type":"string"}"#),
            one.replace(r#""name":"t","#, r#""name":"t","annotations":{"readOnlyHint":true},"#),
            one.replace(r#""name":"t","#, r#""name":"t","outputSchema":{"type":"object"},"#),
        ] {
            assert_ne!(hash(one), hash(&other), "{other}");
        }
        let waits = one.replace(r#""name":"t","#, r#""name":"t","execution":{"taskSupport":"required"},"#);
        assert_eq!(hash(one), hash(&waits));
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        for (tools, words) in [
            (vec![json!({ "inputSchema": {} })], "without a name"),
            (vec![tool("a.b", json!({})), tool("a/b", json!({}))], "'a/b' has a name"),
            (vec![tool("", json!({}))], "has a name"),
            (vec![tool("t", json!({ "inputSchema": null }))], "inputSchema must be"),
            (vec![tool("t", json!({ "inputSchema": { "type": "array" } }))], "inputSchema must be"),
            (
                vec![tool("t", json!({ "inputSchema": { "type": "object", "required": 7 } }))],
                "inputSchema is no JSON Schema",
            ),
            (
                vec![tool("t", json!({ "inputSchema": { "$ref": "http://169.254.169.254/x" } }))],
                "inputSchema is no JSON Schema",
            ),
            (vec![tool("t", json!({ "outputSchema": { "type": "robot" } }))], "outputSchema is no JSON Schema"),
            (vec![tool("t", json!({ "description": "x".repeat(MOST_DESCRIPTION + 1) }))], "a description has at most"),
            (vec![tool("t", json!({ "inputSchema": { "x": "y".repeat(MOST_SCHEMA) } }))], "inputSchema has more than"),
        ] {
            let error = read(&endpoint(json!({})), "g", &tools).expect_err(words);
            assert!(error.message.contains(words), "{}", error.message);
        }
        // A name goes to models and to whoever asked.
        let secrets = SecretArgs(object(json!({ "authorization": "tok-secret-1" })));
        let source = ToolSource {
            args: json!({ "mcp_endpoint": { "uri": "https://h/mcp" } }),
            secrets,
            ..ToolSource::default()
        };
        let config = Config::read(json!({})).expect("a configuration");
        let told = Endpoint::of(&config, &Cx::internal("t", "r"), &source).expect("an endpoint");
        let error = read(&told, "g", &[tool("look-tok-secret-1", json!({}))]).expect_err("its name is a secret");
        assert!(error.message.contains("by a secret") && !error.message.contains("tok-secret-1"), "{error}");
        let missing = read(&endpoint(json!({ "allowed_tools": ["look"] })), "g", &[tool("t", json!({}))]);
        let missing = missing.expect_err("it is not there");
        assert_eq!(missing.param.as_deref(), Some("args.allowed_tools"));
        // What is not allowed need not fit either.
        let two = [
            tool("bad", json!({ "inputSchema": null })),
            tool("orders.list", json!({ "description": null, "title": "List" })),
        ];
        let listed = read(&endpoint(json!({ "allowed_tools": ["orders.list"] })), "g", &two).expect("one tool");
        assert_eq!(
            (listed.len(), listed[0].def.name.as_str(), listed[0].def.description.as_str()),
            (1, "orders_list", "List")
        );
    }
}
