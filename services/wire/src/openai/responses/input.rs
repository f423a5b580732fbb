//! What a response or a conversation is given: OpenAI's input items as items of ours.
//!
//! A client that keeps its own history sends back what it was answered, so every kind of item that is shown is taken
//! here too. Thoughts are taken as they were sealed; those that only can be read are passed over, since no model is shown
//! them. What a client writes itself
//! is refused by name where it has a member that nobody knows; what is sent back is history, and such a member decides
//! nothing.

use frontdesk_api::{
    Error, Result,
    chat::{Role, ToolCall},
    tools::MOST_GIVEN,
    turn::ItemBody,
};
use serde_json::Value;

use super::{
    code,
    compaction::opened,
    parts::{self, Sent, Takes},
};
use crate::fields::Fields;

/// Items of one request: what one statement writes.
const MOST: usize = 1_000;

/// Bytes of the reason that goes with a word to a call.
const MOST_REASON: usize = 2_000;

/// An item as it was sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    Item(ItemBody),
    /// One that is here already, by its id.
    Reference {
        id: String,
        /// Where the request names it.
        path: String,
    },
    /// What a model thought, sealed as it was sent to the client.
    Thoughts {
        sealed: String,
        /// Where it stands.
        path: String,
    },
}

/// The items of a member: a text is a user's message.
///
/// # Errors
/// `Invalid` naming the item.
pub fn input(value: Value, name: &str) -> Result<Vec<Input>> {
    match value {
        Value::String(text) => Ok(vec![says(Role::User, text)]),
        Value::Array(list) => items(list, name),
        _ => Err(Error::invalid(name, format!("'{name}' must be a string or a list of items"))),
    }
}

/// # Errors
/// `Invalid` naming the item.
pub fn items(list: Vec<Value>, name: &str) -> Result<Vec<Input>> {
    if list.len() > MOST {
        return Err(Error::invalid(name, format!("'{name}' has {} items; at most {MOST} are taken", list.len())));
    }
    let mut items = vec![];
    for (i, value) in list.into_iter().enumerate() {
        item(Fields::of(value, &format!("{name}[{i}]"))?, &mut items)?;
    }
    Ok(items)
}

