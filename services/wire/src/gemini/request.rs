//! A chat as the body of a `generateContent` request; the same body streams, the address decides.
//!
//! The wires disagree on four things: instructions are one member (`systemInstruction`), not messages; the assistant is
//! `model`; what tools said is named by the function and stands together in one content right behind the calls; a call's
//! signature has a member of its own (see `calls`). Invariant: a member that cannot be kept and would change the
//! answer's meaning is an error that names it; what only tunes the answer is left out. docs/providers/gemini.md lists
//! both.

use frontdesk_api::{
    Error, Result,
    chat::{Chat, Message, Part, Role, ToolCall, ToolChoice, ToolSpec},
};
use serde_json::{Map, Value, json};

use super::{
    calls,
    generation::{self, checks_signatures},
    parts::{blank, instruction, part, text},
};
use crate::openai::chat::kept_elsewhere;

/// Members of a request that have no counterpart in `Chat`, by Google's older spelling.
const PASSED: [&str; 4] = ["safety_settings", "cached_content", "labels", "model_armor_config"];

/// Writes the request.
///
/// # Errors
/// `Invalid` naming the member: a part of a message that Gemini has no part for, a tool's output without its call, no
/// message at all, `modalities` with sound, a `response_format` of no known type.
pub fn encode(model: &str, chat: &Chat) -> Result<Map<String, Value>> {
    kept_elsewhere(chat, "Gemini's API", &[])?;
    let conversation = Conversation::of(model, &chat.messages)?;
    let optional = [
        ("systemInstruction", conversation.system()),
        ("tools", tools(chat)),
        ("toolConfig", tool_config(chat)),
        ("serviceTier", service_tier(chat)),
        ("generationConfig", generation::config(model, chat)?),
    ];
    let mut out = Map::from_iter([("contents".to_owned(), conversation.contents.into())]);
    out.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    for name in PASSED {
        if let Some(value) = own(chat, name) {
            out.insert(camel(name), value.clone());
        }
    }
    Ok(out)
}

/// A member of Gemini's API that the client sent beside OpenAI's: at the top, or where Google's own OpenAI-compatible
/// endpoint takes it, in `google` or `extra_body.google`. Google reads both spellings, so both are found.
pub(super) fn own<'c>(chat: &'c Chat, name: &str) -> Option<&'c Value> {
    let inner = |of: &'c Value| of.get("google").and_then(Value::as_object);
    let google = chat.extra.get("google").and_then(Value::as_object);
    let places = [chat.extra.get("extra_body").and_then(inner), google, Some(&chat.extra)];
    let camel = camel(name);
    places.into_iter().flatten().find_map(|place| place.get(name).or_else(|| place.get(&camel)))
}

/// `thinking_config` → `thinkingConfig`.
pub(super) fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(word.len().min(1));
        out.push_str(&first.to_ascii_uppercase());
        out.push_str(rest);
    }
    out
}

/// Instructions and contents.
#[derive(Default)]
struct Conversation<'m> {
    system: Vec<Value>,
    contents: Vec<Value>,
    /// All calls so far.
    calls: Vec<&'m ToolCall>,
    /// What tools said behind the last calls, each with its call's place in `calls`.
    results: Vec<(usize, Value)>,
}

impl<'m> Conversation<'m> {
    fn of(model: &str, messages: &'m [Message]) -> Result<Self> {
        let mut out = Self::default();
        for (i, message) in messages.iter().enumerate() {
            match message.role {
                // Wherever they stand: together at the beginning, in their order.
                Role::System | Role::Developer => {
                    for (k, part) in message.content.iter().enumerate() {
                        out.system.extend(instruction(part, &format!("messages[{i}].content[{k}]"))?);
                    }
                }
                Role::User => out.say("user", content(i, message)?),
                Role::Assistant => {
                    out.say("model", assistant(i, message, checks_signatures(model))?);
                    out.calls.extend(&message.tool_calls);
                }
                Role::Tool => {
                    let result = out.result(i, message)?;
                    out.results.push(result);
                }
            }
        }
        out.close();
        if out.contents.is_empty() {
            return Err(Error::invalid("messages", "'messages' holds nothing that a user or an assistant said"));
        }
        Ok(out)
    }

    fn say(&mut self, role: &str, parts: Vec<Value>) {
        if !parts.is_empty() {
            self.close();
            self.contents.push(json!({ "role": role, "parts": parts }));
        }
    }

    /// Writes what tools said, in the order of the calls: the API counts one result for each call in one content, and
    /// nothing else in it; calls without ids are told apart by their place alone.
    fn close(&mut self) {
        if self.results.is_empty() {
            return;
        }
        self.results.sort_by_key(|(place, _)| *place);
        let parts: Vec<Value> = self.results.drain(..).map(|(_, result)| result).collect();
        self.contents.push(json!({ "role": "user", "parts": parts }));
    }

