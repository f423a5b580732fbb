//! OpenAI's Responses over our turns: asked, streamed, looked up, cancelled, deleted.
//!
//! A response is a turn whose agent is the request itself, or a stored agent where the model is `agent/NAME`. Its
//! stream and its object are one fold over the turn's events (`wire::openai::responses::stream`), so a stream is picked
//! up behind any number, and a client that leaves stops nothing, unless the response was not to be stored: then nobody
//! could ever read it.

pub(in crate::http) mod attached;
pub mod cancel;
mod code;
pub mod compact;
pub mod create;
pub mod delete;
pub mod input_items;
pub mod input_tokens;
pub mod list;
mod servers;
pub mod show;
mod web;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use axum::{
    Json,
    body::Body,
    extract::FromRequestParts,
    http::request::Parts,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use frontdesk_agents::{AsResponse, Events, INLINE, NewTurn, Passing, as_model::AGENT, ended_badly, goes_on};
use frontdesk_api::{
    Cx, Error, Kind, Memory as _, Order, PageRequest, Result,
    agent::{AgentSpec, Limits, MOST_STEPS},
    filter::FileFilter,
    turn::{ItemBody, TurnState},
};
use frontdesk_wire::openai::responses::{
    code::tool as code_tool,
    input::Input,
    prompt::filled,
    request::{Asked, Include},
    stream::{Projection, Shown},
    tools::function,
    web::{is_web, tool as web_tool},
};
use futures::{Stream, StreamExt, stream};
use serde_json::Value;

use crate::{
    app::App,
    http::{
        extract::{Query, known},
        paging::PageQuery,
        reply::event_stream,
        room::Taken,
        turns::{HEARTBEAT, STILL_HERE},
    },
    problem,
    problem::{Early, Problem},
};

/// How long a response may take, in seconds: as long as OpenAI's clients wait by themselves, and in the background,
/// where nobody waits, an hour.
const PATIENCE: (u64, u64) = (600, 3600);

/// The turn that a request asks for, and the room of the files that it brings in, to be held until it has begun.
///
/// # Errors
/// `NotFound` for an agent, `Invalid` naming the member.
async fn to_turn(app: &App, cx: &Cx, asked: Asked) -> Result<(NewTurn, Option<Taken>)> {
    let Asked { mut echo, .. } = asked;
    let timeout_s = if asked.background { PATIENCE.1 } else { PATIENCE.0 };
    let (agent_id, version, mut spec) = match asked.model.strip_prefix(AGENT) {
        None => {
            let usual = Limits::default();
            let max_tool_calls = usual.max_tool_calls.max(asked.max_tool_calls.unwrap_or(0));
            // One call after the other is a step for each, and one more for the answer.
            let max_steps = usual.max_steps.max(max_tool_calls.saturating_add(1)).min(MOST_STEPS);
            let limits = Limits { timeout_s, max_steps, max_tool_calls, ..usual };
            let spec = AgentSpec { keep_all_turns: true, limits, ..AgentSpec::new(&asked.model) };
            (INLINE.to_owned(), 1, spec)
        }
        Some(name) => {
            let agent = app.agents.load_agent_named(cx, name).await?;
            let (conversation, previous) = (asked.conversation.as_deref(), asked.previous_response_id.as_deref());
            let agent = app.agents.answering(cx, agent, conversation, previous).await?;
            for (name, given) in [("instructions", asked.instructions.is_some()), ("prompt", asked.prompt.is_some())] {
                if given {
                    let message = format!("'{name}' cannot be given to '{}': an agent has its own", asked.model);
                    return Err(Error::invalid(name, message));
                }
            }
            (agent.id, agent.version, agent.spec)
        }
    };
    let own: Vec<Value> = spec.client_tools.iter().map(function).collect();
    for (i, tool) in asked.tools.shown.iter().enumerate().filter(|(_, tool)| tool["type"] == "function") {
        if own.iter().any(|own| own["name"] == tool["name"]) {
            let name = tool["name"].as_str().unwrap_or_default();
            let message = format!("the agent has a tool of its own that is called '{name}'");
            return Err(Error::invalid(format!("tools[{i}].name"), message));
        }
    }
    if asked.tools.narrowed {
        spec.toolgroups.clear();
        spec.client_tools.clear();
        spec.agents.clear();
        spec.knowledge.clear();
        spec.hand_off = None;
    }
    spec.client_tools.extend(asked.tools.functions);
    let least_score = asked.tools.search.as_ref().and_then(|search| search.least_score);
    let mut file_filter = None;
    if let Some(search) = asked.tools.search {
        spec.max_passages = search.most.and_then(|most| most.try_into().ok()).unwrap_or(spec.max_passages);
        let more: Vec<String> = search.stores.iter().filter(|id| !spec.knowledge.contains(id)).cloned().collect();
        // A search for nothing finds nothing, in stores that exist.
        app.knowledge.recall(cx, &more, "", 1).await.map_err(|error| wrong(error, search.path))?;
        spec.knowledge.extend(more);
        // An agent's own knowledge elsewhere has attributes that the client knows nothing of.
        file_filter = search.filter.map(|filter| FileFilter { stores: search.stores, filter });
    }
    if let Some(interpreter) = asked.tools.code {
        code::grant(app, cx, &mut spec, interpreter).await?;
    }
    if let Some(search) = asked.tools.web {
        web::grant(app, cx, &mut spec, search).await?;
    }
    if let Some(named) = asked.prompt {
        let stored = app.store.tenant(cx).load_prompt(&named.id, named.version).await;
        let stored = stored.map_err(|error| wrong(error, "prompt.id"))?;
        spec.instructions = filled(&stored.text, &stored.variables, &named.variables)?;
        // It was meant as it is now.
        echo["prompt"]["version"] = Value::String(stored.version.to_string());
    }
    if let Some(instructions) = asked.instructions {
        // An agent's own are never touched: it was given none.
        spec.instructions = match spec.instructions.as_str() {
            "" => instructions,
            prompt => format!("{prompt}\n\n{instructions}"),
        };
    }
    spec.keep_all_turns = asked.truncate.map_or(spec.keep_all_turns, |truncate| !truncate);
    echo.insert("truncation".into(), Value::from(if spec.keep_all_turns { "disabled" } else { "auto" }));
    spec.tool_choice = asked.tool_choice.or(spec.tool_choice);
    spec.parallel_tool_calls = asked.parallel_tool_calls.or(spec.parallel_tool_calls);
    spec.response_format = asked.response_format.or(spec.response_format);
    spec.sampling.temperature = asked.temperature.or(spec.sampling.temperature);
    spec.sampling.top_p = asked.top_p.or(spec.sampling.top_p);
    spec.sampling.max_tokens = asked.max_output_tokens.or(spec.sampling.max_tokens);
    spec.model_params.extend(asked.extra);
    let servers = servers::taken(app, cx, asked.tools.servers).await?;
    let mut shown = asked.tools.shown;
    // An agent may have these of its own.
    if web::is_granted(&spec) && !shown.iter().any(|tool| tool["type"].as_str().is_some_and(is_web)) {
        shown.push(web_tool("web_search", &spec.web_domains, None, None));
    }
    if code::is_granted(&spec) {
        shown.retain(|tool| tool["type"] != "code_interpreter");
        shown.push(code_tool(&spec.code_files, spec.code_container.as_deref()));
    }
    echo.insert("tools".into(), own.into_iter().chain(shown).collect());
    let (previous, echo) = (asked.previous_response_id, Value::Object(echo));
    let response = AsResponse { spec, version, previous, echo, stored: asked.store };
    let ((items, room), session_id) = (resolved(app, cx, asked.input).await?, asked.conversation);
    let new = NewTurn {
        agent_id,
        session_id,
        items,
        servers,
        max_tool_calls: asked.max_tool_calls,
        least_score,
        file_filter,
        seals_thoughts: asked.include.thoughts,
        response: Some(response),
        ..NewTurn::default()
    };
    Ok((new, room))
}

/// In a request's body something that does not exist is a wrong value, not a missing page.
fn wrong(error: Error, member: impl Into<String>) -> Error {
    match error.kind {
        Kind::NotFound => Error { kind: Kind::Invalid, ..error }.with_param(member),
        _ => error,
    }
}

/// Items as they were sent, those that are only named read from where they stand, and the room of files among them, to
/// be held until they are written.
///
/// # Errors
/// `Invalid` naming a reference to nothing.
pub async fn resolved(app: &App, cx: &Cx, input: Vec<Input>) -> Result<(Vec<ItemBody>, Option<Taken>)> {
    let (mut items, mut brought) = (Vec::with_capacity(input.len()), attached::Brought::new(app));
    for one in input {
        items.push(match one {
            Input::Item(mut body) => {
                attached::read(cx, &mut body, &mut brought).await?;
                body
            }
            Input::Thoughts { sealed, path } => {
                let kept = app.agents.open_thoughts(cx, &sealed, &path)?;
                ItemBody::Reasoning { text: String::new(), sealed: Some(sealed), kept }
            }
            Input::Reference { id, path } => {
                match app.agents.load_item(cx, &id).await.map_err(|error| wrong(error, path.clone()))?.body {
                    // Servers are asked what they have, and what waits for a word waits where it stands.
                    ItemBody::ServerTools { .. }
                    | ItemBody::ApprovalRequest { .. }
                    | ItemBody::ApprovalResponse { .. } => continue,
                    ItemBody::Reasoning { text, sealed: Some(sealed), .. } => {
                        let kept = app.agents.open_thoughts(cx, &sealed, &path)?;
                        ItemBody::Reasoning { text, sealed: Some(sealed), kept }
                    }
                    body => body,
                }
            }
        });
    }
    Ok((items, brought.held()))
}

/// The response as its rows have it now.
async fn standing(app: &App, cx: &Cx, id: &str, echo: Value, include: Include) -> Result<Value> {
    let mut projection = Projection::new(echo, include);
    for event in app.agents.events_so_far(cx, id).await? {
        projection.push(&event);
    }
    // Deleted since it was found.
    projection
        .response()
        .ok_or_else(|| Error::not_found(format!("no response has the id '{id}'")).with_code("response_not_found"))
}

/// The whole response, once it has ended.
async fn whole(app: &App, cx: &Cx, mut events: Events, mut projection: Projection) -> Result<Response, Problem> {
    while let Some(event) = events.next().await {
        projection.push(&event?);
    }
    match projection.turn() {
        Some(turn) if matches!(turn.state, TurnState::Failed | TurnState::DeadLetter) => Err(ended_badly(turn).into()),
        Some(turn) if matches!(turn.state, TurnState::Queued | TurnState::Running) && app.agents.is_stopping() => {
            Err(goes_on(turn).into())
        }
        Some(turn) if turn.state.is_terminal() => Ok(Json(projection.response()).into_response()),
        // Its events end before it does where its rows are gone.
        _ => Err(Error::conflict(format!("the response of request {} was deleted before it ended", cx.request)).into()),
    }
}

/// The response's events behind `after` as server-sent events; comments while nothing happens.
fn streamed(events: Events, projection: Projection, after: Option<i64>, passing: Option<Passing>) -> Response {
    let state = Streamed { events, projection, after, ready: VecDeque::new(), ended: false, _passing: passing };
    event_stream(Body::from_stream(frames(state)))
}

struct Streamed {
    events: Events,
    projection: Projection,
    after: Option<i64>,
    /// Events that are not sent yet.
    ready: VecDeque<Shown>,
    ended: bool,
    _passing: Option<Passing>,
}

fn frames(state: Streamed) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    stream::unfold(state, |mut state| async move {
        loop {
            if let Some(shown) = state.ready.pop_front() {
                let frame = format!("event: {}\nid: {}\ndata: {}\n\n", shown.name, shown.number, shown.data);
                return Some((Ok(Bytes::from(frame)), state));
            }
            if state.ended {
                return None;
            }
            match tokio::time::timeout(HEARTBEAT, state.events.next()).await {
                Err(_) => return Some((Ok(STILL_HERE), state)),
                Ok(None) => return None,
                Ok(Some(Ok(event))) => {
                    let after = state.after.unwrap_or(-1);
                    state.ready.extend(state.projection.push(&event).into_iter().filter(|shown| shown.number > after));
                }
                Ok(Some(Err(error))) => {
                    problem::log(&error);
                    state.ended = true;
                    state.ready.push_back(state.projection.broken(&error));
                }
            }
        }
    })
}

