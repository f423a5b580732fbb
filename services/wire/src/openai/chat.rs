//! A chat request, typed: decoded from a client's JSON, or written as the JSON an OpenAI-compatible
//! server reads. Members we do not know ride in `extra` both ways.

use frontdesk_api::{
    Error, Result,
    chat::{Chat, Message, Part, Role, ToolCall, ToolChoice, ToolSpec},
};
use serde_json::{Map, Value, json};

use crate::{fields::Fields, thoughts};

/// Members that decide how a request is routed and answered, and are read before it is.
const READ_BEFORE: [&str; 4] = ["model", "stream", "stream_options", "store"];

/// # Errors
/// `Invalid` naming the member (`messages[2].role`).
pub fn decode(body: &[u8]) -> Result<Chat> {
    read(Fields::of_body(body)?)
}

/// Members of OpenAI's API that another has no word for and without which the answer would not be what was asked for.
/// `more`: such members beside those that nobody else has.
///
/// # Errors
/// `Invalid` naming the member.
pub(crate) fn kept_elsewhere(chat: &Chat, whose: &str, more: &[&str]) -> Result<()> {
    let asks = |name: &str| match chat.extra.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::Array(many)) if name == "modalities" => many.iter().any(|kind| kind != "text"),
        Some(Value::Array(many)) => !many.is_empty(),
        Some(_) => true,
    };
    for (name, instead) in [("functions", "tools"), ("function_call", "tool_choice")] {
        if asks(name) {
            let message = format!("'{name}' is not understood by {whose}: give '{instead}', which took its place");
            return Err(Error::invalid(name, message));
        }
    }
    match more.iter().find(|name| asks(name)) {
        Some(name) => Err(Error::invalid(*name, format!("'{name}' asks for what {whose} does not have"))),
        None => Ok(()),
    }
}

/// As [`decode`], from the members of the body.
pub(super) fn read(mut body: Fields) -> Result<Chat> {
    let messages = body.each("messages", message)?;
    let mut tools = body.each("tools", tool)?;
    let tool_choice = body.take("tool_choice").map(|wire| tool_choice(wire, &mut tools)).transpose()?;
    let (newer, older) = (body.count("max_completion_tokens", 0)?, body.count("max_tokens", 0)?);
    let chat = Chat {
        messages,
        tools,
        tool_choice,
        parallel_tool_calls: body.flag("parallel_tool_calls")?,
        max_tokens: newer.or(older),
        temperature: body.real("temperature")?,
        top_p: body.real("top_p")?,
        seed: body.whole("seed")?,
        stop: stop(&mut body)?,
        response_format: body.object("response_format")?.map(Fields::into_value),
        extra: Map::new(),
    };
    body.pass_over(&READ_BEFORE);
    known_elsewhere(&body)?;
    Ok(Chat { extra: body.into_members(), ..chat })
}

/// A text, or a list of them.
fn stop(body: &mut Fields) -> Result<Vec<String>> {
    body.expect("stop", "a string or a list of strings", |wire| wire.is_string() || wire.is_array())?;
    if body.is_list("stop") { body.texts("stop") } else { Ok(body.text("stop")?.into_iter().collect()) }
}

/// Members that ride in `extra` and that the encoders of other dialects translate.
fn known_elsewhere(body: &Fields) -> Result<()> {
    for name in ["user", "safety_identifier", "service_tier", "reasoning_effort"] {
        body.expect(name, "a string", Value::is_string)?;
    }
    for name in ["presence_penalty", "frequency_penalty"] {
        body.expect(name, "a number", Value::is_number)?;
    }
    for name in ["cache_control", "metadata", "thinking", "output_config", "generation_config", "generationConfig"] {
        body.expect(name, "an object", Value::is_object)?;
    }
    body.expect("n", "a whole number, 1 or more", |n| n.as_u64().is_some_and(|n| n > 0))?;
    body.expect("logprobs", "true or false", Value::is_boolean)?;
    body.expect("top_logprobs", "a whole number, 0 or more", Value::is_u64)?;
    body.expect("modalities", "a list of strings", |of| of.as_array().is_some_and(|of| of.iter().all(Value::is_string)))
}

