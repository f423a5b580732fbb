//! A chat as the body of Converse and of ConverseStream, which are the same.
//!
//! The two wires disagree on six things: instructions are one member (`system`), not messages; roles alternate, so
//! neighbours are merged; what tools said is part of a user's message; a cached prefix is marked by a block of its
//! own; nobody can be forbidden to call tools; and what belongs to one family of models is put into a bag of its own
//! (`additionalModelRequestFields`). Invariant: a member that cannot be kept and would change the answer's meaning is
//! an error that names it; what only tunes the answer is left out. docs/providers/bedrock.md lists both.

use frontdesk_api::{
    Error, Result,
    chat::{Chat, Message, Role, ToolChoice, ToolSpec},
};
use serde_json::{Map, Value, json};

use super::parts::{self, mark, said};
use crate::{
    fields::Fields,
    openai::chat::kept_elsewhere,
    thoughts::{self, Thought},
};

/// Members of Converse that have no counterpart in `Chat` and go on as they came.
const PASSED: [&str; 9] = [
    "additionalModelResponseFieldPaths",
    "guardrailConfig",
    "outputConfig",
    "performanceConfig",
    "projectIdentifier",
    "promptVariables",
    "requestMetadata",
    "serviceTier",
    "additionalModelRequestFields",
];

/// Members that one family of models takes, by the names they have there.
const OF_MODELS: [&str; 3] = ["thinking", "anthropic_beta", "reasoning_config"];

/// What CountTokens takes of a request (service model, `ConverseTokensRequest`).
const COUNTED: [&str; 4] = ["messages", "system", "toolConfig", "additionalModelRequestFields"];

