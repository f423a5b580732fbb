//! The stream of a response, and the response object: a fold over the events of its turn.
//!
//! One event of ours is none, one or several of theirs, so their numbers are not ours: a response's events are counted
//! as they come out of the fold. Feed it a turn's events from the first; the same rows give the same events under the
//! same numbers, without a gap, at every replay, and what lies behind a client's last number is what is new to it.
//! The object that is read back is the fold's last state, so it cannot differ from what was streamed.

use std::collections::{BTreeSet, HashMap};

use frontdesk_api::{
    Kind,
    chat::{ToolCall, Usage},
    clock::unix_seconds,
    turn::{Event, EventBody, Item, ItemBody, StepKind, Turn, TurnError, TurnState},
};
use serde_json::{Map, Value, json};

use super::{
    code,
    item::{self, ClientTools},
    logprobs,
    mcp::{self, Made, Servers},
    request::Include,
    web,
};

/// One event of a response.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// `sequence_number`, from 0.
    pub number: i64,
    /// `type`.
    pub name: &'static str,
    /// The whole event.
    pub data: Value,
}

/// The fold over a turn's events.
#[derive(Debug)]
pub struct Projection {
    /// Members that repeat the request.
    echo: Map<String, Value>,
    client: ClientTools,
    servers: Servers,
    include: Include,
    /// The number of the next event.
    next: i64,
    turn: Option<Turn>,
    output: Vec<Value>,
    /// Places in `output` by the ids of their items.
    places: HashMap<String, usize>,
    /// Places in `output` of calls that run here, by call id, with what is called.
    calls: HashMap<String, (usize, ToolCall)>,
    /// Calls that were approved, by call id.
    approved: HashMap<String, Made>,
    /// Those of them that are not shown yet, with the ids they are shown under.
    due: Vec<(String, ToolCall)>,
    /// Calls that wait for a word, with the ids of their items, by call id: shown where they are refused instead.
    withheld: HashMap<String, (String, ToolCall)>,
    /// Places of items that were begun and are not done.
    open: BTreeSet<usize>,
}

impl Projection {
    /// `echo`: the members of the response that repeat its request; `include`: what its items show.
    #[must_use]
    pub fn new(echo: Value, include: Include) -> Self {
        let client = item::client_tools(&echo);
        let echo = match echo {
            Value::Object(echo) => echo,
            _ => Map::new(),
        };
        Self {
            echo,
            client,
            servers: Servers::default(),
            include,
            next: 0,
            turn: None,
            output: vec![],
            places: HashMap::new(),
            calls: HashMap::new(),
            approved: HashMap::new(),
            due: vec![],
            withheld: HashMap::new(),
            open: BTreeSet::new(),
        }
    }

    /// What the next event of the turn is on this wire.
    pub fn push(&mut self, event: &Event) -> Vec<Shown> {
        let mut out = vec![];
        match &event.body {
            EventBody::Created { turn } => self.created(turn, &mut out),
            EventBody::ItemAdded { item, .. } => self.added(item, &mut out),
            EventBody::TextDelta { item_id, delta, logprobs, .. } => {
                let tokens = if self.include.logprobs { logprobs.as_slice() } else { &[] };
                self.tokens(item_id, tokens);
                let told = json!({ "logprobs": logprobs::told(tokens) });
                self.words("response.output_text.delta", item_id, delta, told, &mut out);
            }
            EventBody::RefusalDelta { item_id, delta, .. } => {
                self.words("response.refusal.delta", item_id, delta, json!({}), &mut out);
            }
            EventBody::ReasoningDelta { item_id, delta, .. } => self.thinks(item_id, delta, &mut out),
            EventBody::ArgumentsDelta { item_id, delta, .. } => self.arguments(item_id, delta, &mut out),
            EventBody::ItemDone { item, .. } => self.done(item, &mut out),
            EventBody::Completed { turn } => self.ended(turn, "response.completed", &mut out),
            EventBody::Failed { turn } => self.ended(turn, "response.failed", &mut out),
            // OpenAI has no event for a response that was cancelled: the status in its response says so.
            EventBody::Incomplete { turn } | EventBody::Cancelled { turn } => {
                self.ended(turn, "response.incomplete", &mut out);
            }
            // Nor one for an answer that begins anew: what was begun of it stays as incomplete, the new one comes behind.
            EventBody::Restarted { .. } => self.cut_off(&mut out),
            EventBody::Input { items } => items.iter().for_each(|item| self.approves(item)),
            EventBody::StepStarted { step } if step.kind == StepKind::ToolExecution => {
                self.begin_due(|_| true, &mut out)
            }
            // Nor one for how far a call is.
            EventBody::HandedOff { .. }
            | EventBody::ToolProgress { .. }
            | EventBody::StepStarted { .. }
            | EventBody::StepCompleted { .. }
            | EventBody::AwaitingInput { .. }
            | EventBody::Resumed { .. } => {}
        }
        out
    }

