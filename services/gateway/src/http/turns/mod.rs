//! Turns in Llama Stack's shape: asked, streamed, resumed, cancelled, read back.
//!
//! A stream is a view of the turn's event rows: its ids are their sequence numbers, it begins where the
//! client says (`Last-Event-ID`), and a client that leaves does not stop the turn. The same events drive
//! the answer that is not streamed.

pub mod cancel;
pub mod create;
pub mod dismiss;
pub mod list;
pub mod resume;
pub mod retry;
pub mod show;
pub mod step;

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use frontdesk_agents::{Events, TurnView, ended_badly, goes_on};
use frontdesk_api::{Cx, Error, Result, turn::TurnState};
use frontdesk_wire::llama_stack::{
    stream::Projection,
    turn::{Turn, turn},
};
use futures::{Stream, StreamExt, stream};

use crate::{app::App, http::reply::event_stream, problem, problem::Problem};

/// A comment goes out after this much silence, so that proxies keep the stream open.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// What is sent then: a comment without an empty line behind it. OpenAI's package for Python, and those made like it, take
/// an empty line for the end of an event as long as they remember an id, and fail at its missing JSON.
pub const STILL_HERE: Bytes = Bytes::from_static(b": still here\n");

/// A turn as the wire shows it.
#[must_use]
pub fn shown(view: &TurnView) -> Turn {
    turn(&view.turn, &view.items, &view.steps, &view.waiting, &view.approvals, &view.questions)
}

/// The sequence number after which a client wants events: the standard header of a reconnecting reader.
///
/// # Errors
/// `Invalid` naming the header.
pub fn after(headers: &HeaderMap) -> Result<Option<i64>> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let number = value.to_str().ok().and_then(|v| v.trim().parse::<i64>().ok()).filter(|n| *n >= 0);
    number
        .map(Some)
        .ok_or_else(|| Error::invalid("Last-Event-ID", "Last-Event-ID must be the id of an event of this turn"))
}

/// The client's key for repeating its request.
///
/// # Errors
/// `Invalid` naming the header.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().map_err(|_| Error::invalid("Idempotency-Key", "Idempotency-Key must be ASCII"))?;
    Ok(Some(key.to_owned()))
}

/// What the client gets of a turn that runs: its events behind `after` as a stream, or the whole once it stands still.
/// `events`: from the first on, since the projection needs what was before `after`.
async fn answer(
    app: &App,
    cx: &Cx,
    turn_id: &str,
    events: Events,
    stream: bool,
    after: Option<i64>,
) -> Result<Response, Problem> {
    if stream {
        return Ok(event_stream(Body::from_stream(frames(events, after, cx.request.clone()))));
    }
    whole(app, cx, turn_id, events).await
}

async fn whole(app: &App, cx: &Cx, turn_id: &str, mut events: Events) -> Result<Response, Problem> {
    while let Some(event) = events.next().await {
        event?;
    }
    let view = app.agents.load_turn(cx, turn_id).await?;
    match view.turn.state {
        TurnState::Failed | TurnState::Cancelled | TurnState::DeadLetter => Err(ended_badly(&view.turn).into()),
        TurnState::Queued | TurnState::Running => Err(goes_on(&view.turn).into()),
        _ => Ok(Json(shown(&view)).into_response()),
    }
}

/// The events of a turn as server-sent events, `id` and chunk; comments while nothing happens.
fn frames(
    events: Events,
    after: Option<i64>,
    request: String,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    let state = (events, Projection::new());
    stream::unfold(state, move |(mut events, mut projection)| {
        let request = request.clone();
        async move {
            loop {
                let event = match tokio::time::timeout(HEARTBEAT, events.next()).await {
                    Err(_) => return Some((Ok(STILL_HERE), (events, projection))),
                    Ok(None) => return None,
                    Ok(Some(Err(error))) => {
                        return Some((Ok(problem::sse_frame(&error, &request)), (events, projection)));
                    }
                    Ok(Some(Ok(event))) => event,
                };
                let Some(chunk) = projection.push(&event) else { continue };
                if after.is_some_and(|after| event.seq <= after) {
                    continue;
                }
                let frame = match serde_json::to_string(&chunk) {
                    Ok(json) => Bytes::from(format!("id: {}\ndata: {json}\n\n", event.seq)),
                    Err(e) => problem::sse_frame(&Error::internal("could not write an event", e), &request),
                };
                return Some((Ok(frame), (events, projection)));
            }
        }
    })
}
