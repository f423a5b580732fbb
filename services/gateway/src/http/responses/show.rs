//! `GET /v1/responses/{response_id}`, and its stream once more.

use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use frontdesk_api::{Error, Result};
use frontdesk_wire::openai::responses::{request::Include, stream::Projection};

use super::{standing, streamed};
use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::{Query, known},
        turns::after,
    },
    problem::Problem,
};

/// The query; `include` may come more than once.
#[derive(Debug, Default)]
struct Wanted {
    stream: bool,
    after: Option<i64>,
    include: Include,
}

impl Wanted {
    fn read(pairs: Vec<(String, String)>) -> Result<Self> {
        let mut wanted = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "stream" => {
                    wanted.stream = match value.as_str() {
                        "true" => true,
                        "false" => false,
                        _ => return Err(Error::invalid("stream", "stream must be true or false")),
                    };
                }
                "starting_after" => {
                    let number = value.parse::<i64>().ok().filter(|n| *n >= 0);
                    let message = "starting_after must be the sequence_number of an event of this response";
                    wanted.after = Some(number.ok_or_else(|| Error::invalid("starting_after", message))?);
                }
                "include" | "include[]" => wanted.include.add(&value, "include")?,
                "include_obfuscation" => match value.as_str() {
                    // Events have no padding, whichever is asked for.
                    "true" | "false" => {}
                    _ => return Err(Error::invalid(name, "include_obfuscation must be true or false")),
                },
                _ => known(&name)?,
            }
        }
        Ok(wanted)
    }
}

/// A response as it stands
///
/// With `stream=true` its events from the first, or from behind `starting_after`: those that are there, then those to
/// come, under the same numbers as ever.
#[utoipa::path(
    get, path = "/v1/responses/{response_id}", tag = "responses",
    params(
        ("response_id" = String, Path, description = "The response's id"),
        ("stream" = Option<bool>, Query, description = "Its events instead"),
        ("starting_after" = Option<i64>, Query, description = "Events up to this sequence_number are left out"),
        ("include" = Option<Vec<String>>, Query, description = "`file_search_call.results`: what searches found; `code_interpreter_call.outputs`: what code printed; `web_search_call.action.sources`: pages that were found; `message.output_text.logprobs`: what is known of tokens, where the response was asked for it"),
        ("Last-Event-ID" = Option<String>, Header, description = "As `starting_after`"),
    ),
    responses((status = 200, description = "OpenAI's response, or its event stream", body = serde_json::Value))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wanted = Wanted::read(pairs)?;
    let after = match wanted.after {
        None => after(&headers)?,
        after => after,
    };
    let response = app.agents.load_response(&cx, &id).await?;
    if !wanted.stream {
        return Ok(Json(standing(&app, &cx, &id, response.echo, wanted.include).await?).into_response());
    }
    let events = app.agents.events(&cx, &id, None).await?;
    Ok(streamed(events, Projection::new(response.echo, wanted.include), after, None))
}