fn message(mut wire: Fields) -> Result<Message> {
    let at = wire.path("role");
    let role = match wire.needed("role")?.as_str() {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        other => {
            let message = format!("{at} is '{other}': use system, developer, user, assistant or tool");
            return Err(Error::invalid(at, message));
        }
    };
    let at = wire.path("content");
    let content = match wire.take("content") {
        None => vec![],
        Some(Value::String(text)) => vec![Part::Text(text)],
        Some(Value::Array(parts)) => {
            parts.into_iter().enumerate().map(|(k, wire)| part(wire, &format!("{at}[{k}]"))).collect::<Result<_>>()?
        }
        Some(_) => return Err(Error::invalid(at.clone(), format!("{at} must be text or a list of parts"))),
    };
    let (tool_calls, tool_call_id) = (wire.each("tool_calls", call)?, wire.text("tool_call_id")?);
    for name in ["refusal", "reasoning_content", "name"] {
        wire.expect(name, "a string", Value::is_string)?;
    }
    wire.expect("is_error", "true or false", Value::is_boolean)?;
    wire.expect("cache_control", "an object", Value::is_object)?;
    Ok(Message { role, content, tool_calls, tool_call_id, extra: wire.into_members() })
}

/// Whoever writes a part anew says what it lacks; what it can do without must fit where it is there.
fn part(wire: Value, at: &str) -> Result<Part> {
    if let (Some("text"), Some(text)) = (wire["type"].as_str(), wire["text"].as_str())
        && wire.as_object().is_some_and(|o| o.len() == 2)
    {
        return Ok(Part::Text(text.to_owned()));
    }
    let wire = Fields::of(wire, at)?;
    wire.expect("cache_control", "an object", Value::is_object)?;
    wire.expect_in("file", "filename", "a string", Value::is_string)?;
    Ok(Part::Other(wire.into_value()))
}

fn call(mut wire: Fields) -> Result<ToolCall> {
    let id = wire.needed("id")?;
    let mut function = function(&mut wire)?;
    // Some servers leave out what is empty.
    let arguments = function.text("arguments")?.unwrap_or_default();
    Ok(ToolCall { id, name: function.name("name")?, arguments })
}

fn tool(mut wire: Fields) -> Result<ToolSpec> {
    let mut mark = wire.object("cache_control")?;
    let mut function = function(&mut wire)?;
    mark = mark.or(function.object("cache_control")?);
    Ok(ToolSpec {
        name: function.name("name")?,
        description: function.text("description")?,
        parameters: function.object("parameters")?.map(Fields::into_value),
        strict: function.flag("strict")?,
        cache_control: mark.map(Fields::into_value),
    })
}

/// The function of a tool, of a call or of a choice: other kinds of tools (`custom`) no other API has.
fn function(wire: &mut Fields) -> Result<Fields> {
    if let Some(other) = wire.text("type")?.filter(|kind| kind != "function") {
        let at = wire.path("type");
        let message = format!("{at} is '{other}': the provider of this model knows tools of the type function");
        return Err(Error::invalid(at, message));
    }
    wire.object("function")?.ok_or_else(|| wire.missing("function"))
}

fn tool_choice(wire: Value, tools: &mut Vec<ToolSpec>) -> Result<ToolChoice> {
    match wire.as_str() {
        Some("auto") => return Ok(ToolChoice::Auto),
        Some("none") => return Ok(ToolChoice::None),
        Some("required") => return Ok(ToolChoice::Required),
        None if wire["type"] == "allowed_tools" => return allowed(Fields::of(wire, "tool_choice")?, tools),
        None if wire.is_object() => {}
        _ => {
            let message = "'tool_choice' must be auto, none, required or name a function";
            return Err(Error::invalid("tool_choice", message));
        }
    }
    Ok(ToolChoice::Named(function(&mut Fields::of(wire, "tool_choice")?)?.name("name")?))
}

/// A choice that names some of the tools: those alone are left, so that the model can call no other.
fn allowed(mut choice: Fields, tools: &mut Vec<ToolSpec>) -> Result<ToolChoice> {
    let mut choice = choice.object("allowed_tools")?.ok_or_else(|| choice.missing("allowed_tools"))?;
    let mode = choice.word("mode", &["auto", "required"])?.ok_or_else(|| choice.missing("mode"))?;
    let names = choice.each("tools", |mut named| {
        let mut function = function(&mut named)?;
        let (name, at) = (function.name("name")?, function.path("name"));
        match tools.iter().any(|tool| tool.name == name) {
            true => Ok(name),
            false => Err(Error::invalid(at.clone(), format!("{at} is '{name}', which is not among 'tools'"))),
        }
    })?;
    if names.is_empty() {
        let at = choice.path("tools");
        return Err(Error::invalid(at.clone(), format!("'{at}' must name one tool or more")));
    }
    tools.retain(|tool| names.contains(&tool.name));
    Ok(if mode == "required" { ToolChoice::Required } else { ToolChoice::Auto })
}

