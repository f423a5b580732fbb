//! `POST /v1/messages/count_tokens`. Invariant: a count is the model's own server's, or there is none.

use std::time::Instant;

use axum::{Extension, extract::State, response::Response};
use frontdesk_api::{Error, chat::Dialect};
use frontdesk_wire::anthropic;
use serde_json::json;

use crate::{
    app::App,
    auth::Caller,
    http::{
        edge::Arrival,
        extract::Raw,
        messages::{chosen::Chosen, create::Message},
        reply::answered,
    },
    problem::Problem,
};

/// Count the tokens of a message
///
/// Anthropic's request and answer, unknown members included. The provider of the model is asked; where it cannot count, the answer is an error
/// with the code `tokens_not_counted`, never an estimate.
#[utoipa::path(
    post, path = "/v1/messages/count_tokens", tag = "inference",
    params(
        ("anthropic-version" = Option<String>, Header, description = "Version of the API; sent on to a provider of type `anthropic`."),
        ("anthropic-beta" = Option<String>, Header, description = "Features in beta; sent on to a provider of type `anthropic`."),
    ),
    request_body(content = CountTokensRequest, description = "Anthropic's request to create a message, without `max_tokens`"),
    responses((status = 200, body = TokenCount))
)]
pub async fn count_tokens(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    Caller(cx): Caller,
    Chosen(headers): Chosen,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let mut request = anthropic::peek::count(body)?;
    request.headers = headers;
    let model = request.model.clone();
    let asked = Instant::now();
    let Some(counted) = app.inference.count_tokens(&cx, request).await? else {
        let message =
            format!("the provider of model '{model}' cannot count tokens: usage is known from its answers only");
        return Err(Error::invalid("model", message).with_code("tokens_not_counted").into());
    };
    let upstream = asked.elapsed();
    let body = match counted.raw {
        Some((Dialect::AnthropicMessages, bytes)) => bytes,
        _ => json!(TokenCount { input_tokens: counted.tokens }).to_string().into(),
    };
    Ok(answered(body, arrival.at.elapsed().saturating_sub(upstream)))
}

/// The request's members that Frontdesk itself reads; all others travel on as they are.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)] // describes the wire; the codec reads it
pub struct CountTokensRequest {
    /// `provider/model` or an alias.
    #[schema(example = "anthropic/claude-haiku-4-5")]
    model: String,
    messages: Vec<Message>,
}

#[derive(serde::Serialize, utoipa::ToSchema)]
pub struct TokenCount {
    /// Tokens of messages, instructions and tools together.
    input_tokens: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        http::messages::create::native::Native,
        testing::{Frames, TestGateway},
    };

    #[tokio::test]
    async fn a_provider_that_counts_is_asked_and_one_that_cannot_is_named() {
        let question = json!({ "model": "default", "messages": [{ "role": "user", "content": "hi" }] });
        let gateway = TestGateway::start(Native(Frames::whole())).await;
        let answer = gateway.post("/v1/messages/count_tokens", &question).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, r#"{"input_tokens":7, "x":1.50}"#));
        assert_eq!(answer.headers["content-type"], "application/json");

        let gateway = TestGateway::start(Frames::whole()).await;
        insta::assert_snapshot!(gateway.post("/v1/messages/count_tokens", &question).await.shown(), @r#"
        400
        {
          "type": "error",
          "error": {
            "type": "invalid_request_error",
            "message": "the provider of model 'default' cannot count tokens: usage is known from its answers only",
            "details": {
              "error_code": "tokens_not_counted",
              "param": "model"
            }
          },
          "request_id": "req_00000000000000000000000002"
        }
        "#);
    }
}
