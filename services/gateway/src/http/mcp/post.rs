//! `POST /mcp`: one message in, and its answer, as JSON or as a stream that tells of progress first.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use frontdesk_api::{
    Cx, News,
    news::{Progress, Word},
};
use futures::stream;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{
    agents,
    calls::Call,
    check_origin,
    message::{HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND, Message, UNSUPPORTED_VERSION, Wrong, answer, read},
    offered::{self, Offered},
};
use crate::{
    app::App,
    auth::Caller,
    http::{extract::Raw, reply::event_stream},
    problem::Problem,
};

/// Revisions with a greeting, the newest first.
const GREETED: [&str; 2] = ["2025-11-25", "2025-06-18"];

/// The revision without.
const PLAIN: &str = "2026-07-28";

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// Sent where nothing else is, so that nobody takes the stream for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a list of what is offered may be kept, in milliseconds.
const FRESH_MS: u64 = 30_000;

/// The tenant's agents and tools over MCP
///
/// Model Context Protocol over streamable HTTP: `initialize`, `ping`, `tools/list`, `tools/call`, and `server/discover`.
/// Each named agent is a tool `ask_NAME`; a call is one turn. With a `progressToken` the answer is a stream.
#[utoipa::path(
    post, path = "/mcp", tag = "mcp",
    request_body(content = Value, description = "A message of JSON-RPC 2.0"),
    responses(
        (status = 200, description = "Its answer, or an event stream with it", body = Value),
        (status = 202, description = "A message that has none"),
    )
)]
pub async fn post(
    State(app): State<App>,
    Caller(cx): Caller,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    check_origin(&app, &headers)?;
    let message = match read(&body) {
        Ok(message) => message,
        Err(wrong) => return Ok(refused(&Value::Null, wrong)),
    };
    let session = headers.get(SESSION).and_then(|value| value.to_str().ok()).filter(|session| !session.is_empty());
    let (id, method, params) = match message {
        Message::Request { id, method, params } => (id, method, params),
        Message::Notification { method, params } => {
            // The revision without a greeting has no sessions: what it cancels so would be anybody's.
            let session = session.filter(|_| headers.get(VERSION).is_none_or(|version| version != PLAIN));
            if let ("notifications/cancelled", Some(id), Some(session)) =
                (method.as_str(), params.get("requestId"), session)
            {
                app.mcp.cancel(&cx, session, id);
            }
            return Ok(StatusCode::ACCEPTED.into_response());
        }
        Message::Response => return Ok(StatusCode::ACCEPTED.into_response()),
    };
    let plain = match revision(&headers, &method, &params) {
        Ok(plain) => plain,
        Err(wrong) => return Ok(refused(&id, wrong)),
    };
    if method == "tools/call" {
        return Ok(Box::pin(call(app, cx, session.filter(|_| !plain), id, params, plain)).await);
    }
    let outcome = match method.as_str() {
        "initialize" if !plain => Ok(hello(&params)),
        "server/discover" => Ok(discovered()),
        "ping" => Ok(json!({})),
        "tools/list" => list(&app, &cx, &params, plain).await,
        _ => Err(Wrong::new(METHOD_NOT_FOUND, format!("there is no method '{method}' here; there are tools"))),
    };
    let greeted = method == "initialize" && outcome.is_ok();
    let mut response = Json(answer(&id, outcome.map(|result| complete(result, plain)))).into_response();
    if greeted && let Ok(session) = HeaderValue::from_str(&app.ids.next("mcp")) {
        response.headers_mut().insert(SESSION, session);
    }
    Ok(response)
}

