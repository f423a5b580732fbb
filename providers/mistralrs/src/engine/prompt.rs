//! Messages of the OpenAI wire as the maps a chat template reads.
//!
//! The maps are made here and not with the engine's request builder, because that one puts calls under a key no
//! Hugging Face template looks at. Invariant: a template sees `tool_calls[].function.{name,arguments}`.

use either::Either;
use image::DynamicImage;
use indexmap::IndexMap;
use mistralrs::MessageContent;
use serde_json::{Value, json};

use super::pictures::{MOST_IMAGES, picture};
use super::problem::Problem;
use super::request::{CallBody, Content, Message, Part};
use super::sight::Sight;

/// One message as the engine takes it.
pub(crate) type TemplateMessage = IndexMap<String, MessageContent>;

/// Turns `messages` into template maps, and their images into what the model sees, in their order.
///
/// `arguments_as_text`: the template prints a string of arguments as it stands; otherwise it expects an object.
/// `sight`: how the model reads images, or why it does not.
///
/// # Errors
/// `invalid` naming the message whose role or content this engine does not take.
pub(crate) fn template_messages(
    messages: &[Message],
    arguments_as_text: bool,
    sight: &Result<Sight, String>,
) -> Result<(Vec<TemplateMessage>, Vec<DynamicImage>), Problem> {
    let mut images = Vec::new();
    let map = |(index, message)| template_message(index, message, arguments_as_text, sight, &mut images);
    let maps = messages.iter().enumerate().map(map).collect::<Result<_, Problem>>()?;
    Ok((maps, images))
}

fn template_message(
    index: usize,
    message: &Message,
    arguments_as_text: bool,
    sight: &Result<Sight, String>,
    images: &mut Vec<DynamicImage>,
) -> Result<TemplateMessage, Problem> {
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
    let before = images.len();
    let parts = parts(index, message, sight, images)?;
    // Templates print a string as it stands, and some know nothing else.
    let content = match images.len() == before {
        true => Either::Left(parts.iter().filter_map(|part| part.get("text")?.as_str()).collect()),
        false => Either::Right(parts),
    };
    map.insert("content".into(), content);
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

/// The parts of a message as templates of models with an image tower read them: text, and where an image stands.
fn parts(
    index: usize,
    message: &Message,
    sight: &Result<Sight, String>,
    images: &mut Vec<DynamicImage>,
) -> Result<Vec<IndexMap<String, Value>>, Problem> {
    let text = |text: &str| IndexMap::from([("type".to_owned(), json!("text")), ("text".to_owned(), json!(text))]);
    let parts = match &message.content {
        None => return Ok(Vec::new()),
        Some(Content::Text(whole)) => return Ok(vec![text(whole)]),
        Some(Content::Parts(parts)) => parts,
    };
    let one = |(position, part): (usize, &Part)| {
        let invalid = |message: String| Problem::invalid(format!("messages[{index}].content[{position}]"), message);
        match part.kind.as_str() {
            "text" => part.text.as_deref().map(text).ok_or_else(|| invalid("a text part without 'text'".into())),
            "image_url" => {
                let blind = |reason: &String| invalid(format!("this model cannot read images: {reason}"));
                let sight = sight.as_ref().map_err(blind)?;
                if message.role != "user" {
                    return Err(invalid(format!("messages of the role '{}' hold no images here", message.role)));
                }
                if images.len() == MOST_IMAGES {
                    return Err(invalid(format!("a request holds at most {MOST_IMAGES} images")));
                }
                let wrong = |wrong| invalid(format!("the image {wrong}"));
                images.push(picture(part.image_url.as_ref(), sight).map_err(wrong)?);
                Ok(IndexMap::from([("type".to_owned(), json!("image"))]))
            }
            other => Err(invalid(format!("this engine reads text and images, not '{other}'"))),
        }
    };
    parts.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a model without an image tower.
    fn plain(messages: &[Message], as_text: bool) -> Result<Vec<TemplateMessage>, Problem> {
        let (maps, images) = template_messages(messages, as_text, &Err("it is blind".into()))?;
        assert!(images.is_empty());
        Ok(maps)
    }

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
            let maps = plain(&history, as_text).unwrap();
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
        let maps = plain(&joined, true).unwrap();
        assert_eq!(maps[0]["role"], Either::Left("system".to_owned()));
        assert_eq!(maps[0]["content"], Either::Left("ab".to_owned()));

        let image = messages(json!([{"role":"user","content":[
            {"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}}]}]));
        let problem = plain(&image, true).unwrap_err();
        assert_eq!(problem.param.as_deref(), Some("messages[0].content[1]"));
        assert_eq!(problem.message, "this model cannot read images: it is blind");
    }

    #[test]
    fn an_unknown_role_is_named() {
        let problem = plain(&messages(json!([{"role":"king","content":"x"}])), true);
        assert_eq!(problem.unwrap_err().param.as_deref(), Some("messages[0].role"));
    }
}