    /// An error that ends the stream, not the response. Its number is taken again by the event that comes instead.
    #[must_use]
    pub fn broken(&self, error: &frontdesk_api::Error) -> Shown {
        let data = json!({ "type": "error", "sequence_number": self.next, "code": error.code, "message": error.message, "param": error.param });
        Shown { number: self.next, name: "error", data }
    }

    /// The turn as it was last told of.
    #[must_use]
    pub fn turn(&self) -> Option<&Turn> {
        self.turn.as_ref()
    }

    /// The response as it stands; None before the first event.
    #[must_use]
    pub fn response(&self) -> Option<Value> {
        let turn = self.turn.as_ref()?;
        Some(self.shown(turn, status(turn.state)))
    }

    fn created(&mut self, turn: &Turn, out: &mut Vec<Shown>) {
        self.turn = Some(turn.clone());
        let background = self.echo.get("background") == Some(&Value::Bool(true));
        let first = if background { "queued" } else { "in_progress" };
        let response = self.shown(turn, first);
        self.tell("response.created", json!({ "response": response }), out);
        if background {
            self.tell("response.queued", json!({ "response": response }), out);
        }
        let response = self.shown(turn, "in_progress");
        self.tell("response.in_progress", json!({ "response": response }), out);
    }

    /// The place of an item that begins.
    fn begin(&mut self, id: &str, shown: Value, out: &mut Vec<Shown>) -> usize {
        let at = self.output.len();
        self.tell("response.output_item.added", json!({ "output_index": at, "item": shown }), out);
        self.output.push(shown);
        self.places.insert(id.to_owned(), at);
        self.open.insert(at);
        at
    }

    fn added(&mut self, item: &Item, out: &mut Vec<Shown>) {
        let id = &item.id;
        match &item.body {
            ItemBody::Message { .. } => self.speaks(id, item::message(id, "", &[], "in_progress"), out),
            ItemBody::Refusal { .. } => self.speaks(id, item::refusal(id, "", "in_progress"), out),
            ItemBody::Reasoning { text, sealed, .. } => {
                let mut begun = item::reasoning(id, "", None, false, false);
                begun["status"] = json!("in_progress");
                let at = self.begin(id, begun, out);
                // Of thoughts for their maker alone nothing will be read.
                if !text.is_empty() || sealed.is_none() {
                    self.begin_thoughts(id, at, out);
                }
            }
            ItemBody::FunctionCall { call, container } => {
                let begun = ToolCall { arguments: String::new(), ..call.clone() };
                if self.servers.waits(&call.name) {
                    // Shown as what asks for it.
                } else if self.client.contains(&call.name) {
                    self.begin(id, item::function_call(id, &begun, "in_progress"), out);
                } else if self.client.is_code(&call.name) {
                    let container = code::container(item, container.as_ref());
                    let at = self.begin(id, code::item(id, &container, &begun, None, false), out);
                    self.calls.insert(call.id.clone(), (at, call.clone()));
                    let more = json!({ "item_id": id, "output_index": at });
                    self.tell("response.code_interpreter_call.in_progress", more, out);
                } else if self.client.is_web(&call.name) {
                    let at = self.begin(id, web::item(id, &begun, None, self.include), out);
                    self.calls.insert(call.id.clone(), (at, call.clone()));
                    let more = json!({ "item_id": id, "output_index": at });
                    self.tell("response.web_search_call.in_progress", more, out);
                } else {
                    let begun = self.servers.call(call).begun(id);
                    self.runs(id, call, begun, out);
                }
            }
            ItemBody::FunctionCallOutput { .. }
            | ItemBody::Retrieval { .. }
            | ItemBody::HandOff { .. }
            | ItemBody::ServerTools { .. }
            | ItemBody::ApprovalRequest { .. }
            | ItemBody::ApprovalResponse { .. }
            | ItemBody::Content { .. }
            // In no response.
            | ItemBody::Person { .. } => {}
        }
    }