/// Writes the request. The model, which the path names, decides only where `top_k` goes.
///
/// # Errors
/// `Invalid` naming the member: a part of a message that Bedrock has no block for, a tool's output without its call,
/// no message at all, `n` above 1, a `response_format` other than text and `json_schema`.
pub fn encode(model: &str, chat: &Chat) -> Result<Map<String, Value>> {
    if chat.extra.get("n").and_then(Value::as_u64).is_some_and(|n| n > 1) {
        return Err(Error::invalid("n", "'n' must be 1: Amazon Bedrock gives one answer a request"));
    }
    kept_elsewhere(chat, "Amazon Bedrock", &["modalities", "web_search_options"])?;
    let conversation = Conversation::of(chat)?;
    let mut out: Map<String, Value> =
        chat.extra.iter().filter(|(k, _)| PASSED.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
    let optional = [
        ("system", (!conversation.system.is_empty()).then(|| conversation.system.clone().into())),
        ("inferenceConfig", inference_config(chat)),
        ("toolConfig", tool_config(chat)),
        ("additionalModelRequestFields", of_the_model(model, &chat.extra)?),
        ("outputConfig", output_config(chat)?),
        ("serviceTier", service_tier(&chat.extra)),
    ];
    out.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    out.insert("messages".into(), conversation.messages());
    Ok(out)
}

/// The body of CountTokens for a request of [`encode`].
#[must_use]
pub fn to_count(mut request: Map<String, Value>) -> Value {
    request.retain(|name, _| COUNTED.contains(&name.as_str()));
    json!({ "input": { "converse": request } })
}

/// Instructions, and turns whose sides alternate.
#[derive(Default)]
struct Conversation {
    system: Vec<Value>,
    turns: Vec<(&'static str, Vec<Value>)>,
    /// Tools are offered. Where they are not, the service refuses blocks of calls and results, and they become text.
    tools: bool,
}

impl Conversation {
    fn of(chat: &Chat) -> Result<Self> {
        let mut out = Self { tools: offers(chat), ..Self::default() };
        for (i, message) in chat.messages.iter().enumerate() {
            match message.role {
                // Wherever they stand: together at the beginning, in their order.
                Role::System | Role::Developer => {
                    for (k, part) in message.content.iter().enumerate() {
                        let block = parts::instruction(part, &format!("messages[{i}].content[{k}]"))?;
                        out.system.extend(block.wire.into_iter().chain(block.mark));
                    }
                    out.system.extend(mark(message.extra.get("cache_control")));
                }
                Role::User => out.say("user", marked(content(i, message)?, message)),
                Role::Assistant => {
                    let blocks = marked(out.assistant(i, message)?, message);
                    out.say("assistant", blocks);
                }
                Role::Tool => {
                    let blocks = marked(out.tool_result(i, message)?, message);
                    out.say("user", blocks);
                }
            }
        }
        let Some((_, last)) = out.turns.last_mut() else {
            return Err(Error::invalid("messages", "'messages' holds nothing that a user or an assistant said"));
        };
        // Anthropic's mark on the request is one on its end.
        last.extend(mark(chat.extra.get("cache_control")));
        parts::name_apart(out.turns.iter_mut().flat_map(|(_, blocks)| blocks));
        Ok(out)
    }

    fn say(&mut self, side: &'static str, blocks: Vec<Value>) {
        match self.turns.last_mut() {
            _ if blocks.is_empty() => {}
            Some((last, before)) if *last == side => before.extend(blocks),
            _ => self.turns.push((side, blocks)),
        }
    }

    fn messages(&self) -> Value {
        self.turns.iter().map(|(side, blocks)| json!({ "role": side, "content": blocks })).collect()
    }

    fn assistant(&self, i: usize, message: &Message) -> Result<Vec<Value>> {
        let mut blocks = content(i, message)?;
        blocks.extend(message.extra.get("refusal").and_then(Value::as_str).and_then(said));
        for (nth, call) in message.tool_calls.iter().enumerate() {
            let (id, thoughts) = thoughts::split(&call.id);
            if !self.tools {
                blocks.push(json!({ "text": format!("[call {id}: {} {}]", call.name, call.arguments) }));
                continue;
            }
            // The first ones begin the message, before its text. A client that hands thoughts back itself knows where they
            // stand, and has those that began it.
            let begun = blocks.iter().any(|block| block.get("reasoningContent").is_some());
            let thoughts: Vec<Value> =
                thoughts.into_iter().map(thought).filter(|block| !blocks.contains(block)).collect();
            let at = if nth == 0 && !begun { 0 } else { blocks.len() };
            blocks.splice(at..at, thoughts);
            blocks.push(json!({ "toolUse": { "toolUseId": id, "name": call.name, "input": input(&call.arguments) } }));
        }
        Ok(blocks)
    }

    fn tool_result(&self, i: usize, message: &Message) -> Result<Vec<Value>> {
        let id = message.tool_call_id.as_deref().filter(|id| !id.is_empty()).ok_or_else(|| {
            let param = format!("messages[{i}].tool_call_id");
            Error::invalid(param.clone(), format!("missing member '{param}': name the call this answers"))
        })?;
        let id = thoughts::split(id).0;
        let failed = message.extra.get("is_error").and_then(Value::as_bool).unwrap_or(false);
        let (mut inner, mut marks) = (vec![], vec![]);
        for (k, part) in message.content.iter().enumerate() {
            let block = parts::block(part, &format!("messages[{i}].content[{k}]"))?;
            inner.extend(block.wire);
            marks.extend(block.mark);
        }
        if !self.tools {
            let what = if failed { "error" } else { "result" };
            inner.insert(0, json!({ "text": format!("[{what} of call {id}]") }));
            return Ok(inner.into_iter().chain(marks).collect());
        }
        let mut result = json!({ "toolUseId": id, "content": inner });
        // Success is what a result is without the member, which some models do not know.
        if failed {
            result["status"] = "error".into();
        }
        // A result holds no mark: it stands behind.
        Ok(std::iter::once(json!({ "toolResult": result })).chain(marks).collect())
    }
}

fn thought(thought: Thought) -> Value {
    match thought {
        Thought::Signed { text, signature } => {
            json!({ "reasoningContent": { "reasoningText": { "text": text, "signature": signature } } })
        }
        Thought::Redacted(data) => json!({ "reasoningContent": { "redactedContent": data } }),
    }
}

fn content(i: usize, message: &Message) -> Result<Vec<Value>> {
    let mut out = vec![];
    for (k, part) in message.content.iter().enumerate() {
        let block = parts::block(part, &format!("messages[{i}].content[{k}]"))?;
        out.extend(block.wire.into_iter().chain(block.mark));
    }
    Ok(out)
}

/// A mark for the prompt cache on a message is one behind its last block.
fn marked(mut blocks: Vec<Value>, message: &Message) -> Vec<Value> {
    if !blocks.is_empty() {
        blocks.extend(mark(message.extra.get("cache_control")));
    }
    blocks
}

/// A call's arguments as the object they must be. What a model wrote that is none goes back to it in a wrapping, the
/// one that Anthropic's page on fine-grained tool streaming names for this.
fn input(arguments: &str) -> Value {
    if arguments.trim().is_empty() {
        return json!({});
    }
    match serde_json::from_str(arguments) {
        Ok(Value::Object(members)) => Value::Object(members),
        _ => json!({ "INVALID_JSON": arguments }),
    }
}

/// Whether the model may call tools. There is no choice that forbids it, so a client that does is offered none.
fn offers(chat: &Chat) -> bool {
    !chat.tools.is_empty() && chat.tool_choice != Some(ToolChoice::None)
}

fn tool_config(chat: &Chat) -> Option<Value> {
    if !offers(chat) {
        return None;
    }
    let mut out = json!({ "tools": chat.tools.iter().flat_map(tool).collect::<Vec<_>>() });
    match &chat.tool_choice {
        None | Some(ToolChoice::None) => {}
        Some(ToolChoice::Auto) => out["toolChoice"] = json!({ "auto": {} }),
        Some(ToolChoice::Required) => out["toolChoice"] = json!({ "any": {} }),
        Some(ToolChoice::Named(name)) => out["toolChoice"] = json!({ "tool": { "name": name } }),
    }
    Some(out)
}

/// A tool, and behind it the mark of a cached prefix where it asks for one.
fn tool(spec: &ToolSpec) -> impl Iterator<Item = Value> {
    let schema = spec.parameters.clone().unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
    let mut out = json!({ "name": spec.name, "inputSchema": { "json": schema } });
    if let Some(description) = spec.description.as_deref().filter(|d| !d.trim().is_empty()) {
        out["description"] = description.into();
    }
    // Not strict is what a tool is without the member, which older models do not know.
    if spec.strict == Some(true) {
        out["strict"] = true.into();
    }
    std::iter::once(json!({ "toolSpec": out })).chain(mark(spec.cache_control.as_ref()))
}

fn inference_config(chat: &Chat) -> Option<Value> {
    let members = [
        ("maxTokens", chat.max_tokens.map(Value::from)),
        // OpenAI's goes to 2, Bedrock's to 1.
        ("temperature", chat.temperature.map(|t| json!(t.clamp(0.0, 1.0)))),
        ("topP", chat.top_p.map(Value::from)),
        ("stopSequences", (!chat.stop.is_empty()).then(|| json!(chat.stop))),
    ];
    let out: Map<String, Value> = members.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))).collect();
    (!out.is_empty()).then_some(Value::Object(out))
}

