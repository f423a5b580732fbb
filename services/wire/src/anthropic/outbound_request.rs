//! A chat as the body of a Messages request.
//!
//! The two wires disagree on four things: instructions are one member (`system`), not messages; roles alternate,
//! so neighbours are merged; what tools said is part of a user's message; the length of an answer must be
//! bounded. Invariant: a member that cannot be kept and would change the answer's meaning is an error that names it;
//! what only tunes the answer (`seed`, penalties, `logprobs`) is left out. docs/providers/anthropic.md lists both.

use frontdesk_api::{
    Error, Result,
    chat::{Chat, Message, Role, ToolChoice, ToolSpec},
};
use serde_json::{Map, Value, json};

use super::outbound_parts::{blank, block, instruction, text};
use crate::{
    openai::chat::kept_elsewhere,
    thoughts::{self, Thought},
};

/// Members of Anthropic's API that have no counterpart in `Chat` and go on as they came.
const PASSED: [&str; 8] =
    ["thinking", "top_k", "cache_control", "container", "context_management", "inference_geo", "mcp_servers", "speed"];

/// Writes the request. `max_tokens`: the bound of an answer where the chat has none, in tokens, the budget of a
/// `thinking` member not counted.
///
/// # Errors
/// `Invalid` naming the member: a part of a message that Anthropic's API has no block for, a tool's output without
/// its call, no message at all, `n` above 1, a `response_format` other than text and `json_schema`.
pub fn encode(model: &str, stream: bool, chat: &Chat, max_tokens: u32) -> Result<Vec<u8>> {
    let mut out: Map<String, Value> =
        chat.extra.iter().filter(|(k, _)| PASSED.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
    if chat.extra.get("n").and_then(Value::as_u64).is_some_and(|n| n > 1) {
        return Err(Error::invalid("n", "'n' must be 1: Anthropic's API gives one answer a request"));
    }
    kept_elsewhere(chat, "Anthropic's API", &["modalities", "web_search_options"])?;
    let conversation = Conversation::of(&chat.messages)?;
    let thinking = chat.extra.get("thinking").and_then(|t| t.get("budget_tokens")).and_then(Value::as_u64).unwrap_or(0);
    let bound = chat.max_tokens.map_or(thinking.saturating_add(u64::from(max_tokens)), u64::from);
    let optional = [
        ("system", conversation.system()),
        ("tools", (!chat.tools.is_empty()).then(|| chat.tools.iter().map(tool).collect())),
        ("tool_choice", tool_choice(chat)),
        ("stop_sequences", (!chat.stop.is_empty()).then(|| json!(chat.stop))),
        // OpenAI's goes to 2, Anthropic's to 1.
        ("temperature", chat.temperature.map(|t| json!(t.clamp(0.0, 1.0)))),
        ("top_p", chat.top_p.map(Value::from)),
        ("metadata", metadata(&chat.extra)),
        ("service_tier", service_tier(&chat.extra)),
        ("output_config", output_config(chat)?),
        ("stream", stream.then_some(Value::Bool(true))),
    ];
    out.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    out.insert("model".into(), model.into());
    out.insert("max_tokens".into(), bound.into());
    out.insert("messages".into(), conversation.messages());
    Ok(Value::Object(out).to_string().into_bytes())
}

/// Instructions, and turns whose sides alternate.
#[derive(Default)]
struct Conversation {
    system: Vec<Value>,
    turns: Vec<(&'static str, Vec<Value>)>,
}

impl Conversation {
    fn of(messages: &[Message]) -> Result<Self> {
        let mut out = Self::default();
        for (i, message) in messages.iter().enumerate() {
            match message.role {
                // Wherever they stand: together at the beginning, in their order.
                Role::System | Role::Developer => {
                    for (k, part) in message.content.iter().enumerate() {
                        out.system.extend(instruction(part, &format!("messages[{i}].content[{k}]"))?);
                    }
                }
                Role::User => out.say("user", marked(content(i, message)?, message)),
                Role::Assistant => out.say("assistant", marked(assistant(i, message)?, message)),
                Role::Tool => out.say("user", vec![tool_result(i, message)?]),
            }
        }
        if out.turns.is_empty() {
            return Err(Error::invalid("messages", "'messages' holds nothing that a user or an assistant said"));
        }
        Ok(out)
    }

    fn say(&mut self, side: &'static str, blocks: Vec<Value>) {
        match self.turns.last_mut() {
            _ if blocks.is_empty() => {}
            Some((last, before)) if *last == side => before.extend(blocks),
            _ => self.turns.push((side, blocks)),
        }
    }

    fn system(&self) -> Option<Value> {
        (!self.system.is_empty()).then(|| short(&self.system))
    }

    fn messages(&self) -> Value {
        self.turns.iter().map(|(side, blocks)| json!({ "role": side, "content": short(blocks) })).collect()
    }
}

/// One plain text is written as a string, anything else as blocks.
fn short(blocks: &[Value]) -> Value {
    match blocks {
        [Value::Object(one)] if one.len() == 2 && one.get("type") == Some(&json!("text")) => one["text"].clone(),
        many => many.to_vec().into(),
    }
}

fn content(i: usize, message: &Message) -> Result<Vec<Value>> {
    let parts = message.content.iter().enumerate();
    let blocks = parts.map(|(k, part)| block(part, &format!("messages[{i}].content[{k}]")));
    Ok(blocks.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// A mark for the prompt cache on a message is one on its last block.
fn marked(mut blocks: Vec<Value>, message: &Message) -> Vec<Value> {
    if let (Some(mark), Some(Value::Object(last))) = (message.extra.get("cache_control"), blocks.last_mut()) {
        last.insert("cache_control".into(), mark.clone());
    }
    blocks
}

fn assistant(i: usize, message: &Message) -> Result<Vec<Value>> {
    let mut blocks = content(i, message)?;
    if let Some(refusal) = message.extra.get("refusal").and_then(Value::as_str).filter(|t| !blank(t)) {
        blocks.push(text(refusal));
    }
    for (nth, call) in message.tool_calls.iter().enumerate() {
        let (id, thoughts) = thoughts::split(&call.id);
        // The first ones begin the message, before its text. A client that hands thoughts back itself knows where they stand,
        // and has those that began it.
        let begun = blocks.iter().any(|block| block["type"] == "thinking" || block["type"] == "redacted_thinking");
        let thoughts: Vec<Value> =
            thoughts.into_iter().map(Thought::block).filter(|block| !blocks.contains(block)).collect();
        let at = if nth == 0 && !begun { 0 } else { blocks.len() };
        blocks.splice(at..at, thoughts);
        blocks.push(json!({ "type": "tool_use", "id": id, "name": call.name, "input": input(&call.arguments) }));
    }
    Ok(blocks)
}

/// A call's arguments as the object they must be. What a model wrote that is none goes back to it in the wrapping
/// that Anthropic's page on fine-grained tool streaming names for this.
fn input(arguments: &str) -> Value {
    if blank(arguments) {
        return json!({});
    }
    match serde_json::from_str(arguments) {
        Ok(Value::Object(members)) => Value::Object(members),
        _ => json!({ "INVALID_JSON": arguments }),
    }
}

fn tool_result(i: usize, message: &Message) -> Result<Value> {
    let id = message.tool_call_id.as_deref().filter(|id| !id.is_empty()).ok_or_else(|| {
        let param = format!("messages[{i}].tool_call_id");
        Error::invalid(param.clone(), format!("missing member '{param}': name the call this answers"))
    })?;
    let id = thoughts::split(id).0;
    let mut out = Map::from_iter([("type".to_owned(), json!("tool_result")), ("tool_use_id".to_owned(), json!(id))]);
    let blocks = content(i, message)?;
    if !blocks.is_empty() {
        out.insert("content".into(), short(&blocks));
    }
    for member in ["is_error", "cache_control"] {
        if let Some(value) = message.extra.get(member) {
            out.insert(member.into(), value.clone());
        }
    }
    Ok(Value::Object(out))
}

fn tool(spec: &ToolSpec) -> Value {
    let mut out = Map::from_iter([("name".to_owned(), json!(spec.name))]);
    if let Some(description) = &spec.description {
        out.insert("description".into(), json!(description));
    }
    let schema = spec.parameters.clone().unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
    out.insert("input_schema".into(), schema);
    if let Some(mark) = &spec.cache_control {
        out.insert("cache_control".into(), mark.clone());
    }
    // Not strict is what a tool is without the member, which older models do not know.
    if spec.strict == Some(true) {
        out.insert("strict".into(), true.into());
    }
    Value::Object(out)
}

fn tool_choice(chat: &Chat) -> Option<Value> {
    let one_at_a_time = chat.parallel_tool_calls == Some(false);
    let mut out = match &chat.tool_choice {
        // Without tools there is nothing to choose.
        None | Some(ToolChoice::Auto | ToolChoice::None) if chat.tools.is_empty() => return None,
        None if !one_at_a_time => return None,
        None | Some(ToolChoice::Auto) => json!({ "type": "auto" }),
        Some(ToolChoice::None) => return Some(json!({ "type": "none" })),
        Some(ToolChoice::Required) => json!({ "type": "any" }),
        Some(ToolChoice::Named(name)) => json!({ "type": "tool", "name": name }),
    };
    if one_at_a_time {
        out["disable_parallel_tool_use"] = true.into();
    }
    Some(out)
}

/// Anthropic's knows one member, the customer's id; OpenAI's other ones are an operator's notes to OpenAI.
fn metadata(extra: &Map<String, Value>) -> Option<Value> {
    let own = extra.get("metadata").and_then(|m| m.get("user_id"));
    let id = own.or_else(|| extra.get("safety_identifier")).or_else(|| extra.get("user"));
    id.and_then(Value::as_str).map(|id| json!({ "user_id": id }))
}

fn service_tier(extra: &Map<String, Value>) -> Option<Value> {
    match extra.get("service_tier").and_then(Value::as_str)? {
        "default" | "standard_only" => Some("standard_only".into()),
        "auto" => Some("auto".into()),
        _ => None,
    }
}

/// The shape of the answer and the effort put into it, beside what the client wrote of `output_config` itself.
fn output_config(chat: &Chat) -> Result<Option<Value>> {
    let own = chat.extra.get("output_config").and_then(Value::as_object);
    let mut out = own.cloned().unwrap_or_default();
    let effort = match chat.extra.get("reasoning_effort").and_then(Value::as_str) {
        Some("minimal") => Some("low"),
        Some(effort @ ("low" | "medium" | "high" | "xhigh" | "max")) => Some(effort),
        _ => None,
    };
    if let (Some(effort), false) = (effort, out.contains_key("effort")) {
        out.insert("effort".into(), effort.into());
    }
    if let Some(wanted) = &chat.response_format {
        match wanted.get("type").and_then(Value::as_str) {
            Some("text") => {}
            Some("json_schema") => {
                let schema = wanted.get("json_schema").and_then(|s| s.get("schema")).ok_or_else(|| {
                    let param = "response_format.json_schema.schema";
                    Error::invalid(param, format!("missing member '{param}'"))
                })?;
                out.insert("format".into(), json!({ "type": "json_schema", "schema": schema }));
            }
            other => {
                let other = other.unwrap_or("of no type");
                let message = format!("response_format '{other}' is not known to Anthropic's API: use json_schema");
                return Err(Error::invalid("response_format.type", message));
            }
        }
    }
    Ok((!out.is_empty()).then_some(Value::Object(out)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::chat::decode;

    /// What an OpenAI client sent, as it goes to Anthropic.
    fn sent(mut openai: Value) -> Value {
        if openai.get("messages").is_none() {
            openai["messages"] = json!([{ "role": "user", "content": "hi" }]);
        }
        let chat = decode(openai.to_string().as_bytes()).expect("a good request");
        serde_json::from_slice(&encode("m", false, &chat, 100).expect("translatable")).expect("JSON")
    }

    fn refused(mut openai: Value) -> Error {
        if openai.get("messages").is_none() {
            openai["messages"] = json!([{ "role": "user", "content": "hi" }]);
        }
        let chat = decode(openai.to_string().as_bytes()).expect("a good request");
        encode("m", false, &chat, 100).expect_err("refused")
    }

    // Oracle: the examples of Anthropic's pages "Tool use" and "Vision"; tests/conformance compares with the SDK.
    #[test]
    fn a_conversation_with_tools_alternates() {
        let got = sent(json!({ "messages": [
            { "role": "system", "content": "be brief" },
            { "role": "user", "content": "look" },
            { "role": "user", "content": [
                { "type": "text", "text": "at this", "cache_control": { "type": "ephemeral" } },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,aGk=", "detail": "low" } },
                { "type": "image_url", "image_url": { "url": "https://x/y.png" } } ] },
            { "role": "assistant", "content": " ", "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } },
                { "id": "c2", "type": "function", "function": { "name": "f", "arguments": "" } },
                { "id": "c3", "type": "function", "function": { "name": "f", "arguments": "{oops" } } ] },
            { "role": "tool", "tool_call_id": "c1", "content": "42" },
            { "role": "developer", "content": "still brief" },
            { "role": "tool", "tool_call_id": "c2", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] },
            { "role": "tool", "tool_call_id": "c3", "content": "", "is_error": true },
            { "role": "user", "content": "go on" } ] }));
        let want = json!({
            "model": "m", "max_tokens": 100,
            "system": [{ "type": "text", "text": "be brief" }, { "type": "text", "text": "still brief" }],
            "messages": [
                { "role": "user", "content": [
                    { "type": "text", "text": "look" },
                    { "type": "text", "text": "at this", "cache_control": { "type": "ephemeral" } },
                    { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "aGk=" } },
                    { "type": "image", "source": { "type": "url", "url": "https://x/y.png" } } ] },
                { "role": "assistant", "content": [
                    { "type": "tool_use", "id": "c1", "name": "f", "input": { "a": 1 } },
                    { "type": "tool_use", "id": "c2", "name": "f", "input": {} },
                    { "type": "tool_use", "id": "c3", "name": "f", "input": { "INVALID_JSON": "{oops" } } ] },
                { "role": "user", "content": [
                    { "type": "tool_result", "tool_use_id": "c1", "content": "42" },
                    { "type": "tool_result", "tool_use_id": "c2",
                      "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] },
                    { "type": "tool_result", "tool_use_id": "c3", "is_error": true },
                    { "type": "text", "text": "go on" } ] } ]
        });
        assert_eq!(got, want);
    }

    #[test]
    fn tuning_finds_its_counterpart_or_is_left_out() {
        let got = sent(json!({
            "temperature": 1.7, "top_p": 0.5, "stop": "END", "seed": 7, "logprobs": true, "user": "u1",
            "metadata": { "order": "9" }, "top_k": 3, "thinking": { "type": "enabled", "budget_tokens": 2000 },
            "service_tier": "default", "reasoning_effort": "minimal", "frequency_penalty": 1, "vendor": {},
            "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": { "type": "object" } } }
        }));
        let want = json!({
            "model": "m", "max_tokens": 2100, "messages": [{ "role": "user", "content": "hi" }],
            "temperature": 1.0, "top_p": 0.5, "stop_sequences": ["END"], "metadata": { "user_id": "u1" }, "top_k": 3,
            "thinking": { "type": "enabled", "budget_tokens": 2000 }, "service_tier": "standard_only",
            "output_config": { "effort": "low", "format": { "type": "json_schema", "schema": { "type": "object" } } }
        });
        assert_eq!(got, want);
        let own = json!({ "max_tokens": 5, "metadata": { "user_id": "u2" }, "output_config": { "effort": "max" },
            "reasoning_effort": "low", "response_format": { "type": "text" }, "service_tier": "flex" });
        let want = json!({ "model": "m", "max_tokens": 5, "messages": [{ "role": "user", "content": "hi" }],
            "metadata": { "user_id": "u2" }, "output_config": { "effort": "max" } });
        assert_eq!(sent(own), want);
    }

    #[test]
    fn tools_are_offered_and_chosen() {
        let tools = json!([
            { "type": "function", "function": { "name": "f", "description": "d", "parameters": { "type": "object" }, "strict": true } },
            { "type": "function", "function": { "name": "g" } }
        ]);
        let got = sent(json!({ "tools": tools }));
        let want = json!([
            { "name": "f", "description": "d", "input_schema": { "type": "object" }, "strict": true },
            { "name": "g", "input_schema": { "type": "object", "properties": {} } }
        ]);
        assert_eq!((&got["tools"], got.get("tool_choice")), (&want, None));
        let one = |name: &str| json!({ "type": "function", "function": { "name": name } });
        for (choice, parallel, want) in [
            (json!("auto"), None, json!({ "type": "auto" })),
            (json!("none"), Some(false), json!({ "type": "none" })),
            (json!("required"), Some(true), json!({ "type": "any" })),
            (one("g"), Some(false), json!({ "type": "tool", "name": "g", "disable_parallel_tool_use": true })),
            (Value::Null, Some(false), json!({ "type": "auto", "disable_parallel_tool_use": true })),
        ] {
            let mut asked = json!({ "tools": tools });
            if !choice.is_null() {
                asked["tool_choice"] = choice;
            }
            if let Some(parallel) = parallel {
                asked["parallel_tool_calls"] = parallel.into();
            }
            assert_eq!(sent(asked)["tool_choice"], want);
        }
        assert_eq!(sent(json!({ "tool_choice": "auto", "parallel_tool_calls": false })).get("tool_choice"), None);
    }

    #[test]
    fn a_block_of_anthropics_own_goes_on_as_it_came() {
        let thought = json!({ "type": "thinking", "thinking": "hm", "signature": "s" });
        let got = sent(json!({ "messages": [
            { "role": "user", "content": [{ "type": "file", "file": { "file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf" } }] },
            { "role": "assistant", "content": [thought, { "type": "refusal", "refusal": "no" }] },
            { "role": "user", "content": "why?", "cache_control": { "type": "ephemeral" } } ] }));
        let want = json!([
            { "role": "user", "content": [
                { "type": "document", "title": "a.pdf", "source": { "type": "base64", "media_type": "application/pdf", "data": "aGk=" } } ] },
            { "role": "assistant", "content": [thought, { "type": "text", "text": "no" }] },
            { "role": "user", "content": [{ "type": "text", "text": "why?", "cache_control": { "type": "ephemeral" } }] }
        ]);
        assert_eq!(got["messages"], want);
    }

    #[test]
    fn a_thought_that_comes_back_twice_is_told_once_and_those_between_calls_stay_there() {
        let thought = |text: &str| Thought::Signed { text: text.into(), signature: "s".into() };
        let call = |n: &str, before: &str| {
            let id = thoughts::join(n.into(), &[thought(before)]);
            json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "{}" } })
        };
        let got = sent(json!({ "messages": [
            { "role": "user", "content": "go" },
            { "role": "assistant", "content": [thought("one").block()], "tool_calls": [call("a", "one"), call("b", "two")] } ] }));
        let used = |n: &str| json!({ "type": "tool_use", "id": n, "name": "f", "input": {} });
        let want = json!([thought("one").block(), used("a"), thought("two").block(), used("b")]);
        assert_eq!(got["messages"][1]["content"], want);

        // Thought, said, thought again and called: the client has the first thought, the call's id both.
        let id = thoughts::join("a".into(), &[thought("one"), thought("two")]);
        let got = sent(json!({ "messages": [
            { "role": "user", "content": "go" },
            { "role": "assistant", "content": [thought("one").block(), { "type": "text", "text": "I look." }],
              "tool_calls": [{ "id": id, "type": "function", "function": { "name": "f", "arguments": "{}" } }] } ] }));
        let want =
            json!([thought("one").block(), { "type": "text", "text": "I look." }, thought("two").block(), used("a")]);
        assert_eq!(got["messages"][1]["content"], want);
    }

    #[test]
    fn what_cannot_be_said_is_an_error_that_names_it() {
        let user = |part: Value| json!({ "messages": [{ "role": "user", "content": [part] }] });
        for (asked, param) in [
            (json!({ "n": 2 }), "n"),
            (json!({ "response_format": { "type": "json_object" } }), "response_format.type"),
            (json!({ "response_format": { "type": "json_schema" } }), "response_format.json_schema.schema"),
            (json!({ "messages": [{ "role": "system", "content": "x" }] }), "messages"),
            (json!({ "messages": [{ "role": "tool", "content": "x" }] }), "messages[0].tool_call_id"),
            (json!({ "functions": [{ "name": "f" }] }), "functions"),
            (json!({ "function_call": "auto" }), "function_call"),
            (json!({ "modalities": ["text", "audio"], "audio": { "voice": "alloy" } }), "modalities"),
            (json!({ "web_search_options": {} }), "web_search_options"),
            (user(json!({ "type": "input_audio", "input_audio": {} })), "messages[0].content[0]"),
            (
                user(json!({ "type": "image_url", "image_url": { "url": "data:text/plain,hi" } })),
                "messages[0].content[0]",
            ),
            (user(json!({ "type": "file", "file": { "file_id": "f" } })), "messages[0].content[0]"),
            (user(json!({ "no": "type" })), "messages[0].content[0]"),
            (
                json!({ "messages": [{ "role": "system", "content": [{ "type": "image_url" }] }] }),
                "messages[0].content[0]",
            ),
        ] {
            assert_eq!(refused(asked).param.as_deref(), Some(param));
        }
    }
}