    /// An item of one part that will be written.
    fn speaks(&mut self, id: &str, mut shown: Value, out: &mut Vec<Shown>) {
        let part = shown["content"][0].clone();
        shown["content"] = json!([]);
        let at = self.begin(id, shown, out);
        let more = json!({ "item_id": id, "output_index": at, "content_index": 0, "part": part });
        self.tell("response.content_part.added", more, out);
        self.output[at]["content"] = json!([part]);
    }

    /// What is known of the tokens of a message's words, behind what is known of those before.
    fn tokens(&mut self, id: &str, tokens: &[Value]) {
        let Some(&at) = self.places.get(id).filter(|_| !tokens.is_empty()) else { return };
        if let Some(all) = self.output[at]["content"][0]["logprobs"].as_array_mut() {
            all.extend(logprobs::kept(tokens));
        }
    }

    /// The part in which what is thought can be read.
    fn begin_thoughts(&mut self, id: &str, at: usize, out: &mut Vec<Shown>) {
        let (list, place) = self.thoughts(id, at);
        let (name, kind) = match list {
            "summary" => ("response.reasoning_summary_part.added", "summary_text"),
            _ => ("response.content_part.added", "reasoning_text"),
        };
        let part = json!({ "type": kind, "text": "" });
        self.tell(name, with(&place, json!({ "part": part })), out);
        self.output[at][list] = json!([part]);
    }

    fn thinks(&mut self, id: &str, delta: &str, out: &mut Vec<Shown>) {
        let Some(&at) = self.places.get(id) else { return };
        let (list, place) = self.thoughts(id, at);
        append(&mut self.output[at][list][0]["text"], delta);
        let name = match list {
            "summary" => "response.reasoning_summary_text.delta",
            _ => "response.reasoning_text.delta",
        };
        self.tell(name, with(&place, json!({ "delta": delta })), out);
    }

    /// Under which member of its item what is thought is shown, and where events say that it stands.
    fn thoughts(&self, id: &str, at: usize) -> (&'static str, Value) {
        match self.client.summarises {
            true => ("summary", json!({ "item_id": id, "output_index": at, "summary_index": 0 })),
            false => ("content", json!({ "item_id": id, "output_index": at, "content_index": 0 })),
        }
    }

    fn words(&mut self, name: &'static str, id: &str, delta: &str, more: Value, out: &mut Vec<Shown>) {
        let Some(&at) = self.places.get(id) else { return };
        let part = &mut self.output[at]["content"][0];
        append(if part["type"] == "refusal" { &mut part["refusal"] } else { &mut part["text"] }, delta);
        let place = json!({ "item_id": id, "output_index": at, "content_index": 0, "delta": delta });
        self.tell(name, with(&place, more), out);
    }