    fn result(&self, i: usize, message: &Message) -> Result<(usize, Value)> {
        let param = || format!("messages[{i}].tool_call_id");
        let id = message.tool_call_id.as_deref().filter(|id| !id.is_empty()).ok_or_else(|| {
            Error::invalid(param(), format!("missing member '{}': name the call this answers", param()))
        })?;
        // The last one: another model's ids may repeat in a conversation.
        let place = self.calls.iter().rposition(|call| call.id == id).ok_or_else(|| {
            Error::invalid(param(), format!("{} is '{id}', which no call before it is named", param()))
        })?;
        let (texts, others): (Vec<&Part>, Vec<&Part>) = message.content.iter().partition(|part| is_text(part));
        let said = texts.into_iter().map(words).collect::<Vec<_>>().join("\n");
        let failed = message.extra.get("is_error").and_then(Value::as_bool).unwrap_or(false);
        let mut out = json!({ "name": self.calls[place].name, "response": response(&said, failed) });
        if let (Some(own), _) = calls::split(id) {
            out["id"] = own.into();
        }
        let others = others.iter().enumerate().map(|(k, other)| part(other, &format!("messages[{i}].content[{k}]")));
        let others: Vec<Value> = others.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        if !others.is_empty() {
            out["parts"] = others.into();
        }
        Ok((place, json!({ "functionResponse": out })))
    }

    fn system(&self) -> Option<Value> {
        (!self.system.is_empty()).then(|| json!({ "role": "user", "parts": self.system }))
    }
}

fn is_text(part: &Part) -> bool {
    match part {
        Part::Text(_) => true,
        Part::Other(wire) => wire.get("type").and_then(Value::as_str) == Some("text"),
    }
}

fn words(part: &Part) -> &str {
    match part {
        Part::Text(text) => text,
        Part::Other(wire) => wire.get("text").and_then(Value::as_str).unwrap_or_default(),
    }
}

/// A tool's words as the object they must be. An object goes on as it is, unless it has one of the members that the API
/// reads as the whole of an output or an error; anything else is an `output`.
fn response(said: &str, failed: bool) -> Value {
    if failed {
        return json!({ "error": said });
    }
    match serde_json::from_str(said) {
        Ok(Value::Object(members)) if !members.contains_key("output") && !members.contains_key("error") => {
            Value::Object(members)
        }
        _ => json!({ "output": said }),
    }
}