/// End a session
///
/// A session keeps nothing here, so there is nothing to end.
#[utoipa::path(delete, path = "/mcp", tag = "mcp", responses((status = 204, description = "Ended")))]
pub async fn end(State(app): State<App>, Caller(_): Caller, headers: HeaderMap) -> Result<StatusCode, Problem> {
    check_origin(&app, &headers)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A message that was not understood.
fn refused(id: &Value, wrong: Wrong) -> Response {
    (StatusCode::BAD_REQUEST, Json(answer(id, Err(wrong)))).into_response()
}

/// Whether the request is one of the revision without a greeting.
///
/// # Errors
/// A revision that is not spoken; headers that say otherwise than the body.
fn revision(headers: &HeaderMap, method: &str, params: &Map<String, Value>) -> Result<bool, Wrong> {
    let header = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let meta = params.get("_meta").and_then(|meta| meta.get("io.modelcontextprotocol/protocolVersion"));
    let meta = meta.and_then(Value::as_str);
    let named = meta.or(header(&VERSION));
    let Some(named) = named.filter(|_| method != "initialize") else { return Ok(false) };
    if named != PLAIN {
        if GREETED.contains(&named) {
            return Ok(false);
        }
        let spoken = spoken();
        let message = format!("the revision '{named}' is not spoken here; {} are", spoken.join(", "));
        let data = Some(json!({ "supported": spoken, "requested": named }));
        return Err(Wrong { data, ..Wrong::new(UNSUPPORTED_VERSION, message) });
    }
    let said = [(&VERSION, Some(PLAIN)), (&HeaderName::from_static("mcp-method"), Some(method))];
    for (name, body) in said {
        if header(name) != body {
            let message = format!("the header {name} must be '{}', as the body says", body.unwrap_or_default());
            return Err(Wrong::new(HEADER_MISMATCH, message));
        }
    }
    if meta.is_none() {
        let message = "a request of this revision names it in _meta too: io.modelcontextprotocol/protocolVersion";
        return Err(Wrong::new(INVALID_PARAMS, message));
    }
    Ok(true)
}

/// Every revision, the newest first.
fn spoken() -> [&'static str; 3] {
    [PLAIN, GREETED[0], GREETED[1]]
}

fn hello(params: &Map<String, Value>) -> Value {
    let asked = params.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
    let version = GREETED.into_iter().find(|spoken| *spoken == asked).unwrap_or(GREETED[0]);
    json!({
        "protocolVersion": version,
        "capabilities": { "tools": { "listChanged": false } },
        "serverInfo": server(),
        "instructions": INSTRUCTIONS,
    })
}

const INSTRUCTIONS: &str = "Tools named ask_* are agents: each call is one turn of a conversation with one.";

fn discovered() -> Value {
    json!({
        "supportedVersions": spoken(),
        "capabilities": { "tools": { "listChanged": false } },
        "instructions": INSTRUCTIONS,
        "ttlMs": FRESH_MS,
        "cacheScope": "private",
        "_meta": { "io.modelcontextprotocol/serverInfo": server() },
    })
}

fn server() -> Value {
    json!({ "name": "frontdesk", "title": "Frontdesk", "version": env!("CARGO_PKG_VERSION") })
}

/// The newest revision wants to know of every result whether it is one.
fn complete(mut result: Value, plain: bool) -> Value {
    if plain {
        result["resultType"] = json!("complete");
    }
    result
}

async fn list(app: &App, cx: &Cx, params: &Map<String, Value>, plain: bool) -> Result<Value, Wrong> {
    if params.get("cursor").is_some_and(|cursor| !cursor.is_null()) {
        return Err(Wrong::new(INVALID_PARAMS, "the list has one page: there is no such cursor"));
    }
    let tools: Vec<Value> = offered::all(app, cx).await?.1.iter().map(Offered::shown).collect();
    let mut result = json!({ "tools": tools });
    if plain {
        result["ttlMs"] = json!(FRESH_MS);
        result["cacheScope"] = json!("private");
    }
    Ok(result)
}

/// A call: answered whole, or behind its progress where the client gave it a token.
async fn call(app: App, cx: Cx, session: Option<&str>, id: Value, params: Map<String, Value>, plain: bool) -> Response {
    let under_way = app.mcp.begin(&cx, session, &id);
    let token =
        params.get("_meta").and_then(|meta| meta.get("progressToken")).filter(|token| !token.is_null()).cloned();
    let (tell, news) = channel(MOST_NEWS);
    let work = Box::pin(called(app, cx, under_way, params, plain, tell));
    match token {
        None => match Box::pin(work).await {
            Some(outcome) => Json(answer(&id, outcome)).into_response(),
            // Cancelled: nobody waits for an answer (Model Context Protocol, "Cancellation").
            None => StatusCode::ACCEPTED.into_response(),
        },
        Some(token) => {
            let state = Streamed { work: Some(work), news, token, id, told: 0 };
            let mut response = event_stream(Body::from_stream(frames(state)));
            // Some clients compare the whole value.
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            response
        }
    }
}

async fn called(
    app: App,
    mut cx: Cx,
    under_way: Call,
    mut params: Map<String, Value>,
    plain: bool,
    news: Sender<Told>,
) -> Option<Result<Value, Wrong>> {
    let arguments = match params.remove("arguments") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(arguments)) => arguments,
        Some(_) => return Some(Err(Wrong::new(INVALID_PARAMS, "'arguments' must be an object"))),
    };
    let Some(name) = params.get("name").and_then(Value::as_str) else {
        return Some(Err(Wrong::new(INVALID_PARAMS, "'name' must be the name of a tool")));
    };
    let (groups, offered) = match offered::all(&app, &cx).await {
        Ok(offered) => offered,
        Err(error) => return Some(Err(error.into())),
    };
    let done = match offered.iter().find(|one| one.name() == name) {
        None => {
            let known = offered.iter().map(Offered::name).collect::<Vec<_>>().join(", ");
            return Some(Err(Wrong::new(INVALID_PARAMS, format!("no tool is called '{name}'; there are {known}"))));
        }
        Some(Offered::Agent { id, .. }) => {
            agents::ask(&app, &cx, id, &arguments, &under_way.cancel, &news).await.transpose()?
        }
        Some(Offered::Tool(def)) => {
            let arguments = Value::Object(arguments);
            let whole = Arc::new(OnceLock::new());
            let kept = Arc::clone(&whole);
            cx.news = Some(News::new(move |word| match word {
                // Nobody may want to hear it.
                Word::Progress(progress) => drop(news.try_send(Told::Tool(progress))),
                Word::Result(result) => drop(kept.set(result)),
            }));
            tokio::select! {
                biased;
                () = under_way.cancel.cancelled() => return None,
                done = offered::call(&app, &cx, &groups, def, &arguments, &whole) => done,
            }
        }
    };
    Some(done.map(|result| complete(result, plain)).map_err(Wrong::from))
}