    fn arguments(&mut self, id: &str, delta: &str, out: &mut Vec<Shown>) {
        let Some(&at) = self.places.get(id) else { return };
        if self.output[at]["type"] == code::ITEM || self.output[at]["type"] == web::ITEM {
            // Its code or question is read out of the arguments, which must be whole for that.
            return;
        }
        append(&mut self.output[at]["arguments"], delta);
        let name = match self.output[at]["type"].as_str() {
            Some("mcp_call") => "response.mcp_call_arguments.delta",
            _ => "response.function_call_arguments.delta",
        };
        self.tell(name, json!({ "item_id": id, "output_index": at, "delta": delta }), out);
    }

    fn done(&mut self, item: &Item, out: &mut Vec<Shown>) {
        let id = &item.id;
        if !self.places.contains_key(id) {
            self.added(item, out);
        }
        let at = self.places.get(id).copied();
        match (&item.body, at) {
            (ItemBody::Message { text, citations, .. }, Some(at)) => {
                let place = json!({ "item_id": id, "output_index": at, "content_index": 0 });
                for (n, citation) in citations.iter().enumerate() {
                    let annotation = item::annotation(text, citation);
                    let more = with(&place, json!({ "annotation_index": n, "annotation": annotation }));
                    self.tell("response.output_text.annotation.added", more, out);
                }
                let mut whole = item::message(id, text, citations, "completed");
                whole["content"][0]["logprobs"] = self.output[at]["content"][0]["logprobs"].take();
                let part = whole["content"][0].clone();
                let tokens = part["logprobs"].as_array().map(Vec::as_slice).unwrap_or_default();
                let said = json!({ "text": text, "logprobs": logprobs::told(tokens) });
                self.tell("response.output_text.done", with(&place, said), out);
                self.tell("response.content_part.done", with(&place, json!({ "part": part })), out);
                self.finish(at, whole, out);
            }
            (ItemBody::Refusal { text }, Some(at)) => {
                let place = json!({ "item_id": id, "output_index": at, "content_index": 0 });
                self.tell("response.refusal.done", with(&place, json!({ "refusal": text })), out);
                let whole = item::refusal(id, text, "completed");
                let part = json!({ "part": whole["content"][0] });
                self.tell("response.content_part.done", with(&place, part), out);
                self.finish(at, whole, out);
            }
            (ItemBody::Reasoning { text, sealed, .. }, Some(at)) => {
                let (list, place) = self.thoughts(id, at);
                let whole = item::reasoning(id, text, sealed.as_deref(), list == "summary", self.include.thoughts);
                if !text.is_empty() {
                    let (said, done) = match list {
                        "summary" => ("response.reasoning_summary_text.done", "response.reasoning_summary_part.done"),
                        _ => ("response.reasoning_text.done", "response.content_part.done"),
                    };
                    self.tell(said, with(&place, json!({ "text": text })), out);
                    self.tell(done, with(&place, json!({ "part": whole[list][0] })), out);
                }
                self.finish(at, whole, out);
            }
            (ItemBody::ApprovalRequest { waiting }, _) => {
                let whole = mcp::request(id, waiting);
                let at = self.begin(id, whole.clone(), out);
                self.finish(at, whole, out);
            }
            (body @ ItemBody::ServerTools { .. }, _) => self.lists(id, body, out),
            (ItemBody::FunctionCall { call, .. }, Some(at)) if self.client.contains(&call.name) => {
                let more = json!({ "item_id": id, "output_index": at, "name": call.name, "arguments": call.arguments });
                self.tell("response.function_call_arguments.done", more, out);
                self.finish(at, item::function_call(id, call, "completed"), out);
            }
            (ItemBody::FunctionCall { call, container }, Some(at)) if self.client.is_code(&call.name) => {
                let (place, code) = (json!({ "item_id": id, "output_index": at }), code::code(call));
                let delta = with(&place, json!({ "delta": code }));
                self.tell("response.code_interpreter_call_code.delta", delta, out);
                let whole = with(&place, json!({ "code": code }));
                self.tell("response.code_interpreter_call_code.done", whole, out);
                self.tell("response.code_interpreter_call.interpreting", place, out);
                let container = code::container(item, container.as_ref());
                self.output[at] = code::item(id, &container, call, None, false);
                self.output[at]["status"] = json!("interpreting");
                self.calls.insert(call.id.clone(), (at, call.clone()));
            }
            (ItemBody::FunctionCall { call, .. }, Some(at)) if self.client.is_web(&call.name) => {
                let more = json!({ "item_id": id, "output_index": at });
                self.tell("response.web_search_call.searching", more, out);
                self.output[at] = web::item(id, call, None, self.include);
                self.output[at]["status"] = json!("searching");
                self.calls.insert(call.id.clone(), (at, call.clone()));
            }
            (ItemBody::FunctionCall { call, .. }, None) => {
                self.withheld.insert(call.id.clone(), (id.clone(), call.clone()));
            }
            (ItemBody::FunctionCall { call, .. }, Some(at)) => {
                let more = json!({ "item_id": id, "output_index": at, "arguments": call.arguments });
                self.tell("response.mcp_call_arguments.done", more, out);
                self.output[at]["arguments"] = json!(call.arguments);
                self.calls.insert(call.id.clone(), (at, call.clone()));
            }
            (ItemBody::FunctionCallOutput { call_id, output, is_error, .. }, _) => {
                self.show_refused(call_id, out);
                self.begin_due(|call| call.id == *call_id, out);
                let Some((at, call)) = self.calls.remove(call_id) else { return };
                let name = if *is_error { "response.mcp_call.failed" } else { "response.mcp_call.completed" };
                let begun = self.output[at]["id"].as_str().unwrap_or_default().to_owned();
                if self.output[at]["type"] == code::ITEM {
                    let result = Some((output.as_str(), *is_error));
                    let container = self.output[at]["container_id"].as_str().unwrap_or_default();
                    let whole = code::item(&begun, container, &call, result, self.include.outputs);
                    // There is no event for one that failed.
                    if whole["status"] == "completed" {
                        let more = json!({ "item_id": begun, "output_index": at });
                        self.tell("response.code_interpreter_call.completed", more, out);
                    }
                    self.finish(at, whole, out);
                    return;
                }
                if self.output[at]["type"] == web::ITEM {
                    // There is no event for one that failed.
                    if !is_error {
                        let more = json!({ "item_id": begun, "output_index": at });
                        self.tell("response.web_search_call.completed", more, out);
                    }
                    let whole = web::item(&begun, &call, Some((output, *is_error)), self.include);
                    self.finish(at, whole, out);
                    return;
                }
                self.tell(name, json!({ "item_id": begun, "output_index": at }), out);
                let made = self.approved.get(call_id).cloned().unwrap_or_else(|| self.servers.call(&call));
                self.finish(at, made.shown(&begun, Some((output, *is_error))), out);
            }
            (ItemBody::Retrieval { query, passages }, _) => {
                let whole = item::search(id, query, self.include.results.then_some(passages));
                let mut begun = item::search(id, query, None);
                begun["status"] = json!("in_progress");
                let at = self.begin(id, begun, out);
                for name in [
                    "response.file_search_call.in_progress",
                    "response.file_search_call.searching",
                    "response.file_search_call.completed",
                ] {
                    self.tell(name, json!({ "item_id": id, "output_index": at }), out);
                }
                self.finish(at, whole, out);
            }
            (
                ItemBody::HandOff { .. }
                | ItemBody::ApprovalResponse { .. }
                | ItemBody::Content { .. }
                | ItemBody::Person { .. }
                | ItemBody::Message { .. }
                | ItemBody::Refusal { .. }
                | ItemBody::Reasoning { .. },
                _,
            ) => {}
        }
    }

