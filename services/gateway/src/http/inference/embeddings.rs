//! `POST /v1/inference/embeddings`.

use axum::{Extension, Json, extract::State, http::HeaderMap};
use frontdesk_api::embed::EmbedRequest;
use frontdesk_wire::llama_stack::inference_request::EmbedContents;
use serde::Serialize;

use crate::{
    app::App,
    auth::Caller,
    http::{attempts, edge::Arrival, extract::Json as Body, reply::say_overhead},
    problem::Problem,
};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EmbeddedContents {
    /// A vector for each of the contents.
    pub embeddings: Vec<Vec<f32>>,
}

/// Embed texts, in Llama Stack's shape
#[utoipa::path(
    post, path = "/v1/inference/embeddings", tag = "inference",
    request_body = EmbedContents,
    responses((status = 200, body = EmbeddedContents))
)]
pub async fn embeddings(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    Caller(cx): Caller,
    Body(body): Body<EmbedContents>,
) -> Result<(HeaderMap, Json<EmbeddedContents>), Problem> {
    let request = EmbedRequest::typed(body.model_id.clone(), body.to_domain()?);
    let answer = app.inference.embed(&cx, request).await?;
    let mut headers = HeaderMap::new();
    say_overhead(&mut headers, arrival.at.elapsed().saturating_sub(answer.effort.waited()));
    attempts::write_whole(&mut headers, (&answer.provider, &answer.model), &answer.effort, answer.reuse);
    Ok((headers, Json(EmbeddedContents { embeddings: answer.vectors })))
}
