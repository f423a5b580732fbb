//! A Messages request, typed, for a provider that speaks another dialect.
//!
//! Three kinds of members: those with a counterpart are translated; hints of Anthropic's that no other API takes
//! (`HINTS`) are left out; what only Anthropic can do (`ONLY_THERE`, its server tools, its file store) is refused by
//! name, because an answer without it would not be what was asked for. Members that Anthropic's API does not have ride
//! in `extra`: the server behind may know them. `extra` and `Part::Other` are in OpenAI's words, as everywhere.
//! Source of the shapes: Anthropic's API reference, "Messages", and the types of the official SDK.

use frontdesk_api::{
    Error, Result,
    chat::{Chat, Message, Role, ToolChoice, ToolSpec},
};
use serde_json::{Map, Value, json};

use super::content;
use crate::openai::peek::not_json;

/// Members with a counterpart.
const TRANSLATED: [&str; 12] = [
    "model",
    "messages",
    "stream",
    "system",
    "max_tokens",
    "tools",
    "tool_choice",
    "stop_sequences",
    "temperature",
    "top_p",
    "metadata",
    "output_config",
];

/// Members that tune price, speed, caching or depth of thought at Anthropic, and change no meaning when absent.
/// `thinking` is one: a model that thinks does so by its server's own settings.
const HINTS: [&str; 7] =
    ["thinking", "cache_control", "context_management", "diagnostics", "service_tier", "speed", "user_profile_id"];

/// Members that promise what no other API can keep.
const ONLY_THERE: [&str; 3] = ["container", "mcp_servers", "inference_geo"];

/// The longest `user` that OpenAI's API takes, in characters.
const LONGEST_USER: usize = 64;

/// # Errors
/// `Invalid` naming the member (`messages[2].content[0].source`).
pub fn decode(body: &[u8]) -> Result<Chat> {
    read(body, false)
}

/// As [`decode`], for a provider that serves Claude's models by another API and so has some of the notions: `thinking`
/// and the request's `cache_control` stay in `extra`, marks for the cache on their parts, signed thoughts with the call
/// that they led to. A mark on a tool is left out: one on what follows the tools covers them.
///
/// # Errors
/// As [`decode`].
pub fn decode_for_claude(body: &[u8]) -> Result<Chat> {
    read(body, true)
}

/// As [`decode`], with `thinking` in `extra`, for a provider of other models that is told how much to think.
///
/// # Errors
/// As [`decode`].
pub fn decode_with_thinking(body: &[u8]) -> Result<Chat> {
    #[derive(serde::Deserialize)]
    struct Thinks {
        thinking: Option<Value>,
    }
    let mut chat = decode(body)?;
    let thinks: Thinks = serde_json::from_slice(body).map_err(not_json)?;
    chat.extra.extend(thinks.thinking.map(|thinking| ("thinking".to_owned(), thinking)));
    Ok(chat)
}

fn read(body: &[u8], claude: bool) -> Result<Chat> {
    let mut body: Map<String, Value> = serde_json::from_slice(body).map_err(not_json)?;
    // In this API an absent member and a null are the same.
    body.retain(|_, value| !value.is_null());
    let asks = |value: &Value| value.as_array().is_none_or(|list| !list.is_empty());
    if let Some(name) = ONLY_THERE.iter().find(|name| body.get(**name).is_some_and(asks)) {
        let message = format!("'{name}' works with Anthropic's own API only, and this model is not served by it");
        return Err(Error::invalid(*name, message));
    }
    let system = if claude { content::marked_system } else { system };
    let mut messages: Vec<Message> = body.get("system").map(system).transpose()?.into_iter().collect();
    messages.extend(content::messages(list(&body, "messages")?, claude)?);
    let (tool_choice, parallel_tool_calls) = tool_choice(body.get("tool_choice"))?;
    let stop = list(&body, "stop_sequences")?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(Chat {
        messages,
        tools: list(&body, "tools")?.iter().enumerate().map(|(i, t)| tool(i, t, claude)).collect::<Result<_>>()?,
        tool_choice,
        parallel_tool_calls,
        max_tokens: body.get("max_tokens").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()),
        temperature: body.get("temperature").and_then(Value::as_f64),
        top_p: body.get("top_p").and_then(Value::as_f64),
        seed: None,
        stop,
        response_format: body.get("output_config").and_then(|c| c.get("format")).and_then(response_format),
        extra: extra(body, claude),
    })
}

