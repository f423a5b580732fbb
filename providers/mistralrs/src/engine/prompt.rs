//! Messages of the OpenAI wire as the maps a chat template reads.
//!
//! The maps are made here and not with the engine's request builder, because that one puts calls under a key no
//! Hugging Face template looks at. Invariant: a template sees `tool_calls[].function.{name,arguments}`.

use either::Either;
use indexmap::IndexMap;
use mistralrs::MessageContent;
use serde_json::{Value, json};

use super::problem::Problem;
use super::request::{CallBody, Content, Message};

/// One message as the engine takes it.
pub(crate) type TemplateMessage = IndexMap<String, MessageContent>;

/// Turns `messages` into template maps.
///
/// `arguments_as_text`: the template prints a string of arguments as it stands; otherwise it expects an object.
///
/// # Errors
/// `invalid` naming the message whose role or content this engine does not take.
pub(crate) fn template_messages(
    messages: &[Message],
    arguments_as_text: bool,
) -> Result<Vec<TemplateMessage>, Problem> {
    messages.iter().enumerate().map(|(index, message)| template_message(index, message, arguments_as_text)).collect()
}

fn template_message(index: usize, message: &Message, arguments_as_text: bool) -> Result<TemplateMessage, Problem> {
    let role = match message.role.as_str() {
        "system" | "developer" => "system",
        "user" => "user",
        "assistant" => "assistant",
        "tool" | "function" => "tool",
        other => {
            let path = format!("messages[{index}].role");
            return Err(Problem::invalid(path, format!("role '{other}' is not known here")));
        }
    };
    let mut map = TemplateMessage::new();
    map.insert("role".into(), Either::Left(role.into()));
    map.insert("content".into(), Either::Left(text(index, message.content.as_ref())?));
    for (key, value) in [
        ("tool_call_id", &message.tool_call_id),
        ("name", &message.name),
        ("reasoning_content", &message.reasoning_content),
    ] {
        if let Some(value) = value {
            map.insert(key.into(), Either::Left(value.clone()));
        }
    }
    if let Some(calls) = message.tool_calls.as_ref().filter(|calls| !calls.is_empty()) {
        let calls = calls.iter().map(|call| template_call(call, arguments_as_text)).collect();
        map.insert("tool_calls".into(), Either::Right(calls));
    }
    Ok(map)
}

fn template_call(call: &CallBody, arguments_as_text: bool) -> IndexMap<String, Value> {
    let written = &call.function.arguments;
    let arguments = match serde_json::from_str::<Value>(written) {
        Ok(object @ Value::Object(_)) if !arguments_as_text => object,
        _ => Value::String(written.clone()),
    };
    IndexMap::from([
        ("id".to_owned(), json!(call.id)),
        ("type".to_owned(), json!("function")),
        ("function".to_owned(), json!({"name": call.function.name, "arguments": arguments})),
    ])
}

fn text(index: usize, content: Option<&Content>) -> Result<String, Problem> {
    let parts = match content {
        None => return Ok(String::new()),
        Some(Content::Text(text)) => return Ok(text.clone()),
        Some(Content::Parts(parts)) => parts,
    };
    let mut whole = String::new();
    for (position, part) in parts.iter().enumerate() {
        let path = format!("messages[{index}].content[{position}]");
        if part.kind != "text" {
            let message = format!("this model reads text only, not '{}'", part.kind);
            return Err(Problem::invalid(path, message));
        }
        let Some(text) = &part.text else {
            return Err(Problem::invalid(path, "a text part without 'text'"));
        };
        whole.push_str(text);
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(value: Value) -> Vec<Message> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn calls_stand_under_tool_calls_as_an_object_or_as_they_were_written() {
        let history = messages(json!([
            {"role":"assistant","content":null,"tool_calls":[
                {"id":"c1","type":"function","function":{"name":"look","arguments":"{\"b\": 1, \"a\":2}"}}]},
            {"role":"tool","content":"ok","tool_call_id":"c1"}
        ]));
        let function = |as_text| {
            let maps = template_messages(&history, as_text).unwrap();
            assert_eq!(maps[1]["tool_call_id"], Either::Left("c1".to_owned()));
            match &maps[0]["tool_calls"] {
                Either::Right(calls) => calls[0]["function"].clone(),
                Either::Left(_) => panic!("the calls are a list"),
            }
        };
        assert_eq!(function(false), json!({"name":"look","arguments":{"b":1,"a":2}}));
        assert_eq!(function(true), json!({"name":"look","arguments":"{\"b\": 1, \"a\":2}"}));
    }

    #[test]
    fn text_parts_are_joined_and_other_parts_are_named() {
        let joined = messages(json!([{"role":"developer","content":[
            {"type":"text","text":"a"},{"type":"text","text":"b"}]}]));
        let maps = template_messages(&joined, true).unwrap();
        assert_eq!(maps[0]["role"], Either::Left("system".to_owned()));
        assert_eq!(maps[0]["content"], Either::Left("ab".to_owned()));

        let image = messages(json!([{"role":"user","content":[
            {"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}}]}]));
        let problem = template_messages(&image, true).unwrap_err();
        assert_eq!(problem.param.as_deref(), Some("messages[0].content[1]"));
    }

    #[test]
    fn an_unknown_role_is_named() {
        let problem = template_messages(&messages(json!([{"role":"king","content":"x"}])), true);
        assert_eq!(problem.unwrap_err().param.as_deref(), Some("messages[0].role"));
    }
}