/// What only the model's own family knows, beside what the client put there itself.
fn of_the_model(model: &str, extra: &Map<String, Value>) -> Result<Option<Value>> {
    let mut out = own(extra, "additionalModelRequestFields")?;
    for name in OF_MODELS {
        if let Some(value) = extra.get(name) {
            out.entry(name).or_insert_with(|| value.clone());
        }
    }
    if let Some(top_k) = extra.get("top_k") {
        // Amazon's own models have it in a bag inside the bag (Amazon Nova User Guide, "Complete request schema").
        if model.contains("amazon.nova") {
            let bag = out.entry("inferenceConfig").or_insert_with(|| json!({}));
            if let Some(bag) = bag.as_object_mut() {
                bag.entry("topK").or_insert_with(|| top_k.clone());
            }
        } else {
            out.entry("top_k").or_insert_with(|| top_k.clone());
        }
    }
    Ok((!out.is_empty()).then_some(Value::Object(out)))
}

/// What the client wrote of a member of Bedrock's own, to which something is added here.
fn own(extra: &Map<String, Value>, name: &str) -> Result<Map<String, Value>> {
    match extra.get(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(value) => Ok(Fields::of(value.clone(), name)?.into_members()),
    }
}

/// OpenAI's tiers by Bedrock's names, beside the member a client wrote itself.
fn service_tier(extra: &Map<String, Value>) -> Option<Value> {
    let tier = extra.get("service_tier").and_then(Value::as_str)?;
    let known = ["default", "flex", "priority"].contains(&tier) && !extra.contains_key("serviceTier");
    known.then(|| json!({ "type": tier }))
}

