//! `POST /v1/embeddings`.
//!
//! The body is looked at just enough to route it; a provider that speaks OpenAI's API gets its bytes, and its answer
//! goes out as it came. The vectors of any other are written as the client wants them, floats or Base64.

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use frontdesk_wire::openai::embeddings;

use crate::{
    app::App,
    auth::Caller,
    http::{attempts, edge::Arrival, extract::Raw, reply::answered},
    problem::Problem,
};

/// Embed texts
///
/// OpenAI's request and answer, unknown members included: `input` is a text, a list of texts, tokens, or lists of
/// tokens; `dimensions` where the model can choose; `encoding_format` `float` or `base64`. `model` is
/// `provider/model` or an alias. A provider without embeddings is an error with the code `not_offered`.
#[utoipa::path(
    post, path = "/v1/embeddings", tag = "inference",
    request_body(content = EmbeddingsRequest, description = "OpenAI's embeddings request"),
    responses((status = 200, description = "OpenAI's list of embeddings", body = serde_json::Value))
)]
pub async fn create(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    Caller(cx): Caller,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let request = embeddings::request(body)?;
    let reply = app.inference.embed(&cx, request.clone()).await?;
    let mut headers = HeaderMap::new();
    attempts::write_whole(&mut headers, (&reply.provider, &reply.model), &reply.effort, reply.reuse);
    let waited = reply.effort.waited();
    let body = embeddings::answer_in(&request, reply)?;
    let mut response = answered(body, arrival.at.elapsed().saturating_sub(waited));
    response.headers_mut().extend(headers);
    Ok(response)
}

/// The request's members that Frontdesk itself reads; all others travel on as they are.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)] // describes the wire; the codec reads it
pub struct EmbeddingsRequest {
    /// `provider/model` or an alias.
    #[schema(example = "openai/text-embedding-3-small")]
    model: String,
    /// Text, texts, tokens, or lists of tokens.
    input: serde_json::Value,
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;
    use frontdesk_api::{
        ChatReply, ChatRequest, Cx, Effort, Inference, Result,
        chat::{Dialect, Usage},
        embed::{EmbedRequest, Embeddings},
        inference::Model,
    };
    use serde_json::json;

    use crate::testing::{Frames, TestGateway};

    /// Embeds everything as the same two numbers; `native`: in a client's own bytes.
    struct Embeds {
        native: bool,
    }

    #[async_trait]
    impl Inference for Embeds {
        async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
            Frames::whole().chat(cx, request).await
        }

        async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
            Frames::whole().models(cx).await
        }

        async fn embed(&self, _: &Cx, request: EmbedRequest) -> Result<Embeddings> {
            assert_eq!(request.model, "echo");
            let raw = self.native.then(|| (Dialect::OpenaiEmbeddings, Bytes::from_static(b"{\"vendor\":1}")));
            assert!(!request.needs_vectors(Dialect::OpenaiEmbeddings));
            Ok(Embeddings {
                provider: "up".into(),
                model: request.model.clone(),
                raw,
                vectors: request.embed()?.input.iter().map(|_| vec![0.5, -1.0]).collect(),
                usage: Some(Usage { input_tokens: 3, ..Usage::default() }),
                effort: Effort::default(),
                reuse: None,
            })
        }
    }

    fn question() -> serde_json::Value {
        json!({ "model": "default", "input": ["a", "b"] })
    }

    #[tokio::test]
    async fn the_bytes_of_a_provider_of_this_dialect_go_out_as_they_came() {
        let gateway = TestGateway::start(Embeds { native: true }).await;
        let answer = gateway.post("/v1/embeddings", &question()).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, r#"{"vendor":1}"#));
        assert!(answer.headers.contains_key("x-frontdesk-overhead-us"));
    }

    #[tokio::test]
    async fn the_vectors_of_another_are_written_in_the_encoding_that_was_asked_for() {
        let gateway = TestGateway::start(Embeds { native: false }).await;
        let entry = |index: usize, embedding: serde_json::Value| json!({ "object": "embedding", "index": index, "embedding": embedding });
        let answer = gateway.post("/v1/embeddings", &question()).await.json();
        let floats = json!([0.5, -1.0]);
        let want = json!({
            "object": "list", "model": "echo", "usage": { "prompt_tokens": 3, "total_tokens": 3 },
            "data": [entry(0, floats.clone()), entry(1, floats)],
        });
        assert_eq!(answer, want);
        let mut asked = question();
        asked["encoding_format"] = json!("base64");
        let answer = gateway.post("/v1/embeddings", &asked).await.json();
        assert_eq!(answer["data"][1], entry(1, json!("AAAAPwAAgL8=")));
        asked["encoding_format"] = json!("hex");
        let refused = gateway.post("/v1/embeddings", &asked).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!("encoding_format")));
    }

    #[tokio::test]
    async fn a_provider_without_embeddings_is_named() {
        let gateway = TestGateway::start(Frames::whole()).await;
        insta::assert_snapshot!(gateway.post("/v1/embeddings", &question()).await.shown(), @r#"
        400
        {
          "error": {
            "message": "provider 'up' of model 'default' has no embeddings: name a model of type embedding, GET /v1/models lists them",
            "type": "invalid_request_error",
            "param": "model",
            "code": "not_offered"
          },
          "request_id": "req_00000000000000000000000002"
        }
        "#);
    }
}
