//! A chat as OpenAI's `POST responses/input_tokens` takes it, which alone of OpenAI's API counts what a model would read.
//!
//! Invariant: it says what `chat::encode` says to the model, in the other API's shapes; members that no token stands for
//! stay out. Source: OpenAI's API reference, "Get input token counts", and the types of its official packages.

use frontdesk_api::{Error, Result, chat::Chat};
use serde_json::{Map, Value, json};

use super::parts;
use crate::openai::chat;

/// The body of the request.
///
/// # Errors
/// `Invalid` with the code `unsupported_content`: a part that only chat completions take (sound).
pub fn encode(model: &str, chat: &Chat) -> Result<Vec<u8>> {
    let told: Map<String, Value> = serde_json::from_slice(&chat::encode(model, false, chat)).unwrap_or_default();
    let list = |name: &str| told.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut messages = list("messages");
    let mut out = Map::from_iter([("model".to_owned(), json!(model))]);
    if let [first, rest @ ..] = messages
        && first["role"] == "system"
        && first["content"].is_string()
    {
        out.insert("instructions".into(), first["content"].clone());
        messages = rest;
    }
    let items: Vec<Vec<Value>> = messages.iter().map(items).collect::<Result<_>>()?;
    out.insert("input".into(), items.concat().into());
    let tools: Vec<Value> = list("tools").iter().map(|tool| function(&tool["function"])).collect();
    let choice = told.get("tool_choice").map(|choice| match choice["function"].get("name") {
        Some(name) => json!({ "type": "function", "name": name }),
        None => choice.clone(),
    });
    let format = told.get("response_format").map(|format| match format["json_schema"].as_object() {
        Some(inner) => json!(Map::from_iter(inner.clone().into_iter().chain([("type".into(), "json_schema".into())]))),
        None => format.clone(),
    });
    let named = |name: &str, value: Option<&Value>| value.map(|value| (name.to_owned(), value.clone()));
    let text: Map<_, _> =
        named("format", format.as_ref()).into_iter().chain(named("verbosity", told.get("verbosity"))).collect();
    let optional = [
        ("tools", (!tools.is_empty()).then(|| tools.into())),
        ("tool_choice", choice),
        ("parallel_tool_calls", told.get("parallel_tool_calls").cloned()),
        ("text", (!text.is_empty()).then(|| text.into())),
        ("reasoning", told.get("reasoning_effort").map(|effort| json!({ "effort": effort }))),
    ];
    out.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    Ok(Value::Object(out).to_string().into_bytes())
}

/// A message of a chat: as itself, and a call or a result as an item of its own.
fn items(message: &Value) -> Result<Vec<Value>> {
    let content = &message["content"];
    if message["role"] == "tool" {
        let output = said(content)?;
        return Ok(vec![
            json!({ "type": "function_call_output", "call_id": message["tool_call_id"], "output": output }),
        ]);
    }
    let mut items = vec![];
    if !content.is_null() {
        let said = match (&message["role"], content.as_array()) {
            // Its parts would have to be an answer's, with ids; words are taken too.
            (Value::String(role), Some(parts)) if role == "assistant" => {
                let words = parts.iter().filter_map(|part| part["text"].as_str().or_else(|| part["refusal"].as_str()));
                words.collect::<String>().into()
            }
            _ => said(content)?,
        };
        items.push(json!({ "role": message["role"], "content": said }));
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let (name, arguments) = (&call["function"]["name"], &call["function"]["arguments"]);
        items.push(json!({ "type": "function_call", "call_id": call["id"], "name": name, "arguments": arguments }));
    }
    Ok(items)
}

fn said(content: &Value) -> Result<Value> {
    let Some(list) = content.as_array() else { return Ok(content.clone()) };
    let part = |part: &Value| match part["type"].as_str() {
        Some("text" | "image_url" | "file") => Ok(parts::shown(part, true)),
        kind => {
            let message = format!("the tokens of a part '{}' cannot be counted", kind.unwrap_or_default());
            Err(Error::invalid("input", message).with_code("unsupported_content"))
        }
    };
    list.iter().map(part).collect()
}

/// Without a word about it a function is strict in this API, and is not in the other.
fn function(tool: &Value) -> Value {
    let mut out = json!({ "type": "function", "parameters": null, "strict": false });
    for (name, value) in tool.as_object().into_iter().flatten() {
        out[name] = value.clone();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(chat: Value) -> Result<Value> {
        let chat = chat::decode(chat.to_string().as_bytes()).expect("a chat");
        Ok(serde_json::from_slice(&encode("m", &chat)?).expect("JSON"))
    }

    // Oracle: the shapes of `InputTokenCountParams` in the official package. tests/conformance/test_presets.py compares
    // with what its client sends.
    #[test]
    fn what_the_model_would_read_is_told_in_the_other_shapes() {
        let call = json!({ "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{}" } });
        let image = json!({ "type": "image_url", "image_url": { "url": "data:,x", "detail": "low" } });
        let schema = json!({ "name": "s", "schema": { "type": "object" }, "strict": true });
        let asked = json!({ "model": "m", "max_tokens": 5, "temperature": 0.1, "reasoning_effort": "low", "verbosity": "low",
            "messages": [
                { "role": "system", "content": "be brief" },
                { "role": "user", "content": [{ "type": "text", "text": "what?" }, image] },
                { "role": "assistant", "content": "I look.", "tool_calls": [call] },
                { "role": "tool", "tool_call_id": "c1", "content": "42", "is_error": true },
                { "role": "assistant", "content": [{ "type": "refusal", "refusal": "no" }] },
            ],
            "tools": [{ "type": "function", "function": { "name": "f" } }],
            "tool_choice": { "type": "function", "function": { "name": "f" } },
            "response_format": { "type": "json_schema", "json_schema": schema } });
        assert_eq!(
            encoded(asked).expect("a count"),
            json!({ "model": "m", "instructions": "be brief",
                "input": [
                    { "role": "user", "content": [{ "type": "input_text", "text": "what?" },
                                                  { "type": "input_image", "image_url": "data:,x", "detail": "low" }] },
                    { "role": "assistant", "content": "I look." },
                    { "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}" },
                    { "type": "function_call_output", "call_id": "c1", "output": "error: 42" },
                    { "role": "assistant", "content": "no" },
                ],
                "tools": [{ "type": "function", "name": "f", "parameters": null, "strict": false }],
                "tool_choice": { "type": "function", "name": "f" },
                "text": { "format": { "type": "json_schema", "name": "s", "schema": { "type": "object" }, "strict": true },
                          "verbosity": "low" },
                "reasoning": { "effort": "low" } })
        );
    }

    #[test]
    fn sound_is_refused_by_name() {
        let sound = json!({ "type": "input_audio", "input_audio": { "data": "x", "format": "wav" } });
        let error = encoded(json!({ "model": "m", "messages": [{ "role": "user", "content": [sound] }] }))
            .expect_err("refused");
        assert_eq!(error.code.as_deref(), Some("unsupported_content"));
        assert!(error.message.contains("input_audio"), "{error}");
    }
}