fn list<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a [Value]> {
    match body.get(name) {
        None => Ok(&[]),
        Some(Value::Array(many)) => Ok(many),
        Some(_) => Err(Error::invalid(name, format!("'{name}' must be a list"))),
    }
}

/// One message of text: many servers and chat templates take no parts in a system message.
fn system(wire: &Value) -> Result<Message> {
    Ok(Message::text(Role::System, content::words("system", wire)?))
}

fn tool(i: usize, wire: &Value, claude: bool) -> Result<ToolSpec> {
    let at = format!("tools[{i}]");
    match wire.get("type").and_then(Value::as_str) {
        None | Some("custom") => {}
        Some(other) => {
            let message = format!(
                "{at}.type is '{other}', a tool of Anthropic's own: the provider of this model knows only tools with \
                 a name and an input_schema"
            );
            return Err(Error::invalid(format!("{at}.type"), message));
        }
    }
    let text = |name: &str| wire.get(name).and_then(Value::as_str).map(str::to_owned);
    let Some(name) = text("name").filter(|name| !name.is_empty()) else {
        return Err(Error::invalid(format!("{at}.name"), format!("missing member '{at}.name'")));
    };
    Ok(ToolSpec {
        name,
        description: text("description"),
        parameters: wire.get("input_schema").cloned(),
        strict: wire.get("strict").and_then(Value::as_bool),
        cache_control: wire.get("cache_control").filter(|_| claude).cloned(),
    })
}

/// The choice, and whether tools may be called side by side where the client says.
fn tool_choice(wire: Option<&Value>) -> Result<(Option<ToolChoice>, Option<bool>)> {
    let Some(wire) = wire else { return Ok((None, None)) };
    let text = |name: &str| wire.get(name).and_then(Value::as_str);
    let choice = match (text("type"), text("name")) {
        (Some("auto"), _) => ToolChoice::Auto,
        (Some("any"), _) => ToolChoice::Required,
        (Some("none"), _) => ToolChoice::None,
        (Some("tool"), Some(name)) => ToolChoice::Named(name.to_owned()),
        _ => {
            let message = "'tool_choice.type' must be auto, any, none, or tool with a name";
            return Err(Error::invalid("tool_choice", message));
        }
    };
    let single = wire.get("disable_parallel_tool_use").and_then(Value::as_bool);
    Ok((Some(choice), single.map(|single| !single)))
}

