//! `POST /v1/responses/input_tokens`. Invariant: a count is the model's own server's, or there is none.

use axum::{Json, extract::State};
use frontdesk_api::{ChatRequest, Error};
use frontdesk_wire::openai::responses::request::request;

use super::{ResponseRequest, to_turn};
use crate::{
    app::App,
    auth::Caller,
    http::extract::{NoQuery, Raw},
    problem::Problem,
};

#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct InputTokens {
    #[schema(example = "response.input_tokens")]
    object: &'static str,
    /// Of instructions, everything that is continued, the input and the tools.
    input_tokens: u64,
}

/// Count the tokens of a response's input
///
/// The request of a response; nothing is asked or written. The provider of the model counts; where it cannot, the answer
/// is an error with the code `tokens_not_counted`, never an estimate.
#[utoipa::path(
    post, path = "/v1/responses/input_tokens", tag = "responses",
    request_body(content = ResponseRequest, description = "OpenAI's request to create a response"),
    responses((status = 200, body = InputTokens))
)]
pub async fn input_tokens(
    State(app): State<App>,
    Caller(cx): Caller,
    _: NoQuery,
    Raw(body): Raw,
) -> Result<Json<InputTokens>, Problem> {
    let (new, _room) = to_turn(&app, &cx, request(&body)?).await?;
    let model = new.response.as_ref().map(|response| response.spec.model.clone()).unwrap_or_default();
    let chat = app.agents.would_ask(&cx, &new).await?;
    let Some(counted) = app.inference.count_tokens(&cx, ChatRequest::typed(model.as_str(), chat)).await? else {
        let message =
            format!("the provider of model '{model}' cannot count tokens: usage is known from its answers only");
        return Err(Error::invalid("model", message).with_code("tokens_not_counted").into());
    };
    Ok(Json(InputTokens { object: "response.input_tokens", input_tokens: counted.tokens }))
}
