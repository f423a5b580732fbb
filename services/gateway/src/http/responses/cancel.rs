//! `POST /v1/responses/{response_id}/cancel`.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_api::{Error, turn::TurnState};
use frontdesk_wire::openai::responses::{request::Include, stream::status};
use futures::StreamExt;
use serde_json::Value;

use super::standing;
use crate::{app::App, auth::Caller, http::extract::NoQuery, problem::Problem};

/// How long the answer waits for the end of a response that was told to stop.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Cancel a background response
///
/// Cancelling twice answers the same. One that ended otherwise, or that was not asked for with `background: true`, is an
/// error.
#[utoipa::path(
    post, path = "/v1/responses/{response_id}/cancel", tag = "responses",
    params(("response_id" = String, Path, description = "The response's id")),
    responses((status = 200, description = "OpenAI's response", body = serde_json::Value))
)]
pub async fn cancel(
    State(app): State<App>,
    Caller(cx): Caller,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let response = app.agents.load_response(&cx, &id).await?;
    if response.echo["background"] != true {
        let message =
            "only a response that was asked for with 'background' can be cancelled; close the stream of another";
        return Err(Error::invalid("response_id", message).with_code("response_not_in_background").into());
    }
    match response.turn.state {
        TurnState::Cancelled => {}
        state if state.is_terminal() => {
            let message = format!("a response that is {} cannot be cancelled", status(state));
            return Err(Error::invalid("response_id", message).with_code("response_not_cancellable").into());
        }
        _ => {
            app.agents.cancel(&cx, &id).await?;
            let mut events = app.agents.events(&cx, &id, None).await?;
            // Where it does not end so soon (its worker is another process), it is shown as it stands.
            let _ = tokio::time::timeout(LAST_WORDS, async { while events.next().await.is_some() {} }).await;
        }
    }
    Ok(Json(standing(&app, &cx, &id, response.echo, Include::default()).await?))
}