/// The request as an OpenAI-compatible server reads it.
#[must_use]
pub fn encode(model: &str, stream: bool, chat: &Chat) -> Vec<u8> {
    let mut out = chat.extra.clone();
    out.insert("model".into(), model.into());
    out.insert("messages".into(), encode_messages(&chat.messages).into());
    if !chat.tools.is_empty() {
        out.insert("tools".into(), chat.tools.iter().map(encode_tool).collect());
    }
    let choice = chat.tool_choice.as_ref().map(|choice| match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Named(name) => json!({ "type": "function", "function": { "name": name } }),
    });
    let optional = [
        ("tool_choice", choice),
        ("parallel_tool_calls", chat.parallel_tool_calls.map(Value::from)),
        ("max_tokens", chat.max_tokens.map(Value::from)),
        ("temperature", chat.temperature.map(Value::from)),
        ("top_p", chat.top_p.map(Value::from)),
        ("seed", chat.seed.map(Value::from)),
        ("stop", (!chat.stop.is_empty()).then(|| json!(chat.stop))),
        ("response_format", chat.response_format.clone()),
        ("stream_options", stream.then(|| json!({ "include_usage": true }))),
    ];
    out.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    out.insert("stream".into(), stream.into());
    Value::Object(out).to_string().into_bytes()
}

/// Before what a tool said that failed.
const FAILED: &str = "error: ";

fn encode_tool(spec: &ToolSpec) -> Value {
    let spec = ToolSpec { cache_control: None, ..spec.clone() };
    json!({ "type": "function", "function": without_nulls(json!(spec)) })
}

/// What stands before that of a tool's result which the message of the result cannot hold.
pub(crate) fn also_in(call: &str) -> Part {
    Part::Text(format!("Also in the result of the tool call {}:", thoughts::split(call).0))
}

/// A tool's message holds words alone (OpenAI's API reference, "Create chat completion"): the rest of the results beside
/// each other follows them, as the user's.
fn encode_messages(messages: &[Message]) -> Vec<Value> {
    let (mut out, mut behind): (Vec<Value>, Vec<Part>) = (vec![], vec![]);
    let user = |content: Vec<Part>| encode_message(&Message { content, ..Message::text(Role::User, "") });
    for message in messages {
        let others: Vec<&Part> = message.content.iter().filter(|part| !is_text(part)).collect();
        match message.role {
            Role::Tool if !others.is_empty() => {
                behind.push(also_in(message.tool_call_id.as_deref().unwrap_or_default()));
                behind.extend(others.into_iter().cloned());
                let texts = message.content.iter().filter(|part| is_text(part)).map(words).collect::<Vec<_>>();
                let content = vec![Part::Text(texts.join("\n"))];
                out.push(encode_message(&Message { content, ..message.clone() }));
            }
            Role::User if !behind.is_empty() => {
                let content = behind.drain(..).chain(message.content.iter().cloned()).collect();
                out.push(encode_message(&Message { content, ..message.clone() }));
            }
            role => {
                if role != Role::Tool && !behind.is_empty() {
                    out.push(user(std::mem::take(&mut behind)));
                }
                out.push(encode_message(message));
            }
        }
    }
    if !behind.is_empty() {
        out.push(user(behind));
    }
    out
}

fn is_text(part: &Part) -> bool {
    match part {
        Part::Text(_) => true,
        Part::Other(wire) => wire["type"] == "text",
    }
}

fn words(part: &Part) -> &str {
    match part {
        Part::Text(text) => text,
        Part::Other(wire) => wire["text"].as_str().unwrap_or_default(),
    }
}