    /// An item that is done.
    fn finish(&mut self, at: usize, shown: Value, out: &mut Vec<Shown>) {
        self.open.remove(&at);
        self.tell("response.output_item.done", json!({ "output_index": at, "item": shown }), out);
        self.output[at] = shown;
    }

    /// What was begun and will not be finished stays where it is, as incomplete: places never change.
    fn cut_off(&mut self, out: &mut Vec<Shown>) {
        for at in std::mem::take(&mut self.open) {
            let mut shown = self.output[at].clone();
            shown["status"] = json!("incomplete");
            self.finish(at, shown, out);
        }
        self.calls.clear();
        self.withheld.clear();
    }

    fn ended(&mut self, turn: &Turn, name: &'static str, out: &mut Vec<Shown>) {
        self.cut_off(out);
        self.turn = Some(turn.clone());
        let response = self.shown(turn, status(turn.state));
        self.tell(name, json!({ "response": response }), out);
    }

    fn tell(&mut self, name: &'static str, more: Value, out: &mut Vec<Shown>) {
        let number = self.next;
        self.next += 1;
        let data = with(&json!({ "type": name, "sequence_number": number }), more);
        out.push(Shown { number, name, data });
    }

    fn shown(&self, turn: &Turn, status: &str) -> Value {
        let mut response = self.echo.clone();
        let finished = turn.state == TurnState::Completed;
        let members = [
            ("id", json!(turn.id)),
            ("object", json!("response")),
            ("created_at", json!(unix_seconds(turn.created_at))),
            ("completed_at", json!(turn.completed_at.filter(|_| finished).map(unix_seconds))),
            ("status", json!(status)),
            ("error", turn.error.as_ref().filter(|_| status == "failed").map_or(Value::Null, error)),
            ("incomplete_details", incomplete(turn)),
            ("output", json!(self.output)),
            ("usage", if turn.state.is_terminal() { usage(turn.usage) } else { Value::Null }),
        ];
        response.extend(members.map(|(name, value)| (name.to_owned(), value)));
        if let Some(hand_off) = &turn.hand_off {
            // Beyond OpenAI's: the conversation now belongs to a person.
            response.insert("hand_off".into(), json!(hand_off));
        }
        Value::Object(response)
    }
}

