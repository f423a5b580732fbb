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
use crate::{fields::Fields, openai::peek::not_json};

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
/// and the request's `cache_control` stay in `extra`, marks for the cache on their parts and tools, signed thoughts with
/// the call that they led to.
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
    let mut body = Fields::of_body(body)?;
    let asks = |value: &Value| value.as_array().is_none_or(|list| !list.is_empty());
    for name in ONLY_THERE {
        if body.take(name).is_some_and(|value| asks(&value)) {
            let message = format!("'{name}' works with Anthropic's own API only, and this model is not served by it");
            return Err(Error::invalid(name, message));
        }
    }
    let system = if claude { content::marked_system } else { system };
    let mut messages: Vec<Message> = body.take("system").map(|wire| system(&wire)).transpose()?.into_iter().collect();
    messages.extend(content::messages(&body.list("messages")?.unwrap_or_default(), claude)?);
    let choice = body.object("tool_choice")?;
    let (tool_choice, parallel_tool_calls) = choice.map(tool_choice).transpose()?.unwrap_or_default();
    let output = body.object("output_config")?;
    let (response_format, effort) = output.map(output_config).transpose()?.unwrap_or_default();
    let chat = Chat {
        messages,
        tools: body.each("tools", |wire| tool(wire, claude))?,
        tool_choice,
        parallel_tool_calls,
        max_tokens: body.count("max_tokens", 0)?,
        temperature: body.real("temperature")?,
        top_p: body.real("top_p")?,
        seed: None,
        stop: body.texts("stop_sequences")?,
        response_format,
        extra: Map::new(),
    };
    let user = body.object("metadata")?.map(|mut of| of.text("user_id")).transpose()?.flatten();
    // A longer id is an error elsewhere, and without it only the search for misuse is poorer.
    let user = user.filter(|id| id.chars().count() <= LONGEST_USER);
    let renamed = [("reasoning_effort", effort), ("user", user)];
    let renamed = renamed.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
    body.expect("thinking", "an object", Value::is_object)?;
    body.expect("cache_control", "an object", Value::is_object)?;
    for name in HINTS {
        if !(claude && ["thinking", "cache_control"].contains(&name)) {
            body.pass_over(&[name]);
        }
    }
    body.pass_over(&["model", "stream"]);
    // In this API an absent member and a null are the same.
    let rest = body.into_members().into_iter().filter(|(_, value)| !value.is_null());
    Ok(Chat { extra: rest.chain(renamed).collect(), ..chat })
}

/// One message of text: many servers and chat templates take no parts in a system message.
fn system(wire: &Value) -> Result<Message> {
    Ok(Message::text(Role::System, content::words("system", wire)?))
}

fn tool(mut wire: Fields, claude: bool) -> Result<ToolSpec> {
    let at = wire.path("type");
    if let Some(other) = wire.text("type")?.filter(|kind| kind != "custom") {
        let message = format!(
            "{at} is '{other}', a tool of Anthropic's own: the provider of this model knows only tools with a name and \
             an input_schema"
        );
        return Err(Error::invalid(at, message));
    }
    Ok(ToolSpec {
        name: wire.name("name")?,
        description: wire.text("description")?,
        parameters: wire.object("input_schema")?.map(Fields::into_value),
        strict: wire.flag("strict")?,
        cache_control: wire.object("cache_control")?.filter(|_| claude).map(Fields::into_value),
    })
}

/// The choice, and whether tools may be called side by side where the client says.
fn tool_choice(mut wire: Fields) -> Result<(Option<ToolChoice>, Option<bool>)> {
    let choice = match wire.word("type", &["auto", "any", "none", "tool"])?.as_deref() {
        Some("auto") => ToolChoice::Auto,
        Some("any") => ToolChoice::Required,
        Some("none") => ToolChoice::None,
        Some(_) => ToolChoice::Named(wire.name("name")?),
        None => return Err(wire.missing("type")),
    };
    let single = wire.flag("disable_parallel_tool_use")?;
    Ok((Some(choice), single.map(|single| !single)))
}