fn encode_message(message: &Message) -> Value {
    let mut out = message.extra.clone();
    // There is no member for it, and the model must know.
    let failed = message.role == Role::Tool && out.remove("is_error").is_some_and(|is_error| is_error == true);
    let role = serde_json::to_value(message.role).unwrap_or_default();
    out.insert("role".into(), role);
    // No server of this dialect knows what another maker signed.
    let told: Vec<&Part> = message.content.iter().filter(|part| !thoughts::is_thought(part)).collect();
    let content = match told.as_slice() {
        [] if failed => json!(FAILED.trim_end()),
        [] => Value::Null,
        [Part::Text(text)] if failed => json!(format!("{FAILED}{text}")),
        [Part::Text(text)] => json!(text),
        parts => {
            let wire = |part: &&Part| match part {
                Part::Text(text) => json!({ "type": "text", "text": text }),
                Part::Other(value) => value.clone(),
            };
            let lead = failed.then(|| json!({ "type": "text", "text": FAILED.trim_end() }));
            lead.into_iter().chain(parts.iter().map(wire)).collect()
        }
    };
    out.insert("content".into(), content);
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(
            |c| json!({ "id": thoughts::split(&c.id).0, "type": "function", "function": { "name": c.name, "arguments": c.arguments } }),
        );
        out.insert("tool_calls".into(), calls.collect());
    }
    if let Some(id) = &message.tool_call_id {
        out.insert("tool_call_id".into(), json!(thoughts::split(id).0));
    }
    Value::Object(out)
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => members.into_iter().filter(|(_, v)| !v.is_null()).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Oracle: the body the official openai Python client sends for this call (its documentation's tool example),
    // with members of a future API added at every level we type.
    const SENT: &str = r#"{"model":"m","messages":[
        {"role":"system","content":"be brief","name":"ops"},
        {"role":"user","content":[{"type":"text","text":"what is this?"},{"type":"image_url","image_url":{"url":"data:,x"}}]},
        {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},
        {"role":"tool","tool_call_id":"c1","content":"42"}],
        "tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"},"strict":true}}],
        "tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false,"max_tokens":5,"temperature":0.5,
        "seed":7,"stop":["x"],"response_format":{"type":"json_object"},"top_k":3,"future":{"deep":[1]}}"#;

    #[test]
    fn what_was_decoded_encodes_to_the_same_request() {
        let chat = decode(SENT.as_bytes()).expect("a good request");
        let mut want: Value = serde_json::from_str(SENT).expect("json");
        want["stream"] = json!(false);
        let got: Value = serde_json::from_slice(&encode("m", false, &chat)).expect("json");
        assert_eq!(got, want);
    }

    // Oracle: OpenAI's API reference, where the content of a tool's message is a text or parts of text.
    #[test]
    fn what_a_tools_message_cannot_hold_follows_the_results() {
        let picture = |name: &str| json!({ "type": "image_url", "image_url": { "url": name } });
        let text = |text: &str| json!({ "type": "text", "text": text });
        let result = |id: &str, content: Value| json!({ "role": "tool", "tool_call_id": id, "content": content });
        let user = |content: Value| json!({ "role": "user", "content": content });
        let first = result("c1", json!([text("a"), picture("p1"), text("b")]));
        let told = |messages: Value| {
            let chat = decode(json!({ "messages": messages }).to_string().as_bytes()).expect("a good request");
            serde_json::from_slice::<Value>(&encode("m", false, &chat)).expect("json")["messages"].clone()
        };
        let (a, b) = (text("Also in the result of the tool call c1:"), text("Also in the result of the tool call c3:"));
        let three = [first.clone(), result("c2", json!("c")), result("c3", json!([picture("p3")]))];
        let words = [result("c1", json!("a\nb")), result("c2", json!("c")), result("c3", json!(""))];
        let behind = user(json!([a, picture("p1"), b, picture("p3")]));
        assert_eq!(told(json!(three)), json!([words[0], words[1], words[2], behind]));
        let said = json!({ "role": "assistant", "content": "hm" });
        let want = json!([words[0], user(json!([a, picture("p1")])), said]);
        assert_eq!(told(json!([first, said])), want);
        // Servers want a user's message to be answered: two of them are one.
        let want = json!([words[0], user(json!([a, picture("p1"), text("and?")]))]);
        assert_eq!(told(json!([first, user(json!("and?"))])), want);
    }

    #[test]
    fn what_another_maker_signed_is_left_out() {
        let thought = json!({ "type": "thinking", "thinking": "hm", "signature": "s" });
        let part = |text: &str| json!({ "type": "text", "text": text });
        for (content, want) in [
            (json!([thought, part("hi")]), json!("hi")),
            (json!([{ "type": "redacted_thinking", "data": "x" }]), Value::Null),
            (json!([part("a"), thought, part("b")]), json!([part("a"), part("b")])),
        ] {
            let sent = json!({ "messages": [{ "role": "assistant", "content": content }] }).to_string();
            let chat = decode(sent.as_bytes()).expect("a good request");
            let got: Value = serde_json::from_slice(&encode("m", false, &chat)).expect("json");
            assert_eq!(got["messages"][0]["content"], want);
        }
    }

    // Oracle: OpenAI's API reference, "Create chat completion".
    #[test]
    fn a_member_of_the_wrong_type_is_named() {
        let call = |call: Value| json!([{ "role": "assistant", "tool_calls": [call] }]);
        let tool = |function: Value| json!([{ "type": "function", "function": function }]);
        let message = |name: &str, value: Value| json!([{ "role": "user", "content": "hi", name: value }]);
        let allowed = |allowed: Value| json!({ "type": "allowed_tools", "allowed_tools": allowed });
        let part = |part: Value| json!([{ "role": "user", "content": [part] }]);
        for (member, value, param) in [
            ("messages", json!("hi"), "messages"),
            ("messages", json!([7]), "messages[0]"),
            ("messages", json!([{ "role": 7 }]), "messages[0].role"),
            ("messages", json!([{ "content": "hi" }]), "messages[0].role"),
            ("messages", message("content", json!(7)), "messages[0].content"),
            ("messages", message("tool_calls", json!({})), "messages[0].tool_calls"),
            ("messages", message("tool_call_id", json!(7)), "messages[0].tool_call_id"),
            ("messages", message("name", json!(7)), "messages[0].name"),
            ("messages", message("refusal", json!(7)), "messages[0].refusal"),
            ("messages", message("is_error", json!("yes")), "messages[0].is_error"),
            ("messages", call(json!("f")), "messages[0].tool_calls[0]"),
            ("messages", call(json!({ "function": { "name": "f" } })), "messages[0].tool_calls[0].id"),
            ("messages", call(json!({ "id": 7, "function": { "name": "f" } })), "messages[0].tool_calls[0].id"),
            ("messages", call(json!({ "id": "c", "type": "custom" })), "messages[0].tool_calls[0].type"),
            ("messages", call(json!({ "id": "c" })), "messages[0].tool_calls[0].function"),
            ("messages", call(json!({ "id": "c", "function": "f" })), "messages[0].tool_calls[0].function"),
            ("messages", call(json!({ "id": "c", "function": {} })), "messages[0].tool_calls[0].function.name"),
            (
                "messages",
                call(json!({ "id": "c", "function": { "name": "f", "arguments": {} } })),
                "messages[0].tool_calls[0].function.arguments",
            ),
            ("tools", json!("f"), "tools"),
            ("tools", json!({ "a": 1 }), "tools"),
            ("tools", json!(["f"]), "tools[0]"),
            ("tools", json!([{ "type": "custom", "custom": { "name": "f" } }]), "tools[0].type"),
            ("tools", json!([{ "type": "function" }]), "tools[0].function"),
            ("tools", tool(json!({ "name": 7 })), "tools[0].function.name"),
            ("tools", tool(json!({ "name": "" })), "tools[0].function.name"),
            ("tools", tool(json!({ "name": "f", "description": 7 })), "tools[0].function.description"),
            ("tools", tool(json!({ "name": "f", "parameters": "{}" })), "tools[0].function.parameters"),
            ("tools", tool(json!({ "name": "f", "strict": "yes" })), "tools[0].function.strict"),
            ("tool_choice", json!(7), "tool_choice"),
            ("tool_choice", json!("any"), "tool_choice"),
            ("tool_choice", json!({ "type": "custom" }), "tool_choice.type"),
            ("tool_choice", json!({ "type": "function" }), "tool_choice.function"),
            ("tool_choice", json!({ "type": "function", "function": {} }), "tool_choice.function.name"),
            ("tool_choice", json!({ "type": "allowed_tools" }), "tool_choice.allowed_tools"),
            ("tool_choice", allowed(json!({ "mode": "any" })), "tool_choice.allowed_tools.mode"),
            ("tool_choice", allowed(json!({ "mode": "auto" })), "tool_choice.allowed_tools.tools"),
            (
                "tool_choice",
                allowed(json!({ "mode": "auto", "tools": tool(json!({ "name": "f" })) })),
                "tool_choice.allowed_tools.tools[0].function.name",
            ),
            ("parallel_tool_calls", json!("no"), "parallel_tool_calls"),
            ("max_tokens", json!("ten"), "max_tokens"),
            ("max_tokens", json!(-1), "max_tokens"),
            ("max_tokens", json!(5_000_000_000_u64), "max_tokens"),
            ("max_completion_tokens", json!(1.5), "max_completion_tokens"),
            ("temperature", json!("0.5"), "temperature"),
            ("top_p", json!(true), "top_p"),
            ("seed", json!("x"), "seed"),
            ("seed", json!(1.5), "seed"),
            ("stop", json!(5), "stop"),
            ("stop", json!(["a", 5]), "stop[1]"),
            ("response_format", json!("json"), "response_format"),
            ("user", json!(7), "user"),
            ("safety_identifier", json!(7), "safety_identifier"),
            ("service_tier", json!(7), "service_tier"),
            ("reasoning_effort", json!(7), "reasoning_effort"),
            ("presence_penalty", json!("1"), "presence_penalty"),
            ("frequency_penalty", json!("1"), "frequency_penalty"),
            ("cache_control", json!("ephemeral"), "cache_control"),
            (
                "messages",
                part(json!({ "type": "text", "text": "x", "cache_control": 7 })),
                "messages[0].content[0].cache_control",
            ),
            (
                "messages",
                part(json!({ "type": "file", "file": { "filename": 7 } })),
                "messages[0].content[0].file.filename",
            ),
            ("messages", message("cache_control", json!(true)), "messages[0].cache_control"),
            ("tools", json!([{ "function": { "name": "f" }, "cache_control": "ephemeral" }]), "tools[0].cache_control"),
            ("tools", tool(json!({ "name": "f", "cache_control": 7 })), "tools[0].function.cache_control"),
            ("metadata", json!("x"), "metadata"),
            ("thinking", json!(true), "thinking"),
            ("output_config", json!("x"), "output_config"),
            ("generation_config", json!("x"), "generation_config"),
            ("n", json!("2"), "n"),
            ("n", json!(0), "n"),
            ("logprobs", json!(3), "logprobs"),
            ("top_logprobs", json!("3"), "top_logprobs"),
            ("modalities", json!("text"), "modalities"),
            ("modalities", json!([7]), "modalities"),
        ] {
            let mut body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
            body[member] = value.clone();
            let error = decode(body.to_string().as_bytes()).expect_err(param);
            assert_eq!(error.param.as_deref(), Some(param), "{value}: {}", error.message);
            assert!(error.message.contains(param), "{}", error.message);
            // Null is what a client's library writes for what was left out.
            body[member] = Value::Null;
            let chat = decode(body.to_string().as_bytes()).expect(member);
            assert_eq!(Chat { messages: vec![], extra: Map::new(), ..chat }, Chat::default(), "{member}");
        }
        let nulls = json!({ "messages": [{ "role": "assistant", "content": null, "refusal": null, "tool_call_id": null,
            "tool_calls": [{ "id": "c", "type": null, "function": { "name": "f", "arguments": null } }] }],
            "tools": [{ "type": null, "cache_control": null,
                "function": { "name": "f", "description": null, "parameters": null, "strict": null } }] });
        let chat = decode(nulls.to_string().as_bytes()).expect("nulls are left out");
        assert_eq!(chat.messages[0].tool_calls[0].arguments, "");
        assert_eq!((chat.tools[0].parameters.as_ref(), chat.tools[0].strict), (None, None));
    }

    #[test]
    fn a_choice_of_some_tools_leaves_those_alone() {
        let function = |name: &str| json!({ "type": "function", "function": { "name": name } });
        for (mode, want) in [("auto", ToolChoice::Auto), ("required", ToolChoice::Required)] {
            let chosen = json!({ "mode": mode, "tools": [function("c"), function("a")] });
            let body = json!({ "messages": [], "tools": [function("a"), function("b"), function("c")],
                "tool_choice": { "type": "allowed_tools", "allowed_tools": chosen } });
            let chat = decode(body.to_string().as_bytes()).expect("a good request");
            let names: Vec<&str> = chat.tools.iter().map(|tool| tool.name.as_str()).collect();
            assert_eq!((names, chat.tool_choice), (vec!["a", "c"], Some(want)));
        }
    }

    #[test]
    fn a_bad_message_is_named() {
        let error = decode(br#"{"messages":[{"role":"user"},{"role":"robot"}]}"#).expect_err("no such role");
        assert_eq!(error.param.as_deref(), Some("messages[1].role"));
    }
}