/// OpenAI's `response_format` for `output_config.format`; its name is required there and shown to nobody.
fn response_format(wire: &Value) -> Option<Value> {
    let schema = wire.get("schema")?;
    Some(json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": schema, "strict": true } }))
}

/// What has no member in `Chat`, by OpenAI's names.
fn extra(body: Map<String, Value>, claude: bool) -> Map<String, Value> {
    let effort = body.get("output_config").and_then(|c| c.get("effort")).and_then(Value::as_str).map(|effort| {
        // The highest that every server with this member knows.
        if matches!(effort, "xhigh" | "max") { "high" } else { effort }.into()
    });
    // A longer id is an error there, and without it only the search for misuse is poorer.
    let user = body.get("metadata").and_then(|m| m.get("user_id")).and_then(Value::as_str);
    let user = user.filter(|id| id.chars().count() <= LONGEST_USER).map(Value::from);
    let renamed = [("reasoning_effort", effort), ("user", user)];
    let renamed = renamed.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let kept = |name: &str| claude && ["thinking", "cache_control"].contains(&name);
    let known = |name: &str| TRANSLATED.contains(&name) || HINTS.contains(&name) || ONLY_THERE.contains(&name);
    let known = |name: &str| known(name) && !kept(name);
    body.into_iter().filter(|(name, _)| !known(name)).chain(renamed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::chat::encode;

    fn as_openai(body: &Value) -> Value {
        let chat = decode(body.to_string().as_bytes()).expect("a good request");
        serde_json::from_slice(&encode("m", false, &chat)).expect("JSON")
    }

    // Oracle: the two references side by side, Anthropic's "Messages" and OpenAI's "Chat".
    #[test]
    fn a_request_says_the_same_in_openais_words() {
        let sent = json!({
            "model": "up/m", "max_tokens": 64, "stream": true, "temperature": 0.5, "top_p": 0.9, "top_k": 3,
            "system": [
                { "type": "text", "text": "Be brief.", "cache_control": { "type": "ephemeral" } },
                { "type": "text", "text": "Be kind." },
            ],
            "stop_sequences": ["END"],
            "metadata": { "user_id": "u-7" },
            "thinking": { "type": "adaptive" },
            "output_config": { "effort": "max", "format": { "type": "json_schema", "schema": { "type": "object" } } },
            "tools": [{
                "name": "look", "description": "Looks.", "strict": true, "cache_control": { "type": "ephemeral" },
                "input_schema": { "type": "object", "properties": { "id": { "type": "string" } } },
            }],
            "tool_choice": { "type": "any", "disable_parallel_tool_use": true },
            "chat_template_kwargs": { "enable_thinking": false },
            "service_tier": null, "mcp_servers": [],
            "messages": [{ "role": "user", "content": "hi" }],
        });
        let want = json!({
            "model": "m", "max_tokens": 64, "stream": false, "temperature": 0.5, "top_p": 0.9, "top_k": 3,
            "stop": ["END"], "user": "u-7", "reasoning_effort": "high",
            "response_format": {
                "type": "json_schema",
                "json_schema": { "name": "answer", "schema": { "type": "object" }, "strict": true },
            },
            "tools": [{ "type": "function", "function": {
                "name": "look", "description": "Looks.", "strict": true,
                "parameters": { "type": "object", "properties": { "id": { "type": "string" } } },
            } }],
            "tool_choice": "required", "parallel_tool_calls": false,
            "chat_template_kwargs": { "enable_thinking": false },
            "messages": [
                { "role": "system", "content": "Be brief.\n\nBe kind." },
                { "role": "user", "content": "hi" },
            ],
        });
        assert_eq!(as_openai(&sent), want);
    }

    #[test]
    fn every_tool_choice_has_its_counterpart() {
        for (sent, want) in [
            (json!({ "type": "auto" }), json!("auto")),
            (json!({ "type": "any" }), json!("required")),
            (json!({ "type": "none" }), json!("none")),
            (json!({ "type": "tool", "name": "f" }), json!({ "type": "function", "function": { "name": "f" } })),
        ] {
            let body = json!({ "messages": [{ "role": "user", "content": "hi" }], "tool_choice": sent });
            let got = as_openai(&body);
            assert_eq!((&got["tool_choice"], got.get("parallel_tool_calls")), (&want, None));
        }
    }

    #[test]
    fn a_user_id_that_openai_would_refuse_stays_here() {
        let body =
            json!({ "messages": [{ "role": "user", "content": "hi" }], "metadata": { "user_id": "u".repeat(65) } });
        assert_eq!(as_openai(&body).get("user"), None);
    }

    #[test]
    fn what_only_anthropic_can_do_is_refused_by_name() {
        for (member, value, param) in [
            ("container", json!("c_1"), "container"),
            ("mcp_servers", json!([{ "type": "url" }]), "mcp_servers"),
            ("inference_geo", json!("us"), "inference_geo"),
            ("tools", json!([{ "type": "web_search_20260318", "name": "web_search" }]), "tools[0].type"),
            ("tools", json!([{ "input_schema": {} }]), "tools[0].name"),
            ("tools", json!({}), "tools"),
            ("tool_choice", json!({ "type": "tool" }), "tool_choice"),
            ("system", json!([{ "type": "image" }]), "system[0].type"),
        ] {
            let mut body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
            body[member] = value;
            let error = decode(body.to_string().as_bytes()).expect_err("refused");
            assert_eq!(error.param.as_deref(), Some(param), "{}", error.message);
        }
    }
}