/// OpenAI's `response_format` for `format`, whose name is required there and shown to nobody, and `reasoning_effort`.
fn output_config(mut wire: Fields) -> Result<(Option<Value>, Option<String>)> {
    let format = wire.object("format")?.map(|mut format| {
        format.word("type", &["json_schema"])?;
        let schema = format.object("schema")?.ok_or_else(|| format.missing("schema"))?.into_value();
        Ok(json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": schema, "strict": true } }))
    });
    let effort = wire.text("effort")?.map(|effort| match effort.as_str() {
        // The highest that every server with this member knows.
        "xhigh" | "max" => "high".to_owned(),
        _ => effort,
    });
    Ok((format.transpose()?, effort))
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

    // Oracle: Anthropic's API reference, "Messages".
    #[test]
    fn a_member_of_the_wrong_type_is_named() {
        let tool = |name: &str, value: Value| {
            let mut tool = json!({ "name": "f", "input_schema": { "type": "object" } });
            tool[name] = value;
            json!([tool])
        };
        let format = |format: Value| json!({ "format": format });
        for (member, value, param) in [
            ("system", json!(7), "system"),
            ("messages", json!("hi"), "messages"),
            ("max_tokens", json!("ten"), "max_tokens"),
            ("max_tokens", json!(-1), "max_tokens"),
            ("temperature", json!("0.5"), "temperature"),
            ("top_p", json!("0.5"), "top_p"),
            ("stop_sequences", json!("END"), "stop_sequences"),
            ("stop_sequences", json!(["END", 5]), "stop_sequences[1]"),
            ("thinking", json!(true), "thinking"),
            ("metadata", json!("u-7"), "metadata"),
            ("metadata", json!({ "user_id": 7 }), "metadata.user_id"),
            ("output_config", json!("high"), "output_config"),
            ("output_config", json!({ "effort": 7 }), "output_config.effort"),
            ("output_config", format(json!("json_schema")), "output_config.format"),
            ("output_config", format(json!({ "type": "json_object" })), "output_config.format.type"),
            ("output_config", format(json!({ "type": "json_schema" })), "output_config.format.schema"),
            ("output_config", format(json!({ "schema": "{}" })), "output_config.format.schema"),
            ("tools", json!(["f"]), "tools[0]"),
            ("tools", tool("type", json!(7)), "tools[0].type"),
            ("tools", tool("name", json!(7)), "tools[0].name"),
            ("tools", tool("name", json!("")), "tools[0].name"),
            ("tools", tool("description", json!(7)), "tools[0].description"),
            ("tools", tool("input_schema", json!("{}")), "tools[0].input_schema"),
            ("tools", tool("strict", json!("yes")), "tools[0].strict"),
            ("tools", tool("cache_control", json!(true)), "tools[0].cache_control"),
            ("cache_control", json!("ephemeral"), "cache_control"),
            ("system", json!([{ "type": "text", "text": "x", "cache_control": 7 }]), "system[0].cache_control"),
            ("tool_choice", json!("auto"), "tool_choice"),
            ("tool_choice", json!({ "type": 7 }), "tool_choice.type"),
            ("tool_choice", json!({ "type": "required" }), "tool_choice.type"),
            ("tool_choice", json!({}), "tool_choice.type"),
            ("tool_choice", json!({ "type": "tool" }), "tool_choice.name"),
            ("tool_choice", json!({ "type": "tool", "name": 7 }), "tool_choice.name"),
            (
                "tool_choice",
                json!({ "type": "auto", "disable_parallel_tool_use": "yes" }),
                "tool_choice.disable_parallel_tool_use",
            ),
        ] {
            let mut body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
            body[member] = value.clone();
            for decode in [decode, decode_for_claude, decode_with_thinking] {
                let error = decode(body.to_string().as_bytes()).expect_err(param);
                assert_eq!(error.param.as_deref(), Some(param), "{value}: {}", error.message);
                assert!(error.message.contains(param), "{}", error.message);
            }
            body[member] = Value::Null;
            let chat = decode(body.to_string().as_bytes()).expect(member);
            assert_eq!(Chat { messages: vec![], ..chat }, Chat::default(), "{member}");
        }
        let nulls = json!({ "messages": [{ "role": "user", "content": "hi" }], "metadata": { "user_id": null },
            "tools": tool("strict", Value::Null), "output_config": { "effort": null, "format": null } });
        let chat = decode(nulls.to_string().as_bytes()).expect("nulls are left out");
        assert_eq!((chat.tools[0].strict, chat.response_format, chat.extra), (None, None, Map::new()));
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
            ("system", json!([{ "type": "image" }]), "system[0].type"),
        ] {
            let mut body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
            body[member] = value;
            let error = decode(body.to_string().as_bytes()).expect_err("refused");
            assert_eq!(error.param.as_deref(), Some(param), "{}", error.message);
        }
    }
}
