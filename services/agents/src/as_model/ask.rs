//! A chat as a turn of an agent: messages to items, members to what the agent works by.
//!
//! The agent's own rules stand first: the client's system messages follow its instructions, the client's functions its
//! tools. Between a call of a client's function and its result lie two requests and so two turns; what the agent itself
//! did in the first one, unseen by the client, is found again by the ids of the calls, which carry the turn's id
//! ([`crate::as_model::tell`]): nothing is done twice because a client could not know of it.

use std::collections::HashSet;

use frontdesk_api::{
    ChatRequest, Cx, Error, Kind, Result,
    agent::{Agent, AgentSpec},
    chat::{Chat, Message, Part, Role, ToolCall, ToolChoice},
    turn::ItemBody,
};
use serde_json::{Value, json};

use super::tell::CALLED_IN;
use crate::{Agents, AsResponse, NewTurn};

/// Members of a chat that would change nothing here, or what is done with them is done elsewhere.
const PASSED_OVER: [&str; 5] = ["metadata", "service_tier", "store", "stream_options", "prediction"];

/// Members that promise what an agent's answer does not have.
const REFUSED: [(&str, &str); 4] = [
    ("functions", "give 'tools'"),
    ("function_call", "give 'tool_choice'"),
    ("audio", "an agent writes text"),
    ("web_search_options", "an agent searches with tools of its own"),
];

/// The turn that a chat with `agent` asks for, and the names of the functions that run at the client.
///
/// # Errors
/// `Invalid` naming the member.
pub(super) async fn to_turn(
    agents: &Agents,
    cx: &Cx,
    agent: Agent,
    request: &ChatRequest,
) -> Result<(NewTurn, HashSet<String>)> {
    let chat = request.chat()?;
    let mut spec = agent.spec;
    let mut items = vec![];
    let mut recalled = HashSet::new();
    for (i, message) in chat.messages.iter().enumerate() {
        let media = media(i, message)?;
        let text = words(message);
        match message.role {
            Role::System | Role::Developer => {
                if !spec.instructions.is_empty() {
                    spec.instructions.push_str("\n\n");
                }
                spec.instructions.push_str(&text);
            }
            Role::Tool => {
                let id = own(message.tool_call_id.as_deref().unwrap_or_default()).0;
                items.push(
                    media.map_or_else(|| ItemBody::output(id, text, false), |parts| ItemBody::output_of(id, parts)),
                );
            }
            Role::Assistant if !message.tool_calls.is_empty() => {
                match recall(agents, cx, &agent.id, message, &mut recalled).await? {
                    Some(done) => items.extend(done),
                    None => asked_before(message, text, &mut items),
                }
            }
            Role::Assistant => says(message, text, &mut items),
            role => items.push(match media {
                None => ItemBody::Message { role, text, citations: vec![] },
                Some(parts) => ItemBody::Content { role, parts },
            }),
        }
    }
    if items.is_empty() {
        return Err(Error::invalid("messages", "'messages' holds nothing that an agent could answer"));
    }
    let answered = matches!(chat.messages.last(), Some(last) if last.role == Role::Tool);
    configure(&mut spec, chat, answered)?;
    let client_tools = client_tools(&spec);
    let response = AsResponse { spec, version: agent.version, previous: None, echo: Value::Null, stored: false };
    let idempotency_key = request.idempotency_key.clone();
    let new = NewTurn { agent_id: agent.id, items, idempotency_key, response: Some(response), ..NewTurn::default() };
    Ok((new, client_tools))
}

/// The names of the functions that run at the client.
pub(super) fn client_tools(spec: &AgentSpec) -> HashSet<String> {
    spec.client_tools.iter().map(|tool| tool.name.clone()).collect()
}

/// What the request says beside its messages, over what the agent says.
fn configure(spec: &mut AgentSpec, chat: &Chat, answered: bool) -> Result<()> {
    for (i, tool) in chat.tools.iter().enumerate() {
        if spec.client_tools.iter().any(|own| own.name == tool.name) {
            let message = format!("the agent has a tool of its own that is called '{}'", tool.name);
            return Err(Error::invalid(format!("tools[{i}].function.name"), message));
        }
        spec.client_tools.push(tool.clone());
    }
    if answered && matches!(spec.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_))) {
        // The agent's forced call was made in the turn before.
        spec.tool_choice = None;
    }
    spec.tool_choice = chat.tool_choice.clone().or(spec.tool_choice.take());
    spec.parallel_tool_calls = chat.parallel_tool_calls.or(spec.parallel_tool_calls);
    spec.response_format = chat.response_format.clone().or(spec.response_format.take());
    let sampling = &mut spec.sampling;
    sampling.temperature = chat.temperature.or(sampling.temperature);
    sampling.top_p = chat.top_p.or(sampling.top_p);
    sampling.max_tokens = chat.max_tokens.or(sampling.max_tokens);
    sampling.seed = chat.seed.or(sampling.seed);
    if !chat.stop.is_empty() {
        sampling.stop.clone_from(&chat.stop);
    }
    for (name, value) in chat.extra.iter().filter(|(_, value)| !value.is_null()) {
        let name = name.as_str();
        if PASSED_OVER.contains(&name) {
            continue;
        }
        if let Some((_, instead)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            return Err(Error::invalid(name, format!("'{name}' cannot be given to an agent: {instead}")));
        }
        match name {
            "n" | "best_of" if *value == 1 => {}
            "n" | "best_of" => return Err(Error::invalid(name, format!("'{name}' must be 1: an agent answers once"))),
            "logprobs" | "top_logprobs" if *value == false || *value == 0 => {}
            "logprobs" | "top_logprobs" => {
                return Err(Error::invalid(name, format!("'{name}' is not known of an agent's answer: leave it out")));
            }
            "modalities" if *value == json!(["text"]) => {}
            "modalities" => return Err(Error::invalid(name, "an agent writes text")),
            _ => drop(spec.model_params.insert(name.to_owned(), value.clone())),
        }
    }
    Ok(())
}

