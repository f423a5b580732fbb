//! Tool groups, tools and direct invocations, and the two ways to describe a tool's arguments.
//!
//! Llama Stack lists parameters flat; the domain speaks JSON Schema. A schema's nested detail does not fit
//! the flat list, so the whole schema rides in `metadata.input_schema`.

use std::collections::BTreeMap;

use frontdesk_api::{
    chat::ToolSpec,
    tools::{Outcome, ToolDef as Def, ToolResult},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::content::InterleavedContent;

/// `POST /v1/toolgroups`: Llama Stack's members, then those that safety needs.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterToolgroup {
    pub toolgroup_id: String,
    pub provider_id: String,
    /// What the provider needs: `component` (a file id) and `grants`, `url`, `document`, …
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub args: Option<Map<String, Value>>,
    #[serde(default)]
    pub mcp_endpoint: Option<McpEndpoint>,
    /// `own` (the default) or `third_party`.
    #[serde(default)]
    pub trust: Option<String>,
    /// Overrides by tool name: `{effect, risk, bind}`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub tools: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct McpEndpoint {
    pub uri: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ToolGroup {
    pub identifier: String,
    pub provider_id: String,
    /// Always `tool_group`.
    pub r#type: String,
    #[schema(value_type = Object)]
    pub args: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp_endpoint: Option<McpEndpoint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_resource_id: Option<String>,
    /// true: switched off; left out otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// How it stands with a server that asks for OAuth; left out where none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<GroupAuthorization>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GroupAuthorization {
    /// `given`, or `needed`: somebody has to sign in (`POST /v1/toolgroups/{id}/authorize`).
    pub status: String,
    /// Why; to keys that may write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl ToolGroup {
    #[must_use]
    pub fn new(id: &str, provider_id: &str, args: &Value) -> Self {
        let args = args.as_object().cloned().unwrap_or_default();
        let mcp_endpoint = args.get("mcp_endpoint").and_then(|e| e.get("uri")).and_then(Value::as_str);
        Self {
            identifier: id.to_owned(),
            provider_id: provider_id.to_owned(),
            r#type: "tool_group".into(),
            mcp_endpoint: mcp_endpoint.map(|uri| McpEndpoint { uri: uri.to_owned() }),
            args,
            provider_resource_id: Some(id.to_owned()),
            disabled: None,
            authorization: None,
        }
    }
}

/// `{"data": […]}`, as every list of Llama Stack comes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Listed<T> {
    pub data: Vec<T>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Parameter {
    pub name: String,
    /// JSON Schema's type word.
    pub parameter_type: String,
    pub description: String,
    pub required: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub default: Option<Value>,
}

/// A registered tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Tool {
    pub identifier: String,
    pub description: String,
    pub parameters: Vec<Parameter>,
    pub provider_id: String,
    pub toolgroup_id: String,
    /// Always `tool`.
    pub r#type: String,
    pub provider_resource_id: String,
    /// `effect`, `risk`, `bound_args`, `hash`, `input_schema`.
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
}

/// A tool as the runtime lists it, and as a client describes one of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ToolDef {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Vec<Parameter>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
}

/// `POST /v1/tool-runtime/invoke`.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
pub struct InvokeTool {
    pub tool_name: String,
    #[schema(value_type = Object)]
    pub kwargs: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ToolInvocationResult {
    pub content: InterleavedContent,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
}

impl ToolInvocationResult {
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        let result = match outcome {
            Outcome::Done(result) => result.clone(),
            Outcome::NeedsInput(request) => {
                ToolResult::error(&format!("needs the word of a person: {}", request.words()))
            }
        };
        Self {
            error_message: result.is_error.then(|| result.content.clone()),
            error_code: result.is_error.then_some(1),
            content: InterleavedContent::Text(result.content),
            metadata: result.details.and_then(|d| d.as_object().cloned()),
        }
    }
}

/// A registered tool as `/v1/tools` shows it.
#[must_use]
pub fn tool(def: &Def, provider_id: &str) -> Tool {
    Tool {
        identifier: def.name.clone(),
        description: def.description.clone(),
        parameters: parameters(&def.schema),
        provider_id: provider_id.to_owned(),
        toolgroup_id: def.toolgroup.clone(),
        r#type: "tool".into(),
        provider_resource_id: def.wire_name.clone(),
        metadata: metadata(def),
    }
}

/// A registered tool as `/v1/tool-runtime/list-tools` shows it.
#[must_use]
pub fn runtime_tool(def: &Def) -> ToolDef {
    ToolDef {
        name: def.name.clone(),
        description: Some(def.description.clone()),
        parameters: Some(parameters(&def.schema)),
        metadata: Some(metadata(def)),
    }
}

fn metadata(def: &Def) -> Map<String, Value> {
    let members = json!({
        "effect": def.effect, "risk": def.risk, "bound_args": def.bound_args, "hash": def.hash,
        "input_schema": def.schema,
    });
    members.as_object().cloned().unwrap_or_default()
}

/// The flat list of a schema's top-level properties, in the schema's order of names.
#[must_use]
pub fn parameters(schema: &Value) -> Vec<Parameter> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return vec![] };
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let list = properties.iter().map(|(name, p)| Parameter {
        name: name.clone(),
        parameter_type: type_word(p).to_owned(),
        description: p.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
        required: required.contains(&name.as_str()),
        default: p.get("default").cloned(),
    });
    list.collect()
}