/// The shape of the answer and the effort put into it, beside what the client wrote of `outputConfig` itself.
fn output_config(chat: &Chat) -> Result<Option<Value>> {
    let mut out = own(&chat.extra, "outputConfig")?;
    let effort = match chat.extra.get("reasoning_effort").and_then(Value::as_str) {
        Some("minimal") => Some("low"),
        Some(effort @ ("low" | "medium" | "high" | "xhigh" | "max")) => Some(effort),
        _ => None,
    };
    if let Some(effort) = effort {
        out.entry("effort").or_insert_with(|| effort.into());
    }
    if let Some(wanted) = &chat.response_format {
        match wanted.get("type").and_then(Value::as_str) {
            Some("text") => {}
            Some("json_schema") => {
                out.insert("textFormat".into(), text_format(wanted)?);
            }
            other => {
                let other = other.unwrap_or("of no type");
                let message = format!("response_format '{other}' is not known to Amazon Bedrock: use json_schema");
                return Err(Error::invalid("response_format.type", message));
            }
        }
    }
    Ok((!out.is_empty()).then_some(Value::Object(out)))
}

/// The schema travels as text.
fn text_format(wanted: &Value) -> Result<Value> {
    let inner = wanted.get("json_schema").unwrap_or(&Value::Null);
    let param = "response_format.json_schema.schema";
    let schema = inner.get("schema").ok_or_else(|| Error::invalid(param, format!("missing member '{param}'")))?;
    let mut definition = json!({ "schema": schema.to_string() });
    for name in ["name", "description"] {
        if let Some(text) = inner.get(name).filter(|text| text.is_string()) {
            definition[name] = text.clone();
        }
    }
    Ok(json!({ "type": "json_schema", "structure": { "jsonSchema": definition } }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::chat::decode;

    fn chat(mut openai: Value) -> Chat {
        if openai.get("messages").is_none() {
            openai["messages"] = json!([{ "role": "user", "content": "hi" }]);
        }
        decode(openai.to_string().as_bytes()).expect("a good request")
    }

    /// What an OpenAI client sent, as it goes to Bedrock.
    fn sent(openai: Value) -> Value {
        Value::Object(encode("m", &chat(openai)).expect("translatable"))
    }

    fn tools() -> Value {
        json!([{ "type": "function", "function": { "name": "f", "description": "d", "parameters": { "type": "object" }, "strict": true } },
            { "type": "function", "function": { "name": "g", "description": " " } }])
    }

    // Oracle: the examples of the user guide's pages "Using the Converse API" and "Call a tool with the Converse API";
    // tests/conformance compares with botocore.
    #[test]
    fn a_conversation_with_tools_alternates() {
        let got = sent(json!({ "tools": tools(), "messages": [
            { "role": "system", "content": "be brief" },
            { "role": "user", "content": "look" },
            { "role": "user", "content": [
                { "type": "text", "text": "at this", "cache_control": { "type": "ephemeral", "ttl": "1h" } },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,aGk=", "detail": "low" } } ] },
            { "role": "assistant", "content": " ", "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } },
                { "id": "c2", "type": "function", "function": { "name": "f", "arguments": "" } },
                { "id": "c3", "type": "function", "function": { "name": "f", "arguments": "{oops" } } ] },
            { "role": "tool", "tool_call_id": "c1", "content": "42" },
            { "role": "developer", "content": "still brief", "cache_control": { "type": "ephemeral" } },
            { "role": "tool", "tool_call_id": "c2", "content": [
                { "type": "text", "text": "a" }, { "type": "text", "text": "b", "cache_control": { "type": "ephemeral" } }] },
            { "role": "tool", "tool_call_id": "c3", "content": "", "is_error": true },
            { "role": "user", "content": "go on" } ] }));
        let mark = json!({ "cachePoint": { "type": "default" } });
        assert_eq!(got["system"], json!([{ "text": "be brief" }, { "text": "still brief" }, mark]));
        let want = json!([
            { "role": "user", "content": [
                { "text": "look" }, { "text": "at this" }, { "cachePoint": { "type": "default", "ttl": "1h" } },
                { "image": { "format": "png", "source": { "bytes": "aGk=" } } } ] },
            { "role": "assistant", "content": [
                { "toolUse": { "toolUseId": "c1", "name": "f", "input": { "a": 1 } } },
                { "toolUse": { "toolUseId": "c2", "name": "f", "input": {} } },
                { "toolUse": { "toolUseId": "c3", "name": "f", "input": { "INVALID_JSON": "{oops" } } } ] },
            { "role": "user", "content": [
                { "toolResult": { "toolUseId": "c1", "content": [{ "text": "42" }] } },
                { "toolResult": { "toolUseId": "c2", "content": [{ "text": "a" }, { "text": "b" }] } }, mark,
                { "toolResult": { "toolUseId": "c3", "content": [], "status": "error" } },
                { "text": "go on" } ] } ]);
        assert_eq!(got["messages"], want);
        let want = json!({ "tools": [
            { "toolSpec": { "name": "f", "description": "d", "inputSchema": { "json": { "type": "object" } }, "strict": true } },
            { "toolSpec": { "name": "g", "inputSchema": { "json": { "type": "object", "properties": {} } } } } ] });
        assert_eq!(got["toolConfig"], want);
    }

    #[test]
    fn tools_are_chosen_and_nobody_can_be_forbidden_to_call_one_that_is_offered() {
        for (choice, want) in [
            (json!("auto"), json!({ "auto": {} })),
            (json!("required"), json!({ "any": {} })),
            (json!({ "type": "function", "function": { "name": "g" } }), json!({ "tool": { "name": "g" } })),
        ] {
            assert_eq!(sent(json!({ "tools": tools(), "tool_choice": choice }))["toolConfig"]["toolChoice"], want);
        }
        let history = json!([
            { "role": "user", "content": "look" },
            { "role": "assistant", "content": "I look.", "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } },
                { "id": "c2", "type": "function", "function": { "name": "g", "arguments": "{}" } } ] },
            { "role": "tool", "tool_call_id": "c1", "content": "42" },
            { "role": "tool", "tool_call_id": "c2", "content": "broken", "is_error": true } ]);
        let want = json!({ "messages": [
            { "role": "user", "content": [{ "text": "look" }] },
            { "role": "assistant", "content": [
                { "text": "I look." }, { "text": "[call c1: f {\"a\":1}]" }, { "text": "[call c2: g {}]" } ] },
            { "role": "user", "content": [
                { "text": "[result of call c1]" }, { "text": "42" }, { "text": "[error of call c2]" }, { "text": "broken" } ] } ] });
        assert_eq!(sent(json!({ "tools": tools(), "tool_choice": "none", "messages": history })), want);
        assert_eq!(sent(json!({ "messages": history })), want);
    }

    #[test]
    fn tuning_finds_its_counterpart_or_is_left_out() {
        let got = sent(json!({
            "max_tokens": 9, "temperature": 1.7, "top_p": 0.5, "stop": "END", "seed": 7, "logprobs": true, "user": "u1",
            "metadata": { "order": "9" }, "top_k": 3, "thinking": { "type": "enabled", "budget_tokens": 2000 },
            "service_tier": "flex", "reasoning_effort": "minimal", "frequency_penalty": 1, "vendor": {},
            "requestMetadata": { "team": "a" }, "performanceConfig": { "latency": "optimized" },
            "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": { "type": "object" } } }
        }));
        let want = json!({
            "messages": [{ "role": "user", "content": [{ "text": "hi" }] }],
            "inferenceConfig": { "maxTokens": 9, "temperature": 1.0, "topP": 0.5, "stopSequences": ["END"] },
            "additionalModelRequestFields": { "top_k": 3, "thinking": { "type": "enabled", "budget_tokens": 2000 } },
            "serviceTier": { "type": "flex" }, "requestMetadata": { "team": "a" },
            "performanceConfig": { "latency": "optimized" },
            "outputConfig": { "effort": "low", "textFormat": { "type": "json_schema", "structure": {
                "jsonSchema": { "name": "x", "schema": "{\"type\":\"object\"}" } } } }
        });
        assert_eq!(got, want);
        let own = json!({ "additionalModelRequestFields": { "top_k": 1 }, "top_k": 2, "serviceTier": { "type": "reserved" },
            "service_tier": "auto", "outputConfig": { "effort": "max" }, "reasoning_effort": "low",
            "response_format": { "type": "text" }, "cache_control": { "type": "ephemeral" } });
        let want = json!({
            "messages": [{ "role": "user", "content": [{ "text": "hi" }, { "cachePoint": { "type": "default" } }] }],
            "additionalModelRequestFields": { "top_k": 1 }, "serviceTier": { "type": "reserved" },
            "outputConfig": { "effort": "max" } });
        assert_eq!(sent(own), want);
        let nova = encode("eu.amazon.nova-lite-v1:0", &chat(json!({ "top_k": 2 }))).expect("translatable");
        assert_eq!(nova["additionalModelRequestFields"], json!({ "inferenceConfig": { "topK": 2 } }));
    }

    #[test]
    fn a_request_to_count_has_what_is_read_and_nothing_else() {
        let request =
            encode("m", &chat(json!({ "tools": tools(), "max_tokens": 1, "top_k": 2, "service_tier": "flex" })));
        let counted = to_count(request.expect("translatable"));
        let mut members: Vec<&String> = counted["input"]["converse"].as_object().expect("members").keys().collect();
        members.sort();
        assert_eq!(members, ["additionalModelRequestFields", "messages", "toolConfig"]);
    }

    #[test]
    fn documents_films_sound_and_blocks_of_its_own_find_their_form() {
        let file = |name: &str, kind: &str| json!({ "type": "file", "file": { "file_data": format!("data:{kind};base64,aGk="), "filename": name } });
        let got = sent(json!({ "messages": [
            { "role": "user", "content": [
                file("John's  report_1.final.pdf", "application/pdf"), file("john s report 1 FINAL.PDF", "application/octet-stream"),
                file("\u{fc}.md", "text/plain;charset=utf-8"),
                { "type": "image_url", "image_url": "s3://bucket/a.b/c.JPG" },
                { "type": "video_url", "video_url": { "url": "data:video/mp4;base64,aGk=" } },
                { "type": "input_audio", "input_audio": { "format": "wav", "data": "aGk=" } },
                { "guardContent": { "text": { "text": "guarded" } } } ] },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "hm", "signature": "s" }, { "type": "redacted_thinking", "data": "eA==" },
                { "type": "refusal", "refusal": "no" } ] } ] }));
        let document = |format: &str, name: &str| json!({ "document": { "format": format, "name": name, "source": { "bytes": "aGk=" } } });
        let want = json!([
            { "role": "user", "content": [
                document("pdf", "John s report 1 final"), document("pdf", "john s report 1 FINAL-2"), document("txt", "document"),
                { "image": { "format": "jpeg", "source": { "s3Location": { "uri": "s3://bucket/a.b/c.JPG" } } } },
                { "video": { "format": "mp4", "source": { "bytes": "aGk=" } } },
                { "audio": { "format": "wav", "source": { "bytes": "aGk=" } } },
                { "guardContent": { "text": { "text": "guarded" } } } ] },
            { "role": "assistant", "content": [
                { "reasoningContent": { "reasoningText": { "text": "hm", "signature": "s" } } },
                { "reasoningContent": { "redactedContent": "eA==" } }, { "text": "no" } ] } ]);
        assert_eq!(got["messages"], want);
    }

    #[test]
    fn what_cannot_be_said_is_an_error_that_names_it() {
        let user = |part: Value| json!({ "messages": [{ "role": "user", "content": [part] }] });
        let image = |url: &str| user(json!({ "type": "image_url", "image_url": { "url": url } }));
        let part = "messages[0].content[0]";
        for (asked, param) in [
            (json!({ "n": 2 }), "n"),
            (json!({ "response_format": { "type": "json_object" } }), "response_format.type"),
            (json!({ "additionalModelRequestFields": "{}" }), "additionalModelRequestFields"),
            (json!({ "outputConfig": ["x"] }), "outputConfig"),
            (json!({ "functions": [{ "name": "f" }] }), "functions"),
            (json!({ "function_call": "auto" }), "function_call"),
            (json!({ "modalities": ["text", "audio"], "audio": { "voice": "alloy" } }), "modalities"),
            (json!({ "web_search_options": {} }), "web_search_options"),
            (json!({ "response_format": { "type": "json_schema" } }), "response_format.json_schema.schema"),
            (json!({ "messages": [{ "role": "system", "content": "x" }] }), "messages"),
            (json!({ "messages": [{ "role": "tool", "content": "x" }] }), "messages[0].tool_call_id"),
            (image("https://x/y.png"), part),
            (image("data:image/png,hi"), part),
            (image("data:image/tiff;base64,aGk="), part),
            (user(json!({ "type": "input_audio", "input_audio": { "data": "aGk=" } })), part),
            (user(json!({ "type": "file", "file": { "file_id": "f" } })), part),
            (
                user(json!({ "type": "file", "file": { "file_data": "data:a/b;base64,aGk=", "filename": "x.exe" } })),
                part,
            ),
            (user(json!({ "type": "search_result" })), part),
            (user(json!({ "no": "type" })), part),
            (json!({ "messages": [{ "role": "system", "content": [{ "image": {} }] }] }), part),
        ] {
            let error = encode("m", &chat(asked)).expect_err("refused");
            assert_eq!(error.param.as_deref(), Some(param), "{}", error.message);
        }
    }
}
