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
    turn::{Event, EventBody, Item, ItemBody, Turn, TurnError, TurnState},
};
use serde_json::{Map, Value, json};

use super::item::{self, ClientTools};

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
    /// Whether searches show what they found.
    results: bool,
    /// The number of the next event.
    next: i64,
    turn: Option<Turn>,
    output: Vec<Value>,
    /// Places in `output` by the ids of their items.
    places: HashMap<String, usize>,
    /// Places in `output` of calls that run here, by call id, with what is called.
    calls: HashMap<String, (usize, ToolCall)>,
    /// Places of items that were begun and are not done.
    open: BTreeSet<usize>,
}

impl Projection {
    /// `echo`: the members of the response that repeat its request; `results`: whether searches show what they found.
    #[must_use]
    pub fn new(echo: Value, results: bool) -> Self {
        let client = item::client_tools(&echo);
        let echo = match echo {
            Value::Object(echo) => echo,
            _ => Map::new(),
        };
        Self {
            echo,
            client,
            results,
            next: 0,
            turn: None,
            output: vec![],
            places: HashMap::new(),
            calls: HashMap::new(),
            open: BTreeSet::new(),
        }
    }

    /// What the next event of the turn is on this wire.
    pub fn push(&mut self, event: &Event) -> Vec<Shown> {
        let mut out = vec![];
        match &event.body {
            EventBody::Created { turn } => self.created(turn, &mut out),
            EventBody::ItemAdded { item, .. } => self.added(item, &mut out),
            EventBody::TextDelta { item_id, delta, .. } => {
                let logprobs = json!({ "logprobs": [] });
                self.words("response.output_text.delta", item_id, delta, logprobs, &mut out);
            }
            EventBody::ReasoningDelta { item_id, delta, .. } => {
                self.words("response.reasoning_text.delta", item_id, delta, json!({}), &mut out);
            }
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
            EventBody::HandedOff { .. }
            | EventBody::Input { .. }
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
            ItemBody::Reasoning { .. } => self.speaks(id, item::reasoning(id, "", "in_progress"), out),
            ItemBody::FunctionCall { call } => {
                let begun = ToolCall { arguments: String::new(), ..call.clone() };
                if self.client.contains(&call.name) {
                    self.begin(id, item::function_call(id, &begun, "in_progress"), out);
                } else {
                    let at = self.begin(id, item::server_call(id, &begun, None), out);
                    self.calls.insert(call.id.clone(), (at, call.clone()));
                    self.tell("response.mcp_call.in_progress", json!({ "item_id": id, "output_index": at }), out);
                }
            }
            ItemBody::FunctionCallOutput { .. } | ItemBody::Retrieval { .. } | ItemBody::HandOff { .. } => {}
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

    fn words(&mut self, name: &'static str, id: &str, delta: &str, more: Value, out: &mut Vec<Shown>) {
        let Some(&at) = self.places.get(id) else { return };
        append(&mut self.output[at]["content"][0]["text"], delta);
        let place = json!({ "item_id": id, "output_index": at, "content_index": 0, "delta": delta });
        self.tell(name, with(&place, more), out);
    }

    fn arguments(&mut self, id: &str, delta: &str, out: &mut Vec<Shown>) {
        let Some(&at) = self.places.get(id) else { return };
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
                self.tell("response.output_text.done", with(&place, json!({ "text": text, "logprobs": [] })), out);
                let part = item::part(text, citations);
                self.tell("response.content_part.done", with(&place, json!({ "part": part })), out);
                self.finish(at, item::message(id, text, citations, "completed"), out);
            }
            (ItemBody::Reasoning { text }, Some(at)) => {
                let place = json!({ "item_id": id, "output_index": at, "content_index": 0 });
                self.tell("response.reasoning_text.done", with(&place, json!({ "text": text })), out);
                let whole = item::reasoning(id, text, "completed");
                let part = json!({ "part": whole["content"][0] });
                self.tell("response.content_part.done", with(&place, part), out);
                self.finish(at, whole, out);
            }
            (ItemBody::FunctionCall { call }, Some(at)) if self.client.contains(&call.name) => {
                let more = json!({ "item_id": id, "output_index": at, "name": call.name, "arguments": call.arguments });
                self.tell("response.function_call_arguments.done", more, out);
                self.finish(at, item::function_call(id, call, "completed"), out);
            }
            (ItemBody::FunctionCall { call }, Some(at)) => {
                let more = json!({ "item_id": id, "output_index": at, "arguments": call.arguments });
                self.tell("response.mcp_call_arguments.done", more, out);
            }
            (ItemBody::FunctionCallOutput { call_id, output, is_error }, _) => {
                let Some((at, call)) = self.calls.remove(call_id) else { return };
                let name = if *is_error { "response.mcp_call.failed" } else { "response.mcp_call.completed" };
                let begun = self.output[at]["id"].as_str().unwrap_or_default().to_owned();
                self.tell(name, json!({ "item_id": begun, "output_index": at }), out);
                self.finish(at, item::server_call(&begun, &call, Some((output, *is_error))), out);
            }
            (ItemBody::Retrieval { query, passages }, _) => {
                let whole = item::search(id, query, self.results.then_some(passages));
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
                | ItemBody::Message { .. }
                | ItemBody::Reasoning { .. }
                | ItemBody::FunctionCall { .. },
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

fn usage(usage: Usage) -> Value {
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

#[cfg(test)]
mod tests {
    use frontdesk_api::{chat::Role, memory::Passage, turn::Citation};

    use super::*;

    fn turn(state: TurnState) -> Turn {
        Turn {
            id: "resp_1".into(),
            session_id: None,
            agent_id: "agent_inline".into(),
            agent_version: 1,
            parent: None,
            state,
            error: None,
            hand_off: None,
            usage: Usage { input_tokens: 7, output_tokens: 3, ..Usage::default() },
            created_at: 1_000_000,
            completed_at: state.is_terminal().then_some(2_000_000),
        }
    }

    fn item(id: &str, body: ItemBody) -> Item {
        Item { id: id.into(), turn_id: "resp_1".into(), pos: 0, body }
    }

    fn says(id: &str, text: &str, citations: Vec<Citation>) -> Item {
        item(id, ItemBody::Message { role: Role::Assistant, text: text.into(), citations })
    }

    fn thinks(id: &str, text: &str) -> Item {
        item(id, ItemBody::Reasoning { text: text.into() })
    }

    fn calls(id: &str, call_id: &str, name: &str) -> Item {
        let call = ToolCall { id: call_id.into(), name: name.into(), arguments: "{}".into() };
        item(id, ItemBody::FunctionCall { call })
    }

    fn added(item: &Item) -> EventBody {
        EventBody::ItemAdded { step_id: "s".into(), item: item.clone() }
    }

    fn done(item: &Item) -> EventBody {
        EventBody::ItemDone { step_id: "s".into(), item: item.clone() }
    }

    fn text(id: &str, delta: &str) -> EventBody {
        EventBody::TextDelta { step_id: "s".into(), item_id: id.into(), delta: delta.into() }
    }

    fn arguments(id: &str, delta: &str) -> EventBody {
        let (step_id, call_id, name) = ("s".into(), "c".into(), "n".into());
        EventBody::ArgumentsDelta { step_id, item_id: id.into(), call_id, name, delta: delta.into() }
    }

    fn fold(echo: Value, bodies: &[EventBody]) -> (Vec<Shown>, Value) {
        let mut projection = Projection::new(echo, false);
        let events = (0..).zip(bodies).map(|(seq, body)| Event { seq, body: body.clone() });
        let shown: Vec<Shown> = events.flat_map(|event| projection.push(&event)).collect();
        let numbers: Vec<i64> = shown.iter().map(|s| s.number).collect();
        assert_eq!(numbers, (0..).take(shown.len()).collect::<Vec<_>>(), "no number is missing");
        for one in &shown {
            assert_eq!(
                (one.data["type"].as_str(), one.data["sequence_number"].as_i64()),
                (Some(one.name), Some(one.number))
            );
        }
        (shown, projection.response().expect("it has begun"))
    }

    fn names(shown: &[Shown]) -> Vec<&str> {
        shown.iter().map(|s| s.name.strip_prefix("response.").unwrap_or(s.name)).collect()
    }

    // Oracle: the order of events in OpenAI's guide "Streaming responses" and API reference, "Responses, streaming
    // events"; the shapes are checked against the official package's types in tests/conformance/test_responses.py.
    #[test]
    fn an_answer_is_streamed_in_openais_order_and_reads_back_as_it_was_streamed() {
        let whole = says("msg_1", "Hello", vec![]);
        let bodies = [
            EventBody::Created { turn: turn(TurnState::Running) },
            EventBody::Input { items: vec![] },
            added(&thinks("rs_1", "")),
            EventBody::ReasoningDelta { step_id: "s".into(), item_id: "rs_1".into(), delta: "Hm.".into() },
            done(&thinks("rs_1", "Hm.")),
            added(&says("msg_1", "", vec![])),
            text("msg_1", "Hel"),
            text("msg_1", "lo"),
            done(&whole),
            EventBody::Completed { turn: turn(TurnState::Completed) },
        ];
        let (shown, response) = fold(json!({ "model": "m" }), &bodies);
        assert_eq!(
            names(&shown),
            [
                "created",
                "in_progress",
                "output_item.added",
                "content_part.added",
                "reasoning_text.delta",
                "reasoning_text.done",
                "content_part.done",
                "output_item.done",
                "output_item.added",
                "content_part.added",
                "output_text.delta",
                "output_text.delta",
                "output_text.done",
                "content_part.done",
                "output_item.done",
                "completed"
            ]
        );
        assert_eq!(shown[2].data["item"]["content"], json!([]));
        assert_eq!(shown.last().expect("the last").data["response"], response);
        assert_eq!(
            response["output"],
            json!([item::reasoning("rs_1", "Hm.", "completed"), item::message("msg_1", "Hello", &[], "completed")])
        );
        assert_eq!((&response["status"], &response["model"]), (&json!("completed"), &json!("m")));
        assert_eq!((&response["created_at"], &response["completed_at"]), (&json!(1), &json!(2)));
        assert_eq!(response["usage"]["total_tokens"], 10);
        // Every prefix of the rows gives a prefix of the events: a replay that begins later sees the same numbers.
        for n in 1..bodies.len() {
            assert_eq!(
                fold(json!({ "model": "m" }), &bodies[..n]).0[..],
                shown[..fold(json!({ "model": "m" }), &bodies[..n]).0.len()]
            );
        }
    }

    #[test]
    fn calls_for_the_client_are_functions_and_ours_are_shown_with_their_results() {
        let echo = json!({ "background": true, "tools": [{ "type": "function", "name": "look" }] });
        let output = |call: &str, is_error| {
            item("fco", ItemBody::FunctionCallOutput { call_id: call.into(), output: "sent".into(), is_error })
        };
        let theirs = calls("fc_1", "c1", "look");
        let (ours, broken) = (calls("fc_2", "c2", "order"), calls("fc_3", "c3", "order"));
        let bodies = [
            EventBody::Created { turn: turn(TurnState::Running) },
            added(&theirs),
            arguments("fc_1", "{}"),
            done(&theirs),
            added(&ours),
            arguments("fc_2", "{}"),
            done(&ours),
            added(&broken),
            arguments("fc_3", "{}"),
            done(&broken),
            done(&output("c2", false)),
            done(&output("c3", true)),
            EventBody::Completed { turn: turn(TurnState::Completed) },
        ];
        let (shown, response) = fold(echo, &bodies);
        assert_eq!(
            names(&shown),
            [
                "created",
                "queued",
                "in_progress",
                "output_item.added",
                "function_call_arguments.delta",
                "function_call_arguments.done",
                "output_item.done",
                "output_item.added",
                "mcp_call.in_progress",
                "mcp_call_arguments.delta",
                "mcp_call_arguments.done",
                "output_item.added",
                "mcp_call.in_progress",
                "mcp_call_arguments.delta",
                "mcp_call_arguments.done",
                "mcp_call.completed",
                "output_item.done",
                "mcp_call.failed",
                "output_item.done",
                "completed"
            ]
        );
        assert_eq!(shown[0].data["response"]["status"], "queued");
        let output: Vec<_> = response["output"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|i| (&i["type"], &i["status"], &i["output"]))
            .collect();
        let null = Value::Null;
        assert_eq!(
            output,
            [
                (&json!("function_call"), &json!("completed"), &null),
                (&json!("mcp_call"), &json!("completed"), &json!("sent")),
                (&json!("mcp_call"), &json!("failed"), &null)
            ]
        );
        // The items read from rows are the same.
        let rows = [
            theirs,
            ours,
            broken,
            item("fco", ItemBody::FunctionCallOutput { call_id: "c2".into(), output: "sent".into(), is_error: false }),
            item("fco2", ItemBody::FunctionCallOutput { call_id: "c3".into(), output: "sent".into(), is_error: true }),
        ];
        let client = ["look".to_owned()].into();
        assert_eq!(json!(item::items(&rows, 0, &client, false)), response["output"]);
    }

    #[test]
    fn sources_are_searched_first_and_cited_in_characters() {
        let passage = Passage {
            store_id: "vs".into(),
            file_id: "file_1".into(),
            filename: "returns.md".into(),
            title: "Returns".into(),
            url: None,
            chunk_id: "c".into(),
            text: "14 days".into(),
            score: 1.0,
        };
        let citation = Citation {
            number: 1,
            file_id: "file_1".into(),
            filename: "returns.md".into(),
            title: "Returns".into(),
            url: None,
            quote: "14 days".into(),
        };
        let found = item("ret_1", ItemBody::Retrieval { query: "returns?".into(), passages: vec![passage] });
        let answer = says("msg_1", "Für 14 Tage [1]", vec![citation]);
        let bodies = [
            EventBody::Created { turn: turn(TurnState::Running) },
            done(&found),
            added(&says("msg_1", "", vec![])),
            done(&answer),
        ];
        let (shown, response) = fold(json!({}), &bodies);
        assert_eq!(
            names(&shown)[2..],
            [
                "output_item.added",
                "file_search_call.in_progress",
                "file_search_call.searching",
                "file_search_call.completed",
                "output_item.done",
                "output_item.added",
                "content_part.added",
                "output_text.annotation.added",
                "output_text.done",
                "content_part.done",
                "output_item.done"
            ]
        );
        assert_eq!(response["output"][0]["results"], Value::Null);
        let want = json!([{ "type": "file_citation", "file_id": "file_1", "filename": "returns.md", "index": 12 }]);
        assert_eq!(response["output"][1]["content"][0]["annotations"], want);
        let mut projection = Projection::new(json!({}), true);
        for (seq, body) in (0..).zip(bodies) {
            projection.push(&Event { seq, body });
        }
        assert_eq!(projection.response().expect("begun")["output"][0]["results"][0]["text"], "14 days");
    }

    #[test]
    fn what_broke_off_stays_at_its_place_and_the_end_says_why() {
        let begun = [
            EventBody::Created { turn: turn(TurnState::Running) },
            added(&says("msg_1", "", vec![])),
            text("msg_1", "Hel"),
        ];
        let error = |code: &str, kind| Some(TurnError { code: code.into(), message: "why".into(), kind });
        for (state, error, name, status, told) in [
            (
                TurnState::Failed,
                error("upstream", Some(Kind::Upstream)),
                "failed",
                "failed",
                json!({ "code": "server_error", "message": "why" }),
            ),
            (
                TurnState::Failed,
                error("x", Some(Kind::RateLimited)),
                "failed",
                "failed",
                json!({ "code": "rate_limit_exceeded", "message": "why" }),
            ),
            (
                TurnState::Incomplete,
                error("max_tokens", None),
                "incomplete",
                "incomplete",
                json!({ "reason": "max_output_tokens" }),
            ),
            (
                TurnState::Incomplete,
                error("max_steps", None),
                "incomplete",
                "incomplete",
                json!({ "reason": null, "message": "why" }),
            ),
            (TurnState::Cancelled, error("cancelled", None), "incomplete", "cancelled", Value::Null),
        ] {
            let ended = Turn { error, ..turn(state) };
            let last = match state {
                TurnState::Failed => EventBody::Failed { turn: ended },
                TurnState::Incomplete => EventBody::Incomplete { turn: ended },
                _ => EventBody::Cancelled { turn: ended },
            };
            let (shown, response) = fold(json!({}), &[&begun[..], &[last]].concat());
            assert_eq!(names(&shown)[5..], ["output_item.done", name]);
            assert_eq!(response["output"], json!([item::message("msg_1", "Hel", &[], "incomplete")]));
            assert_eq!(response["status"], status);
            let at = if state == TurnState::Failed { "error" } else { "incomplete_details" };
            assert_eq!(response[at], told);
        }
    }
}