type Work = std::pin::Pin<Box<dyn Future<Output = Option<Result<Value, Wrong>>> + Send>>;

/// News of a call that a client may miss some of.
pub enum Told {
    /// An agent's: what it is at.
    Agent(String),
    /// A tool's own.
    Tool(Progress),
}

/// News that wait for a client to read them; further ones are dropped.
const MOST_NEWS: usize = 64;

impl Told {
    /// `n`: the how manieth it is.
    fn params(self, token: &Value, n: u64) -> Value {
        let (progress, total, message) = match self {
            Self::Agent(words) => (json!(n), None, Some(words)),
            Self::Tool(Progress { progress, total, message }) => (json!(progress), total, message),
        };
        let mut params = json!({ "progressToken": token, "progress": progress });
        if let Some(total) = total {
            params["total"] = json!(total);
        }
        if let Some(message) = message {
            params["message"] = json!(message);
        }
        params
    }
}

struct Streamed {
    /// None once the answer was sent.
    work: Option<Work>,
    news: Receiver<Told>,
    token: Value,
    id: Value,
    told: u64,
}

impl Streamed {
    fn progress(&mut self, told: Told) -> Bytes {
        self.told += 1;
        let params = told.params(&self.token, self.told);
        event(&json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params }))
    }
}

fn frames(state: Streamed) -> impl futures::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    stream::unfold(state, |mut state| async move {
        let work = state.work.as_mut()?;
        let frame = tokio::select! {
            biased;
            Some(told) = state.news.recv() => state.progress(told),
            outcome = work => {
                state.work = None;
                let mut last = vec![];
                // What was told in the same breath comes before the answer.
                while let Ok(told) = state.news.try_recv() {
                    last.extend_from_slice(&state.progress(told));
                }
                // A call that was cancelled has no answer.
                if let Some(outcome) = outcome {
                    last.extend_from_slice(&event(&answer(&state.id, outcome)));
                }
                Bytes::from(last)
            }
            () = tokio::time::sleep(HEARTBEAT) => Bytes::from_static(b": still here\n\n"),
        };
        Some((Ok(frame), state))
    })
}

fn event(message: &Value) -> Bytes {
    Bytes::from(format!("event: message\ndata: {message}\n\n"))
}
