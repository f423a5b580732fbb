//! `POST /v1/responses`: whole, streamed, in the background, and both.

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use frontdesk_agents::{NewTurn, sent};
use frontdesk_api::{Error, Kind, Result};
use frontdesk_wire::openai::responses::{request::request, stream::Projection};

use super::{ResponseRequest, standing, streamed, to_turn, whole};
use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::{NoQuery, Raw},
        turns::{after, idempotency_key},
    },
    problem::Problem,
};

/// Ask for a response
///
/// OpenAI's request and answer. Every event is written before it is sent, and its `sequence_number` is also the `id` of
/// its frame. With `background: true` the answer is the response as it begins, and with `stream: true` too its events.
/// The response goes on when the client leaves, unless `store` is false. A member that is not known is refused.
#[utoipa::path(
    post, path = "/v1/responses", tag = "responses",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Repeating the request with it gets the same response"),
        ("Last-Event-ID" = Option<String>, Header, description = "Events up to this one are left out of the stream"),
    ),
    request_body(content = ResponseRequest, description = "OpenAI's request to create a response"),
    responses((status = 200, description = "OpenAI's response, or its event stream", body = serde_json::Value))
)]
pub async fn create(
    State(app): State<App>,
    Caller(cx): Caller,
    _: NoQuery,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let (after, key) = (after(&headers)?, idempotency_key(&headers)?);
    let asked = request(&body)?;
    let (background, stream, store, include) = (asked.background, asked.stream, asked.store, asked.include);
    if !store && key.is_some() {
        let message = "with 'store': false a response is gone once it was read, so it cannot be asked for again: \
                       leave out the header, or 'store'";
        return Err(Error::invalid("Idempotency-Key", message).into());
    }
    let sent = key.as_ref().map(|_| sent("responses", &body));
    let before = match (&key, &sent) {
        (Some(key), Some(sent)) => app.agents.begun_before(&cx, key, sent).await?,
        _ => None,
    };
    let (turn, echo, passing) = match before {
        Some(before) => (before.turn, before.request.response.unwrap_or_default(), None),
        None => {
            let (new, _room) = to_turn(&app, &cx, asked).await?;
            let new = NewTurn { idempotency_key: key, sent, ..new };
            let echo = new.response.as_ref().map(|response| response.echo.clone()).unwrap_or_default();
            let (turn, passing) = app.agents.begin_passing(&cx, new, store).await.map_err(locked)?;
            (turn, echo, passing)
        }
    };
    if background && !stream {
        return Ok(Json(standing(&app, &cx, &turn.id, echo, include).await?).into_response());
    }
    let events = app.agents.events_of(&cx, &turn);
    let projection = Projection::new(echo, include);
    if stream {
        return Ok(streamed(events, projection, after, passing));
    }
    let answer = whole(&app, &cx, events, projection).await;
    drop(passing);
    answer
}

/// A conversation has one open response; OpenAI has a code of its own for it.
fn locked(error: Error) -> Error {
    if error.kind == Kind::Conflict && error.code.as_deref() == Some("turn_running") {
        let message = "another response of this conversation has not ended: wait for it or cancel it";
        return Error::conflict(message).with_param("conversation").with_code("conversation_locked");
    }
    error
}
