//! `GET /v1/messages/batches/{batch_id}/results`.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderValue, header},
    response::Response,
};
use frontdesk_api::{Error, Kind};
use frontdesk_batches::{EndedLine, Outcome};
use frontdesk_wire::anthropic::{self, batch};
use futures::stream;

use crate::{app::App, auth::Caller, problem::Problem};

/// The results of a message batch
///
/// One JSON object a line, in the order of the requests, read from the database as the client reads on. Where they are
/// deleted meanwhile the connection breaks off.
#[utoipa::path(
    get, path = "/v1/messages/batches/{batch_id}/results", tag = "inference",
    params(("batch_id" = String, Path, description = "The batch's id")),
    responses((status = 200, description = "One result a line", content_type = "application/x-jsonl"))
)]
pub async fn results(State(app): State<App>, Caller(cx): Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let total = app.batches.ended_messages(&cx, &id).await?;
    let lines = stream::try_unfold(-1, move |after| {
        let (app, cx, id) = (app.clone(), cx.clone(), id.clone());
        async move {
            let lines = app.batches.results(&cx, &id, after).await?;
            let Some(last) = lines.last() else {
                // Said by breaking off: a list that ended here would look like a whole one.
                let gone = || Error::conflict(format!("the results of '{id}' were deleted while they were read"));
                return if after + 1 == total { Ok(None) } else { Err(gone()) };
            };
            let text: String = lines.iter().map(|line| written(&cx.request, line)).collect();
            Ok(Some((text, last.pos)))
        }
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-jsonl"));
    Ok(response)
}

fn written(request_id: &str, line: &EndedLine) -> String {
    let lost;
    let answered = match line.outcome {
        Outcome::Succeeded => batch::Answered::Succeeded(&line.body),
        Outcome::Failed if line.body.is_empty() => {
            let error = Error::new(Kind::Internal, "the batch failed before this request was answered");
            lost = anthropic::error::body(&error, request_id).to_string();
            batch::Answered::Errored(&lost)
        }
        Outcome::Failed => batch::Answered::Errored(&line.body),
        Outcome::Cancelled => batch::Answered::Canceled,
        Outcome::Expired => batch::Answered::Expired,
    };
    batch::result(&line.custom_id, answered)
}