fn item(mut fields: Fields, items: &mut Vec<Input>) -> Result<()> {
    let kind = match fields.text("type")? {
        Some(kind) => kind,
        // A message may leave its type out, and so may a reference.
        None if fields.has("role") => "message".into(),
        None if fields.has("id") => "item_reference".into(),
        None => return Err(fields.missing("type")),
    };
    match kind.as_str() {
        "message" => {
            let role = fields.word("role", &["user", "assistant", "system", "developer"])?;
            let role = match role.as_deref() {
                Some("user") => Role::User,
                Some("assistant") => Role::Assistant,
                Some("system") => Role::System,
                Some(_) => Role::Developer,
                None => return Err(fields.missing("role")),
            };
            let takes = match role {
                Role::User => Takes::Media,
                Role::Assistant => Takes::Refusals,
                _ => Takes::Nothing,
            };
            match parts::parts(&mut fields, "content", takes)? {
                Sent::Words(text) => items.push(says(role, text)),
                Sent::Refused { refusal, text } => {
                    items.extend((!text.is_empty()).then(|| says(role, text)));
                    items.push(Input::Item(ItemBody::Refusal { text: refusal }));
                }
                Sent::Parts(parts) => items.push(Input::Item(ItemBody::Content { role, parts })),
            }
            if role != Role::Assistant {
                fields.pass_over(&["id", "status", "phase", "created_by"]);
                fields.end()?;
            }
        }
        "function_call" | "mcp_call" => {
            let own = fields.text("id")?;
            let id = match fields.text("call_id")? {
                Some(id) => id,
                None if kind == "mcp_call" => own.ok_or_else(|| fields.missing("id"))?,
                None => return Err(fields.missing("call_id")),
            };
            // What came of a word is sent back behind it, and says all of it.
            if let Some(asked) = fields.take("approval_request_id").as_ref().and_then(Value::as_str) {
                let is_it = |item: &Input| matches!(item, Input::Item(ItemBody::ApprovalResponse { request_id, .. }) if request_id == asked);
                items.retain(|item| !is_it(item));
            }
            let call = ToolCall { id, name: fields.needed("name")?, arguments: fields.needed("arguments")? };
            let call_id = call.id.clone();
            items.push(Input::Item(ItemBody::FunctionCall { call, container: None }));
            if kind == "mcp_call" {
                let error = fields.take("error").map(|error| failure(&error));
                let is_error = error.is_some();
                // Without either it was cut off, and nobody answered it.
                if let Some(output) = error.or(fields.text("output")?) {
                    items.push(Input::Item(ItemBody::output(call_id, output, is_error)));
                }
            }
        }
        code::ITEM => {
            let (call, said) = code::taken(&mut fields)?;
            let call_id = call.id.clone();
            items.push(Input::Item(ItemBody::FunctionCall { call, container: None }));
            if let Some(output) = said {
                items.push(Input::Item(ItemBody::output(call_id, output, false)));
            }
        }
        "function_call_output" => {
            let (call_id, path) = (fields.needed("call_id")?, fields.path("output"));
            items.push(Input::Item(match parts::parts(&mut fields, "output", Takes::Files)? {
                Sent::Words(output) if output.len() > MOST_GIVEN => {
                    let message = format!("'{path}' has {} bytes; at most {MOST_GIVEN} are taken", output.len());
                    return Err(Error::invalid(path, message).with_code("string_above_max_length"));
                }
                Sent::Words(output) | Sent::Refused { text: output, .. } => ItemBody::output(call_id, output, false),
                Sent::Parts(parts) => ItemBody::output_of(call_id, parts),
            }));
            fields.pass_over(&["id", "status", "name", "namespace", "caller", "created_by"]);
            fields.end()?;
        }
        "item_reference" => {
            let id = fields.id("id")?.ok_or_else(|| fields.missing("id"))?;
            items.push(Input::Reference { id, path: fields.path("id") });
            fields.pass_over(&["status"]);
            fields.end()?;
        }
        "compaction" => {
            let path = fields.path("encrypted_content");
            let summary = opened(&fields.needed("encrypted_content")?, &path)?;
            items.push(says(Role::User, summary));
        }
        "mcp_approval_response" => {
            let request_id = fields.id("approval_request_id")?.ok_or_else(|| fields.missing("approval_request_id"))?;
            let approved = fields.flag("approve")?.ok_or_else(|| fields.missing("approve"))?;
            let reason = fields.text("reason")?;
            if reason.as_ref().is_some_and(|reason| reason.len() > MOST_REASON || reason.contains('\0')) {
                let path = fields.path("reason");
                let message = format!("'{path}' must have at most {MOST_REASON} bytes, none of them zero");
                return Err(Error::invalid(path, message));
            }
            items.push(Input::Item(ItemBody::ApprovalResponse { request_id, approved, reason, waiting: None }));
            fields.pass_over(&["id", "status"]);
            fields.end()?;
        }
        "reasoning" => {
            let path = fields.path("encrypted_content");
            let sealed = fields.text("encrypted_content")?;
            items.extend(sealed.map(|sealed| Input::Thoughts { sealed, path }));
        }
        // What servers have is asked of them, and what waits stands in our own rows.
        "file_search_call" | "web_search_call" | "mcp_list_tools" | "mcp_approval_request" => {}
        other => {
            let path = fields.path("type");
            let message = format!("'{path}' is '{other}', an item that nothing here understands");
            return Err(Error::invalid(path, message).with_code("unsupported_item"));
        }
    }
    Ok(())
}

/// What the `error` of an item says.
fn failure(error: &Value) -> String {
    let said = error["content"][0]["text"].as_str().or_else(|| error["message"].as_str()).or_else(|| error.as_str());
    said.map_or_else(|| error.to_string(), str::to_owned)
}

