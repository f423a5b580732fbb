//! Items as Responses and Conversations show them.
//!
//! A call of one of our own tools is shown as `mcp_call`, as those of servers that the request named are: the one shape in
//! which a client sees a call with its result and does not take it for one that it must run. Calls that the client runs are `function_call`.

use std::collections::{HashMap, HashSet};

use frontdesk_api::{
    chat::{Role, ToolCall},
    memory::Passage,
    turn::{Citation, Item, ItemBody},
};
use serde_json::{Value, json};

use super::{
    allowed::lets_call,
    code,
    mcp::{self, Made, Servers},
    parts,
    request::Include,
    web,
};

/// Who runs a call, by the name of its tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTools {
    functions: HashSet<String>,
    /// Whether the code interpreter is among the tools.
    interpreter: bool,
    /// Whether searches of the web are.
    web: bool,
    /// A summary of thoughts was asked for: what can be read of them is shown as one.
    pub(super) summarises: bool,
}

impl ClientTools {
    /// Whether the client runs it.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.functions.contains(name)
    }

    /// Whether it is shown as a call of the code interpreter.
    #[must_use]
    pub fn is_code(&self, name: &str) -> bool {
        self.interpreter && name == code::TOOL && !self.contains(name)
    }

    /// Whether it is shown as a search of the web.
    #[must_use]
    pub fn is_web(&self, name: &str) -> bool {
        self.web && name == frontdesk_api::web::TOOL && !self.contains(name)
    }
}

/// The functions among the tools that a response repeats, as far as its model may call them: no other call is its client's.
#[must_use]
pub fn client_tools(echo: &Value) -> ClientTools {
    let tools = echo.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let kinds = || tools.iter().filter_map(|tool| tool.get("type")?.as_str());
    let names = tools.iter().filter_map(|tool| tool.get("name")?.as_str());
    ClientTools {
        functions: names.filter(|name| lets_call(&echo["tool_choice"], name)).map(str::to_owned).collect(),
        interpreter: kinds().any(|kind| kind == code::TOOL),
        web: kinds().any(web::is_web),
        summarises: echo.pointer("/reasoning/summary").is_some_and(Value::is_string),
    }
}

/// The items of one turn. The first `inputs` of them came with the request and are shown as they were sent.
#[must_use]
pub fn items(items: &[Item], inputs: usize, client: &ClientTools, include: Include) -> Vec<Value> {
    let inputs = inputs.min(items.len());
    let (given, made) = items.split_at(inputs);
    let outputs: HashMap<&str, (&str, bool)> = made
        .iter()
        .filter_map(|item| match &item.body {
            ItemBody::FunctionCallOutput { call_id, output, is_error, .. } => {
                Some((call_id.as_str(), (output.as_str(), *is_error)))
            }
            _ => None,
        })
        .collect();
    let sent = |item| sent(item, include);
    let mut shown: Vec<Value> = given.iter().filter_map(sent).collect();
    let mut servers = Servers::default();
    made.iter().for_each(|item| servers.learn(&item.body));
    // Calls of an earlier turn that this one's client approved were made here, whether their own items stand here or there.
    let mut asked_before = vec![];
    shown.extend(given.iter().filter_map(|item| match &item.body {
        ItemBody::ApprovalResponse { waiting: Some(waiting), approved: false, .. } => {
            asked_before.push(waiting.call.id.as_str());
            None
        }
        ItemBody::ApprovalResponse { request_id, waiting: Some(waiting), .. } => {
            asked_before.push(waiting.call.id.as_str());
            let result = outputs.get(waiting.call.id.as_str()).copied();
            Some(Made::approved(request_id, waiting).shown(&mcp::approved_id(request_id), result))
        }
        _ => None,
    }));
    shown.extend(made.iter().filter_map(|item| match &item.body {
        ItemBody::FunctionCall { call, container } if client.is_code(&call.name) => {
            let result = outputs.get(call.id.as_str()).copied();
            Some(code::item(&item.id, &code::container(item, container.as_ref()), call, result, include.outputs))
        }
        ItemBody::FunctionCall { call, .. } if client.is_web(&call.name) => {
            Some(web::item(&item.id, call, outputs.get(call.id.as_str()).copied(), include))
        }
        ItemBody::FunctionCall { call, .. } if asked_before.contains(&call.id.as_str()) => None,
        // Shown as what asks for it, unless it was refused at once.
        ItemBody::FunctionCall { call, .. } if servers.waits(&call.name) && !outputs.contains_key(call.id.as_str()) => {
            None
        }
        ItemBody::FunctionCall { call, .. } if !client.contains(&call.name) => {
            Some(servers.call(call).shown(&item.id, outputs.get(call.id.as_str()).copied()))
        }
        ItemBody::Reasoning { text, sealed, .. } => {
            Some(reasoning(&item.id, text, sealed.as_deref(), client.summarises, include.thoughts))
        }
        // Shown with its call.
        ItemBody::FunctionCallOutput { .. } => None,
        ItemBody::Retrieval { query, passages } => Some(search(&item.id, query, include.results.then_some(passages))),
        _ => sent(item),
    }));
    shown
}