/// A response's status.
#[must_use]
pub fn status(state: TurnState) -> &'static str {
    match state {
        TurnState::Queued => "queued",
        TurnState::Running | TurnState::AwaitingInput => "in_progress",
        TurnState::Completed => "completed",
        TurnState::Failed | TurnState::DeadLetter => "failed",
        TurnState::Cancelled => "cancelled",
        TurnState::Incomplete => "incomplete",
    }
}

/// OpenAI's codes are a closed list; what happened here is in the message.
fn error(error: &TurnError) -> Value {
    let code = match error.kind {
        Some(Kind::RateLimited) => "rate_limit_exceeded",
        Some(Kind::Invalid | Kind::TooLarge | Kind::Refused | Kind::NotFound) => "invalid_prompt",
        _ => "server_error",
    };
    json!({ "code": code, "message": error.message })
}

/// Why it is incomplete; for what OpenAI has no word (a limit of ours), the reason is null and stands in `message`.
fn incomplete(turn: &Turn) -> Value {
    let Some(error) = turn.error.as_ref().filter(|_| turn.state == TurnState::Incomplete) else { return Value::Null };
    match error.code.as_str() {
        "max_tokens" => json!({ "reason": "max_output_tokens" }),
        "content_filter" => json!({ "reason": "content_filter" }),
        _ => json!({ "reason": null, "message": error.message }),
    }
}

pub(super) fn usage(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.input_tokens,
        "input_tokens_details": { "cached_tokens": usage.cached_input_tokens, "cache_write_tokens": usage.cache_write_tokens },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning_tokens },
        "total_tokens": usage.input_tokens.saturating_add(usage.output_tokens),
    })
}

fn append(text: &mut Value, delta: &str) {
    if let Value::String(text) = text {
        text.push_str(delta);
    }
}

/// The members of both; `more` wins.
fn with(object: &Value, more: Value) -> Value {
    let mut all = object.clone();
    if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
        all.extend(more);
    }
    all
}

mod served;
#[cfg(test)]
mod tests;