fn says(role: Role, text: String) -> Input {
    Input::Item(ItemBody::Message { role, text, citations: vec![] })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Vec<Input> {
        input(value, "input").expect("good input")
    }

    #[test]
    fn a_result_of_a_call_has_a_size_that_is_too_much() {
        let asked = |bytes: usize| {
            let output = json!({ "type": "function_call_output", "call_id": "c1", "output": "x".repeat(bytes) });
            input(json!([output]), "input")
        };
        assert!(asked(MOST_GIVEN).is_ok());
        let refused = asked(MOST_GIVEN + 1).expect_err("too much");
        assert_eq!(
            (refused.param.as_deref(), refused.code.as_deref()),
            (Some("input[0].output"), Some("string_above_max_length"))
        );
    }

    // Oracle: the input of OpenAI's guides "Text generation", "Function calling" and "Conversation state", and what
    // `response.output` of the official package holds when it is sent back.
    #[test]
    fn every_item_that_is_shown_is_taken_back() {
        let items = read(json!([
            { "role": "developer", "content": "be brief" },
            { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "wea" }, { "type": "input_text", "text": "ther?" }] },
            { "type": "reasoning", "id": "rs_1", "summary": [] },
            { "type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "fdt1.x" },
            { "type": "function_call", "id": "fc_1", "call_id": "c1", "name": "look", "arguments": "{}", "status": "completed" },
            { "type": "function_call_output", "call_id": "c1", "output": "rain" },
            { "type": "mcp_call", "id": "mcp_1", "server_label": "frontdesk", "name": "order", "arguments": "{}", "output": "sent" },
            { "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
              "content": [{ "type": "output_text", "text": "it rains", "annotations": [] }] },
            { "type": "message", "role": "assistant", "content": [{ "type": "refusal", "refusal": "I will not." }] },
            { "type": "item_reference", "id": "msg_2" },
            { "id": "msg_3" },
        ]));
        let call = |id: &str, name: &str| {
            let call = ToolCall { id: id.into(), name: name.into(), arguments: "{}".into() };
            Input::Item(ItemBody::FunctionCall { call, container: None })
        };
        let output = |id: &str, output: &str| Input::Item(ItemBody::output(id, output, false));
        let refers = |id: &str, n: usize| Input::Reference { id: id.into(), path: format!("input[{n}].id") };
        let want = vec![
            says(Role::Developer, "be brief".into()),
            says(Role::User, "weather?".into()),
            Input::Thoughts { sealed: "fdt1.x".into(), path: "input[3].encrypted_content".into() },
            call("c1", "look"),
            output("c1", "rain"),
            call("mcp_1", "order"),
            output("mcp_1", "sent"),
            says(Role::Assistant, "it rains".into()),
            Input::Item(ItemBody::Refusal { text: "I will not.".into() }),
            refers("msg_2", 9),
            refers("msg_3", 10),
        ];
        assert_eq!(items, want);
        assert_eq!(read(json!("hi")), [says(Role::User, "hi".into())]);
    }

    #[test]
    fn a_call_of_ours_that_failed_says_why_and_one_that_was_cut_off_says_nothing() {
        let call = |more: Value| {
            let mut call = json!({ "type": "mcp_call", "id": "m", "name": "order", "arguments": "{}", "output": null });
            call.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            input(json!([call]), "input").expect("items").into_iter().nth(1)
        };
        let failed = |output: &str| {
            let output = output.to_owned();
            Some(Input::Item(ItemBody::output("m", output, true)))
        };
        let error = json!({ "type": "mcp_tool_execution_error", "content": [{ "type": "text", "text": "sold out" }] });
        assert_eq!(call(json!({ "error": error })), failed("sold out"));
        assert_eq!(call(json!({ "error": "sold out" })), failed("sold out"));
        assert_eq!(call(json!({ "error": null, "status": "incomplete" })), None);
    }

    #[test]
    fn each_fault_names_its_item() {
        for (value, param) in [
            (json!(7), "input"),
            (json!([7]), "input[0]"),
            (json!([{}]), "input[0].type"),
            (json!([{ "role": "robot", "content": "x" }]), "input[0].role"),
            (json!([{ "role": "user" }]), "input[0].content"),
            (json!([{ "role": "user", "content": [{ "type": "input_image" }] }]), "input[0].content[0].image_url"),
            (json!([{ "role": "user", "content": "a" }, { "type": "computer_call" }]), "input[1].type"),
            (json!([{ "type": "function_call", "call_id": "c" }]), "input[0].name"),
            (json!([{ "type": "function_call_output", "call_id": "c", "output": 1 }]), "input[0].output"),
            (
                json!([{ "type": "function_call_output", "call_id": "c", "output": [{ "type": "input_audio" }] }]),
                "input[0].output[0].type",
            ),
            (json!([{ "type": "reasoning", "encrypted_content": 7 }]), "input[0].encrypted_content"),
            (json!([{ "type": "item_reference", "id": "a\u{0}" }]), "input[0].id"),
            (json!([{ "role": "user", "content": "x", "name": "Ada" }]), "input[0].name"),
            (
                json!([{ "type": "function_call_output", "call_id": "c", "output": "x", "is_error": true }]),
                "input[0].is_error",
            ),
            (json!([{ "type": "item_reference", "id": "a", "output": "x" }]), "input[0].output"),
        ] {
            let error = input(value.clone(), "input").expect_err("refused");
            assert_eq!(error.param.as_deref(), Some(param), "{value}: {error}");
        }
    }
}