fn type_word(property: &Value) -> &str {
    match property.get("type") {
        Some(Value::String(word)) => word,
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).find(|w| *w != "null").unwrap_or("string"),
        _ => "string",
    }
}

/// A client's own tool as the model is offered it. Python's type words are understood beside JSON Schema's.
#[must_use]
pub fn client_tool(def: &ToolDef) -> ToolSpec {
    let parameters = def.parameters.as_deref().unwrap_or_default();
    let given = def.metadata.as_ref().and_then(|m| m.get("input_schema")).filter(|s| s.is_object());
    let schema = given.cloned().unwrap_or_else(|| schema(parameters));
    ToolSpec {
        name: def.name.clone(),
        description: def.description.clone(),
        parameters: Some(schema),
        strict: None,
        cache_control: None,
    }
}

/// The flat form of a client tool, as its agent's configuration shows it.
#[must_use]
pub fn from_client_tool(spec: &ToolSpec) -> ToolDef {
    ToolDef {
        name: spec.name.clone(),
        description: spec.description.clone(),
        parameters: Some(spec.parameters.as_ref().map(parameters).unwrap_or_default()),
        metadata: None,
    }
}

/// The flat list as JSON Schema.
pub(super) fn schema(parameters: &[Parameter]) -> Value {
    let mut properties = Map::new();
    for p in parameters {
        let mut property = Map::from_iter([("type".to_owned(), json!(schema_word(&p.parameter_type)))]);
        if !p.description.is_empty() {
            property.insert("description".into(), json!(p.description));
        }
        if let Some(default) = &p.default {
            property.insert("default".into(), default.clone());
        }
        properties.insert(p.name.clone(), Value::Object(property));
    }
    let required: Vec<&str> = parameters.iter().filter(|p| p.required).map(|p| p.name.as_str()).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

/// llama-stack-client's `client_tool` decorator writes Python's names (`str`, `int`, `list`, `dict`).
fn schema_word(word: &str) -> &str {
    match word {
        "str" => "string",
        "int" => "integer",
        "float" => "number",
        "bool" => "boolean",
        "list" | "tuple" | "set" => "array",
        "dict" => "object",
        word if word.starts_with("list[") || word.starts_with("List[") => "array",
        word if word.starts_with("dict[") || word.starts_with("Dict[") => "object",
        "string" | "integer" | "number" | "boolean" | "array" | "object" | "null" => word,
        _ => "string",
    }
}

/// A tool call as the protocol shows it: parsed where it parses, and always the text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = LlamaStackToolCall)]
pub struct ToolCall {
    pub call_id: String,
    pub tool_name: String,
    pub arguments: Arguments,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments_json: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Arguments {
    Parsed(BTreeMap<String, Value>),
    /// What the model wrote, where it is no JSON object.
    Text(String),
}

impl From<&frontdesk_api::chat::ToolCall> for ToolCall {
    fn from(call: &frontdesk_api::chat::ToolCall) -> Self {
        let arguments = match serde_json::from_str(&call.arguments) {
            Ok(object) => Arguments::Parsed(object),
            Err(_) if call.arguments.trim().is_empty() => Arguments::Parsed(BTreeMap::new()),
            Err(_) => Arguments::Text(call.arguments.clone()),
        };
        let arguments_json = matches!(arguments, Arguments::Parsed(_))
            .then(|| if call.arguments.trim().is_empty() { "{}".to_owned() } else { call.arguments.clone() });
        Self { call_id: call.id.clone(), tool_name: call.name.clone(), arguments, arguments_json }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_function_becomes_a_schema_and_comes_back_flat() {
        // Oracle: what `client_tool` of llama-stack-client 0.2.12 sends for `def add(x: int, y: int)`.
        let sent = json!({"name": "add", "description": "Add two numbers", "metadata": {}, "parameters": [
            {"name": "x", "description": "first", "parameter_type": "int", "default": null, "required": true},
            {"name": "y", "description": "second", "parameter_type": "int", "default": null, "required": false}]});
        let spec = client_tool(&serde_json::from_value(sent).expect("a tool definition"));
        let schema = spec.parameters.as_ref().expect("a schema");
        assert_eq!(schema["properties"]["x"], json!({"type": "integer", "description": "first"}));
        assert_eq!(schema["required"], json!(["x"]));
        let flat = from_client_tool(&spec).parameters.expect("parameters");
        assert_eq!((flat[1].name.as_str(), flat[1].parameter_type.as_str(), flat[1].required), ("y", "integer", false));
    }

    #[test]
    fn arguments_that_are_no_object_are_shown_as_written() {
        let call = |arguments: &str| {
            ToolCall::from(&frontdesk_api::chat::ToolCall {
                id: "c".into(),
                name: "t".into(),
                arguments: arguments.into(),
            })
        };
        assert_eq!(call("{\"a\":").arguments, Arguments::Text("{\"a\":".into()));
        assert_eq!(call("").arguments_json.as_deref(), Some("{}"));
        let good = call(r#"{"a":{"b":[1]}}"#);
        assert_eq!(serde_json::to_value(&good.arguments).expect("json"), json!({"a": {"b": [1]}}));
    }
}