/// The query of a list of items.
#[derive(Debug, Default, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ItemsQuery {
    /// Id of the item after which the page begins.
    after: Option<String>,
    /// Id of the item before which the page ends.
    before: Option<String>,
    /// 1 to 100; 20 where it is left out.
    limit: Option<u32>,
    /// `desc` (newest first, the default) or `asc`.
    order: Option<String>,
    /// `file_search_call.results`: what searches found; `code_interpreter_call.outputs`: what code printed; `web_search_call.action.sources`: pages that were found; `reasoning.encrypted_content`: what was thought, sealed; `message.input_image.image_url`: pictures. May come more than once.
    #[param(required = false)]
    include: Vec<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for ItemsQuery {
    type Rejection = Early;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Early> {
        // By hand: serde reads no member that comes more than once into a list.
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await?;
        let mut query = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "after" => query.after = Some(value),
                "order" => query.order = Some(value),
                "limit" => {
                    let message = format!("limit must be 1 to 100, found '{value}'");
                    query.limit = Some(value.parse().map_err(|_| Error::invalid("limit", message))?);
                }
                "include" | "include[]" => query.include.push(value),
                "before" => query.before = Some(value),
                _ => known(&name)?,
            }
        }
        Ok(query)
    }
}

/// A query of `include` alone.
pub struct IncludeQuery;