/// A message's parts, where there are others than text.
///
/// # Errors
/// `Invalid` naming a part that is not taken: agents read texts, and of users and functions pictures, sound and files.
fn media(i: usize, message: &Message) -> Result<Option<Vec<Value>>> {
    let (mut parts, mut only_text) = (vec![], true);
    for (at, part) in message.content.iter().enumerate() {
        let wire = match part {
            Part::Text(text) => {
                parts.push(json!({ "type": "text", "text": text }));
                continue;
            }
            Part::Other(wire) => wire,
        };
        let is_text = text_of(wire).is_some() || (message.role == Role::Assistant && refused(wire).is_some());
        let is_media = matches!(message.role, Role::User | Role::Tool)
            && match wire["type"].as_str() {
                Some("image_url") => wire["image_url"]["url"].is_string(),
                Some("input_audio") => wire["input_audio"].is_object(),
                Some("file") => wire["file"]["file_data"].is_string(),
                _ => false,
            };
        if !is_text && !is_media {
            let param = format!("messages[{i}].content[{at}]");
            let message = format!(
                "{param} is not taken by an agent: it reads text, and of users image_url, input_audio and file with file_data"
            );
            return Err(Error::invalid(param, message));
        }
        only_text &= is_text;
        parts.push(wire.clone());
    }
    Ok((!only_text).then_some(parts))
}

/// A message's text.
fn words(message: &Message) -> String {
    let text = message.content.iter().map(|part| match part {
        Part::Text(text) => text.as_str(),
        Part::Other(wire) => text_of(wire).unwrap_or_default(),
    });
    text.collect()
}

/// An assistant's words, and those with which it refused.
fn says(message: &Message, text: String, items: &mut Vec<ItemBody>) {
    let refusal = refusal(message);
    if !text.is_empty() || refusal.is_empty() {
        items.push(ItemBody::Message { role: Role::Assistant, text, citations: vec![] });
    }
    if !refusal.is_empty() {
        items.push(ItemBody::Refusal { text: refusal });
    }
}

/// What a message holds of a refusal, as a member or as parts.
fn refusal(message: &Message) -> String {
    let parts = message.content.iter().filter_map(|part| match part {
        Part::Other(wire) => refused(wire),
        Part::Text(_) => None,
    });
    message.extra.get("refusal").and_then(Value::as_str).into_iter().chain(parts).collect()
}

fn refused(wire: &Value) -> Option<&str> {
    wire.get("refusal").filter(|_| wire["type"] == "refusal")?.as_str()
}

/// A part of text with members beside it.
fn text_of(wire: &Value) -> Option<&str> {
    wire.get("text").filter(|_| wire["type"] == "text")?.as_str()
}

/// An assistant's message of which nothing is known but what the client says.
fn asked_before(message: &Message, text: String, items: &mut Vec<ItemBody>) {
    if !text.is_empty() || !refusal(message).is_empty() {
        says(message, text, items);
    }
    let calls = message.tool_calls.iter().map(|call| ToolCall { id: own(&call.id).0.into(), ..call.clone() });
    items.extend(calls.map(|call| ItemBody::FunctionCall { call, container: None }));
}

/// What the turn brought that asked for these calls, where it is known: this agent's, and kept until now. A turn's
/// message may have been split in two, so it is told once.
async fn recall(
    agents: &Agents,
    cx: &Cx,
    agent_id: &str,
    message: &Message,
    recalled: &mut HashSet<String>,
) -> Result<Option<Vec<ItemBody>>> {
    let Some(turn) = message.tool_calls.iter().find_map(|call| own(&call.id).1) else { return Ok(None) };
    if !recalled.insert(turn.to_owned()) {
        return Ok(Some(vec![]));
    }
    match agents.brought_by(cx, agent_id, turn).await {
        Ok(items) => Ok(Some(items)),
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The model's own id of a call, and the turn that it was made in.
fn own(id: &str) -> (&str, Option<&str>) {
    id.rsplit_once(CALLED_IN).map_or((id, None), |(own, turn)| (own, Some(turn)))
}