/// An item that stands for itself; None for those that only we know.
#[must_use]
pub fn sent(item: &Item, include: Include) -> Option<Value> {
    let id = &item.id;
    Some(match &item.body {
        ItemBody::Message { role: Role::Assistant, text, citations } => message(id, text, citations, "completed"),
        ItemBody::Refusal { text } => refusal(id, text, "completed"),
        ItemBody::Message { role, text, .. } => {
            let content = [json!({ "type": "input_text", "text": text })];
            json!({ "id": id, "type": "message", "role": role, "status": "completed", "content": content })
        }
        ItemBody::Person { by, text } => {
            let mut said = message(id, text, &[], "completed");
            said["frontdesk"] = json!({ "author": by });
            said
        }
        ItemBody::Content { role, parts } => {
            let content: Vec<Value> = parts.iter().map(|part| parts::shown(part, include.images)).collect();
            json!({ "id": id, "type": "message", "role": role, "status": "completed", "content": content })
        }
        ItemBody::FunctionCall { call, .. } => function_call(id, call, "completed"),
        ItemBody::FunctionCallOutput { call_id, output, parts, .. } => {
            // `include` has no word for these pictures.
            let output = match parts.as_slice() {
                [] => json!(output),
                parts => parts.iter().map(|part| parts::shown(part, true)).collect(),
            };
            json!({ "id": id, "type": "function_call_output", "call_id": call_id, "output": output, "status": "completed" })
        }
        ItemBody::Reasoning { text, sealed, .. } => reasoning(id, text, sealed.as_deref(), false, include.thoughts),
        ItemBody::ServerTools { server, tools, error, known: false, .. } => {
            mcp::list(id, server, tools, error.as_deref())
        }
        ItemBody::ApprovalRequest { waiting } => mcp::request(id, waiting),
        ItemBody::ApprovalResponse { request_id, approved, reason, .. } => {
            mcp::response(id, request_id, *approved, reason.as_deref())
        }
        ItemBody::ServerTools { known: true, .. } | ItemBody::Retrieval { .. } | ItemBody::HandOff { .. } => {
            return None;
        }
    })
}

/// What the assistant says.
#[must_use]
pub fn message(id: &str, text: &str, citations: &[Citation], status: &str) -> Value {
    json!({ "id": id, "type": "message", "role": "assistant", "status": status, "content": [part(text, citations)] })
}

/// A message in which the model refuses to answer.
#[must_use]
pub fn refusal(id: &str, text: &str, status: &str) -> Value {
    let content = [json!({ "type": "refusal", "refusal": text })];
    json!({ "id": id, "type": "message", "role": "assistant", "status": status, "content": content })
}

/// A message's one part.
#[must_use]
pub fn part(text: &str, citations: &[Citation]) -> Value {
    let annotations: Vec<Value> = citations.iter().map(|citation| annotation(text, citation)).collect();
    json!({ "type": "output_text", "text": text, "annotations": annotations, "logprobs": [] })
}

/// A source, at its place in the text (in characters): a page of the web where its address stands, a file
/// where its number does, one that code wrote where the text speaks of it.
#[must_use]
pub fn annotation(text: &str, citation: &Citation) -> Value {
    let place = |byte: usize| text[..byte].chars().count();
    if let Some(container) = &citation.container_id {
        let mut spoken = frontdesk_api::code::mentions(text, &citation.filename).into_iter();
        let at = spoken.nth(citation.number.saturating_sub(1)).unwrap_or(text.len()..text.len());
        return json!({ "type": "container_file_citation", "container_id": container, "file_id": citation.file_id,
                       "filename": citation.filename, "start_index": place(at.start), "end_index": place(at.end) });
    }
    if let (true, Some(url)) = (citation.file_id.is_empty(), &citation.url) {
        let at = frontdesk_api::web::stands(text, url).map_or(text, |at| &text[..at]).chars().count();
        let end = (at + url.chars().count()).min(text.chars().count());
        return json!({ "type": "url_citation", "start_index": at, "end_index": end, "title": citation.title, "url": url });
    }
    let at = text.find(&format!("[{}]", citation.number)).map_or(text, |at| &text[..at]);
    json!({ "type": "file_citation", "file_id": citation.file_id, "filename": citation.filename, "index": at.chars().count() })
}

/// What the model thought, as far as it can be read: as its summary where one was asked for, which nobody here writes
/// another way. `included`: whether what is sealed is shown.
#[must_use]
pub fn reasoning(id: &str, text: &str, sealed: Option<&str>, summarises: bool, included: bool) -> Value {
    let (mut summary, mut content) = (vec![], vec![]);
    if summarises && !text.is_empty() {
        summary.push(json!({ "type": "summary_text", "text": text }));
    } else if !text.is_empty() {
        content.push(json!({ "type": "reasoning_text", "text": text }));
    }
    let mut shown =
        json!({ "id": id, "type": "reasoning", "summary": summary, "content": content, "status": "completed" });
    if included {
        shown["encrypted_content"] = json!(sealed);
    }
    shown
}

#[must_use]
pub fn function_call(id: &str, call: &ToolCall, status: &str) -> Value {
    json!({ "id": id, "type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments, "status": status })
}

/// A look into knowledge stores; `results` where they are to be seen.
#[must_use]
pub fn search(id: &str, query: &str, results: Option<&Vec<Passage>>) -> Value {
    let results = results.map(|passages| {
        let shown = |p: &Passage| json!({ "file_id": p.file_id, "filename": p.filename, "score": p.score, "text": p.text, "attributes": p.attributes });
        passages.iter().map(shown).collect::<Vec<_>>()
    });
    json!({ "id": id, "type": "file_search_call", "queries": [query], "status": "completed", "results": results })
}