impl<S: Send + Sync> FromRequestParts<S> for IncludeQuery {
    type Rejection = Early;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Early> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await?;
        for (name, value) in pairs {
            match name.as_str() {
                "include" | "include[]" => Include::default().add(&value, "include")?,
                _ => known(&name)?,
            }
        }
        Ok(Self)
    }
}

impl ItemsQuery {
    /// Which page, and whether searches show what they found.
    ///
    /// # Errors
    /// `Invalid` naming the parameter.
    pub fn read(self) -> Result<ItemsPage> {
        let mut include = Include::default();
        for word in &self.include {
            include.add(word, "include")?;
        }
        let page = PageQuery { after: self.after, limit: self.limit, order: self.order }.request()?;
        Ok(ItemsPage { page, before: self.before, include })
    }
}

/// Which of a list of items are wanted.
pub struct ItemsPage {
    page: PageRequest,
    before: Option<String>,
    /// What the items show.
    pub include: Include,
}

impl ItemsPage {
    /// This page of `items`, which are in order; and whether there is more behind it.
    ///
    /// # Errors
    /// `Invalid` where the page begins behind an item, or ends before one, that is not among them.
    pub fn cut(&self, mut items: Vec<Value>) -> Result<(Vec<Value>, bool)> {
        if self.page.order == Order::Desc {
            items.reverse();
        }
        let place = |name: &str, id: &str| {
            let at = items.iter().position(|item| item["id"] == id);
            at.ok_or_else(|| Error::invalid(name, format!("'{id}' is not among these items")))
        };
        let until = self.before.as_deref().map(|id| place("before", id)).transpose()?;
        let from = self.page.after.as_deref().map(|id| place("after", id)).transpose()?.map_or(0, |at| at + 1);
        items.truncate(until.unwrap_or(usize::MAX));
        let mut page: Vec<Value> = items.split_off(from.min(items.len()));
        let limit = usize::try_from(self.page.limit).unwrap_or(usize::MAX);
        let more = page.len() > limit;
        page.truncate(limit);
        Ok((page, more))
    }
}

