//! A chat request, typed: decoded from a client's JSON, or written as the JSON an OpenAI-compatible
//! server reads. Members we do not know ride in `extra` both ways.

use frontdesk_api::{
    Error, Result,
    chat::{Chat, Message, Part, Role, ToolCall, ToolChoice, ToolSpec},
};
use serde_json::{Map, Value, json};

use crate::thoughts;

/// Members that `Chat` or `ChatRequest` hold themselves.
const KNOWN: [&str; 15] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "seed",
    "stop",
    "response_format",
    "store",
];

/// # Errors
/// `Invalid` naming the member (`messages[2].role`).
pub fn decode(body: &[u8]) -> Result<Chat> {
    decode_members(serde_json::from_slice(body).map_err(super::peek::not_json)?)
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
pub(super) fn decode_members(body: Map<String, Value>) -> Result<Chat> {
    let messages = body.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let tools = body.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let number = |name: &str| body.get(name).and_then(Value::as_f64);
    Ok(Chat {
        messages: messages.iter().enumerate().map(|(i, m)| message(i, m)).collect::<Result<_>>()?,
        tools: tools.iter().enumerate().map(|(i, t)| tool(i, t)).collect::<Result<_>>()?,
        tool_choice: body.get("tool_choice").map(tool_choice).transpose()?,
        parallel_tool_calls: body.get("parallel_tool_calls").and_then(Value::as_bool),
        max_tokens: ["max_completion_tokens", "max_tokens"]
            .iter()
            .find_map(|n| body.get(*n).and_then(Value::as_u64))
            .and_then(|n| u32::try_from(n).ok()),
        temperature: number("temperature"),
        top_p: number("top_p"),
        seed: body.get("seed").and_then(Value::as_i64),
        stop: match body.get("stop") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => vec![],
        },
        response_format: body.get("response_format").cloned(),
        extra: body.into_iter().filter(|(k, _)| !KNOWN.contains(&k.as_str())).collect(),
    })
}

fn message(i: usize, wire: &Value) -> Result<Message> {
    let at = |member: &str| format!("messages[{i}].{member}");
    let Value::Object(wire) = wire else {
        return Err(Error::invalid(format!("messages[{i}]"), format!("messages[{i}] must be an object")));
    };
    let role = match wire.get("role").and_then(Value::as_str) {
        Some("system") => Role::System,
        Some("developer") => Role::Developer,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool" | "function") => Role::Tool,
        Some(other) => {
            let message = format!("{} is '{other}': use system, developer, user, assistant or tool", at("role"));
            return Err(Error::invalid(at("role"), message));
        }
        None => return Err(Error::invalid(at("role"), format!("missing member '{}'", at("role")))),
    };
    let content = match wire.get("content") {
        None | Some(Value::Null) => vec![],
        Some(Value::String(text)) => vec![Part::Text(text.clone())],
        Some(Value::Array(parts)) => parts.iter().map(part).collect(),
        Some(_) => {
            return Err(Error::invalid(at("content"), format!("{} must be text or a list of parts", at("content"))));
        }
    };
    let calls = wire.get("tool_calls").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let known = ["role", "content", "tool_calls", "tool_call_id"];
    Ok(Message {
        role,
        content,
        tool_calls: calls.iter().map(call).collect(),
        tool_call_id: wire.get("tool_call_id").and_then(Value::as_str).map(str::to_owned),
        extra: wire.iter().filter(|(k, _)| !known.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect(),
    })
}

fn part(wire: &Value) -> Part {
    match (wire.get("type").and_then(Value::as_str), wire.get("text").and_then(Value::as_str)) {
        (Some("text"), Some(text)) if wire.as_object().is_some_and(|o| o.len() == 2) => Part::Text(text.to_owned()),
        _ => Part::Other(wire.clone()),
    }
}

fn call(wire: &Value) -> ToolCall {
    let text = |v: Option<&Value>| v.and_then(Value::as_str).unwrap_or_default().to_owned();
    let function = wire.get("function");
    ToolCall {
        id: text(wire.get("id")),
        name: text(function.and_then(|f| f.get("name"))),
        arguments: text(function.and_then(|f| f.get("arguments"))),
    }
}

fn tool(i: usize, wire: &Value) -> Result<ToolSpec> {
    let spec = wire.get("function").cloned().unwrap_or_default();
    let mut spec: ToolSpec = serde_json::from_value(spec).map_err(|e| {
        let param = format!("tools[{i}].function");
        Error::invalid(param.clone(), format!("{param} does not describe a function: {e}"))
    })?;
    if let Some(mark) = wire.get("cache_control") {
        spec.cache_control = Some(mark.clone());
    }
    Ok(spec)
}

fn tool_choice(wire: &Value) -> Result<ToolChoice> {
    let named = wire.get("function").and_then(|f| f.get("name")).and_then(Value::as_str);
    match (wire.as_str(), named) {
        (Some("auto"), _) => Ok(ToolChoice::Auto),
        (Some("none"), _) => Ok(ToolChoice::None),
        (Some("required"), _) => Ok(ToolChoice::Required),
        (_, Some(name)) => Ok(ToolChoice::Named(name.to_owned())),
        _ => Err(Error::invalid("tool_choice", "'tool_choice' must be auto, none, required or name a function")),
    }
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

    #[test]
    fn a_bad_message_is_named() {
        let error = decode(br#"{"messages":[{"role":"user"},{"role":"robot"}]}"#).expect_err("no such role");
        assert_eq!(error.param.as_deref(), Some("messages[1].role"));
    }
}