fn content(i: usize, message: &Message) -> Result<Vec<Value>> {
    let parts = message.content.iter().enumerate();
    let parts = parts.map(|(k, wire)| part(wire, &format!("messages[{i}].content[{k}]")));
    Ok(parts.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// `signed`: whether the model refuses a step whose first call has no signature.
fn assistant(i: usize, message: &Message, signed: bool) -> Result<Vec<Value>> {
    let mut out = content(i, message)?;
    if let Some(refusal) = message.extra.get("refusal").and_then(Value::as_str).filter(|t| !blank(t)) {
        out.push(text(refusal));
    }
    for (k, call) in message.tool_calls.iter().enumerate() {
        let (own, signature) = calls::split(&call.id);
        let mut function = json!({ "name": call.name, "args": args(&call.arguments) });
        if let Some(own) = own {
            function["id"] = own.into();
        }
        let mut part = json!({ "functionCall": function });
        let missing = || (signed && k == 0).then(|| calls::UNSIGNED.to_owned());
        if let Some(signature) = signature.or_else(missing) {
            part["thoughtSignature"] = signature.into();
        }
        out.push(part);
    }
    Ok(out)
}

/// A call's arguments as the object they must be. What a model wrote that is none is shown to it as it was.
fn args(arguments: &str) -> Value {
    if blank(arguments) {
        return json!({});
    }
    match serde_json::from_str(arguments) {
        Ok(Value::Object(members)) => Value::Object(members),
        _ => json!({ "INVALID_JSON": arguments }),
    }
}

/// The functions as one tool, then Google's own tools.
fn tools(chat: &Chat) -> Option<Value> {
    let mut out = vec![];
    if !chat.tools.is_empty() {
        out.push(json!({ "functionDeclarations": chat.tools.iter().map(declaration).collect::<Vec<_>>() }));
    }
    if chat.extra.contains_key("web_search_options") {
        out.push(json!({ "googleSearch": {} }));
    }
    // The top has functions under this name.
    let places = [chat.extra.get("extra_body").and_then(|of| of.get("google")), chat.extra.get("google")];
    let own = places.into_iter().flatten().find_map(|place| place.get("tools")).and_then(Value::as_array);
    out.extend(own.into_iter().flatten().cloned());
    (!out.is_empty()).then(|| out.into())
}

/// `parametersJsonSchema` takes JSON Schema as it is; `parameters` knows a part of OpenAPI's only.
fn declaration(spec: &ToolSpec) -> Value {
    let mut out = Map::from_iter([("name".to_owned(), json!(spec.name))]);
    if let Some(description) = &spec.description {
        out.insert("description".into(), json!(description));
    }
    if let Some(schema) = &spec.parameters {
        out.insert("parametersJsonSchema".into(), schema.clone());
    }
    Value::Object(out)
}

fn tool_config(chat: &Chat) -> Option<Value> {
    if let Some(own) = own(chat, "tool_config") {
        return Some(own.clone());
    }
    let config = match chat.tool_choice.as_ref()? {
        // Without tools there is nothing to choose.
        ToolChoice::Auto | ToolChoice::None if chat.tools.is_empty() => return None,
        ToolChoice::Auto => json!({ "mode": "AUTO" }),
        ToolChoice::None => json!({ "mode": "NONE" }),
        ToolChoice::Required => json!({ "mode": "ANY" }),
        ToolChoice::Named(name) => json!({ "mode": "ANY", "allowedFunctionNames": [name] }),
    };
    Some(json!({ "functionCallingConfig": config }))
}

fn service_tier(chat: &Chat) -> Option<Value> {
    match chat.extra.get("service_tier").or_else(|| own(chat, "service_tier"))?.as_str()? {
        "default" | "standard" => Some("standard".into()),
        tier @ ("flex" | "priority") => Some(tier.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::chat::decode;

    /// What an OpenAI client sent, as it goes to Gemini.
    fn encoded(model: &str, mut openai: Value) -> Result<Value> {
        if openai.get("messages").is_none() {
            openai["messages"] = json!([{ "role": "user", "content": "hi" }]);
        }
        encode(model, &decode(openai.to_string().as_bytes()).expect("a good request")).map(Value::Object)
    }

    fn sent(openai: Value) -> Value {
        encoded("gemini-2.5-flash", openai).expect("translatable")
    }

    fn call(id: &str, name: &str, arguments: &str) -> Value {
        json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
    }

    // Oracle: the examples of Google's pages "Function calling" and "Thought signatures"; tests/conformance compares
    // with the SDK.
    #[test]
    fn a_tool_loop_keeps_ids_and_signatures_and_the_order_of_calls() {
        let got = sent(json!({ "messages": [
            { "role": "system", "content": "be brief" },
            { "role": "user", "content": "look" },
            { "role": "assistant", "content": " ", "tool_calls": [
                call("g1__thought__Ea-_AA", "f", "{\"a\":1}"), call("fdcall_01_1", "g", ""), call("call_x", "f", "{oops") ] },
            { "role": "tool", "tool_call_id": "call_x", "content": "[1]" },
            { "role": "tool", "tool_call_id": "g1__thought__Ea-_AA", "content": "{\"ok\":true}" },
            { "role": "developer", "content": [{ "type": "text", "text": "be kind" }] },
            { "role": "tool", "tool_call_id": "fdcall_01_1", "content": "no", "is_error": true },
            { "role": "user", "content": "so?" } ] }));
        let want = json!({
            "systemInstruction": { "role": "user", "parts": [{ "text": "be brief" }, { "text": "be kind" }] },
            "contents": [
                { "role": "user", "parts": [{ "text": "look" }] },
                { "role": "model", "parts": [
                    { "functionCall": { "id": "g1", "name": "f", "args": { "a": 1 } }, "thoughtSignature": "Ea+/AA==" },
                    { "functionCall": { "name": "g", "args": {} } },
                    { "functionCall": { "id": "call_x", "name": "f", "args": { "INVALID_JSON": "{oops" } } } ] },
                { "role": "user", "parts": [
                    { "functionResponse": { "id": "g1", "name": "f", "response": { "ok": true } } },
                    { "functionResponse": { "name": "g", "response": { "error": "no" } } },
                    { "functionResponse": { "id": "call_x", "name": "f", "response": { "output": "[1]" } } } ] },
                { "role": "user", "parts": [{ "text": "so?" }] }
            ]
        });
        assert_eq!(got, want);
    }

    #[test]
    fn a_model_that_checks_signatures_is_told_of_calls_that_have_none() {
        let asked = json!({ "messages": [
            { "role": "user", "content": "look" },
            { "role": "assistant", "content": null, "tool_calls": [call("c1", "f", "{}"), call("c2", "f", "{}")] },
            { "role": "tool", "tool_call_id": "c1", "content": "1" }, { "role": "tool", "tool_call_id": "c2", "content": "2" } ] });
        for (model, told) in [
            ("gemini-3-pro-preview", true),
            ("models/gemini-3.8-flash", true),
            ("gemini-flash-latest", true),
            ("gemini-2.5-pro", false),
            ("endpoints/7", false),
        ] {
            let got = encoded(model, asked.clone()).expect("translatable");
            let calls = &got["contents"][1]["parts"];
            let want = told.then(|| json!("skip_thought_signature_validator"));
            assert_eq!((calls[0].get("thoughtSignature"), calls[1].get("thoughtSignature")), (want.as_ref(), None));
        }
    }

    #[test]
    fn a_result_may_hold_pictures() {
        let got = sent(json!({ "messages": [
            { "role": "user", "content": "look" },
            { "role": "assistant", "tool_calls": [call("c1", "f", "{}")] },
            { "role": "tool", "tool_call_id": "c1", "content": [
                { "type": "text", "text": "here", "cache_control": {} }, { "type": "text", "text": "it is" },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,aGk=" } } ] } ] }));
        let want = json!({ "id": "c1", "name": "f", "response": { "output": "here\nit is" },
            "parts": [{ "inlineData": { "mimeType": "image/png", "data": "aGk=" } }] });
        assert_eq!(got["contents"][2]["parts"][0]["functionResponse"], want);
    }

    #[test]
    fn an_output_that_the_api_would_read_otherwise_is_wrapped() {
        for said in [r#"{"output":1,"more":2}"#, r#"{"error":"x"}"#, "[]", "7", "words", ""] {
            assert_eq!(response(said, false), json!({ "output": said }));
        }
        assert_eq!(response(r#"{"a":{"error":1}}"#, false), json!({ "a": { "error": 1 } }));
    }

    #[test]
    fn tools_are_offered_and_chosen() {
        let schema = json!({ "type": "object", "properties": { "a": { "anyOf": [{ "type": "string" }, { "type": "null" }] } },
            "additionalProperties": false });
        let tools = json!([
            { "type": "function", "function": { "name": "f", "description": "d", "parameters": schema, "strict": true } },
            { "type": "function", "function": { "name": "g" } }
        ]);
        let got = sent(
            json!({ "tools": tools, "web_search_options": {}, "extra_body": { "google": { "tools": [{ "urlContext": {} }] } } }),
        );
        let want = json!([
            { "functionDeclarations": [{ "name": "f", "description": "d", "parametersJsonSchema": schema }, { "name": "g" }] },
            { "googleSearch": {} },
            { "urlContext": {} }
        ]);
        assert_eq!((&got["tools"], got.get("toolConfig")), (&want, None));
        let one = json!({ "type": "function", "function": { "name": "g" } });
        for (choice, want) in [
            (json!("auto"), json!({ "mode": "AUTO" })),
            (json!("none"), json!({ "mode": "NONE" })),
            (json!("required"), json!({ "mode": "ANY" })),
            (one, json!({ "mode": "ANY", "allowedFunctionNames": ["g"] })),
        ] {
            let got = sent(json!({ "tools": tools, "tool_choice": choice }));
            assert_eq!(got["toolConfig"], json!({ "functionCallingConfig": want }));
        }
        assert_eq!(sent(json!({ "tool_choice": "auto" })).get("toolConfig"), None);
    }

    #[test]
    fn members_of_gemini_s_own_go_on() {
        let safety = json!([{ "category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE" }]);
        let got =
            sent(json!({ "safety_settings": safety, "cachedContent": "cachedContents/x", "service_tier": "default",
            "toolConfig": { "retrievalConfig": {} }, "google": { "labels": { "a": "b" } }, "logit_bias": {} }));
        let want = json!({ "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }], "safetySettings": safety,
            "cachedContent": "cachedContents/x", "serviceTier": "standard", "toolConfig": { "retrievalConfig": {} },
            "labels": { "a": "b" } });
        assert_eq!(got, want);
    }

    #[test]
    fn what_cannot_be_said_is_an_error_that_names_it() {
        for (asked, param) in [
            (json!({ "functions": [{ "name": "f" }] }), "functions"),
            (json!({ "function_call": "auto" }), "function_call"),
            (json!({ "messages": [{ "role": "system", "content": "x" }] }), "messages"),
            (json!({ "messages": [{ "role": "tool", "content": "x" }] }), "messages[0].tool_call_id"),
            (
                json!({ "messages": [{ "role": "tool", "tool_call_id": "c", "content": "x" }] }),
                "messages[0].tool_call_id",
            ),
            (
                json!({ "messages": [{ "role": "user", "content": [{ "type": "hologram" }] }] }),
                "messages[0].content[0]",
            ),
        ] {
            assert_eq!(encoded("m", asked).expect_err("refused").param.as_deref(), Some(param));
        }
    }
}