/// The request's members, for the documentation.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)] // describes the wire; the codec reads it
pub struct ResponseRequest {
    /// `provider/model`, an alias or a route; `agent/NAME` for a stored agent.
    #[schema(example = "openai/gpt-4o-mini")]
    model: String,
    /// A text, or a list of items.
    input: Option<Value>,
    instructions: Option<String>,
    /// `id`, `version` and `variables` of a stored prompt (`/v1/prompts`); its text stands before the instructions.
    prompt: Option<Value>,
    /// Functions, which run at the client; `file_search`: the stores are searched before the model is asked;
    /// `code_interpreter`: code that the model writes is run here; `web_search`: the model may search the web; `mcp`: servers whose tools the model may call.
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    max_output_tokens: Option<u32>,
    max_tool_calls: Option<u32>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    /// `format`: text, json_object or json_schema.
    text: Option<Value>,
    reasoning: Option<Value>,
    /// `auto`: the oldest turns may stay out of a prompt that is too long.
    truncation: Option<String>,
    /// At most 16 texts.
    metadata: Option<std::collections::BTreeMap<String, String>>,
    /// False: gone once it was read.
    store: Option<bool>,
    background: Option<bool>,
    stream: Option<bool>,
    /// The response that this one continues; several may continue one.
    previous_response_id: Option<String>,
    /// Its id, or an object that holds it.
    conversation: Option<Value>,
    include: Option<Vec<String>>,
}

/// What is left of something that was deleted.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct ResponseDeleted {
    id: String,
    #[schema(example = "response")]
    object: &'static str,
    deleted: bool,
}
