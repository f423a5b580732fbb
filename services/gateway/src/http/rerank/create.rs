//! `POST /v1/rerank`, and `/v2/rerank` for Cohere's newer client.
//!
//! The body is looked at just enough to route it; a provider that speaks this shape gets its bytes, and its answer
//! goes out as it came. The order of any other is written in this shape.

use axum::{Extension, extract::State, response::Response};
use frontdesk_api::chat::Dialect;
use frontdesk_wire::rerank;

use crate::{
    app::App,
    auth::Caller,
    http::{attempts, edge::Arrival, extract::Raw, reply::answered},
    problem::Problem,
};

/// Put documents in order
///
/// The request and answer that Cohere, Jina and vLLM share, unknown members included. Documents are texts, or objects
/// of which `rank_fields` (else `text`) count; the best `top_n` come back with their place in the request, and
/// themselves with `return_documents`. `model` is `provider/model` or an alias. A provider without reranking is an
/// error with the code `not_offered`.
#[utoipa::path(
    post, path = "/v1/rerank", tag = "inference",
    request_body(content = RerankRequest, description = "Cohere's, Jina's or vLLM's rerank request"),
    responses((status = 200, description = "The best documents first", body = serde_json::Value))
)]
pub async fn create(
    app: State<App>,
    arrival: Extension<Arrival>,
    caller: Caller,
    body: Raw,
) -> Result<Response, Problem> {
    answer(app, arrival, caller, body).await
}

/// Put documents in order, by Cohere's newer path
///
/// As `POST /v1/rerank`.
#[utoipa::path(
    post, path = "/v2/rerank", tag = "inference",
    request_body(content = RerankRequest, description = "Cohere's rerank request"),
    responses((status = 200, description = "The best documents first", body = serde_json::Value))
)]
pub async fn create_v2(
    app: State<App>,
    arrival: Extension<Arrival>,
    caller: Caller,
    body: Raw,
) -> Result<Response, Problem> {
    answer(app, arrival, caller, body).await
}

async fn answer(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    Caller(cx): Caller,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let request = rerank::request(body)?;
    let reply = app.inference.rerank(&cx, request.clone()).await?;
    let body = match reply.raw {
        Some((Dialect::Rerank, bytes)) => bytes,
        _ => {
            let id = format!("rerank-{}", arrival.id);
            rerank::encode_answer(&id, &reply.model, request.rerank()?, &reply.results, reply.usage)
        }
    };
    let mut response = answered(body, arrival.at.elapsed().saturating_sub(reply.effort.waited()));
    let by = (reply.provider.as_str(), reply.model.as_str());
    attempts::write_whole(response.headers_mut(), by, &reply.effort, None);
    Ok(response)
}

/// The request's members that Frontdesk itself reads; all others travel on as they are.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)] // describes the wire; the codec reads it
pub struct RerankRequest {
    /// `provider/model` or an alias.
    #[schema(example = "vllm/BAAI/bge-reranker-v2-m3")]
    model: String,
    query: String,
    /// Texts, or objects.
    documents: Vec<serde_json::Value>,
    /// How many of the best to tell; all where it is left out.
    top_n: Option<usize>,
    /// Whether the answer repeats the documents; providers differ where it is left out.
    return_documents: Option<bool>,
    /// The members of objects that count.
    rank_fields: Option<Vec<String>>,
}

/// A provider that ranks by a rule.
#[cfg(test)]
pub(crate) mod longest {
    use async_trait::async_trait;
    use bytes::Bytes;
    use frontdesk_api::{
        ChatReply, ChatRequest, Cx, Effort, Inference, Result,
        chat::Dialect,
        inference::Model,
        rerank::{Ranked, Ranking, RerankRequest},
    };

    use crate::testing::Frames;

    /// The longest first; `native`: in bytes of its own.
    pub(crate) struct Longest {
        pub(crate) native: bool,
    }

    #[async_trait]
    impl Inference for Longest {
        async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
            Frames::whole().chat(cx, request).await
        }

        async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
            Frames::whole().models(cx).await
        }

        async fn rerank(&self, _: &Cx, request: RerankRequest) -> Result<Ranking> {
            let rerank = request.rerank()?;
            let scored = rerank.documents.iter().enumerate();
            let mut results: Vec<Ranked> =
                scored.map(|(index, text)| Ranked { index, score: text.to_string().len() as f64 }).collect();
            results.sort_by(|a, b| b.score.total_cmp(&a.score));
            results.truncate(rerank.top_n.unwrap_or(usize::MAX));
            let raw = self.native.then(|| (Dialect::Rerank, Bytes::from_static(b"{\"vendor\":1}")));
            Ok(Ranking {
                provider: "up".into(),
                model: request.model.clone(),
                raw,
                results,
                usage: None,
                effort: Effort::default(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::longest::Longest;
    use crate::testing::{Frames, TestGateway};

    fn question() -> serde_json::Value {
        json!({ "model": "up/echo", "query": "q", "documents": ["a", { "text": "longer" }], "return_documents": true })
    }

    #[tokio::test]
    async fn the_bytes_of_a_provider_of_this_shape_go_out_as_they_came() {
        let gateway = TestGateway::start(Longest { native: true }).await;
        for path in ["/v1/rerank", "/v2/rerank"] {
            assert_eq!(gateway.post(path, &question()).await.text(), r#"{"vendor":1}"#, "{path}");
        }
    }

    #[tokio::test]
    async fn the_order_of_another_is_written_in_this_shape() {
        let gateway = TestGateway::start(Longest { native: false }).await;
        insta::assert_snapshot!(gateway.post("/v1/rerank", &question()).await.shown(), @r#"
        200
        {
          "id": "rerank-req_00000000000000000000000002",
          "model": "echo",
          "results": [
            {
              "index": 1,
              "relevance_score": 17.0,
              "document": {
                "text": "longer"
              }
            },
            {
              "index": 0,
              "relevance_score": 3.0,
              "document": {
                "text": "a"
              }
            }
          ]
        }
        "#);
    }

    #[tokio::test]
    async fn a_provider_without_reranking_is_named() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let answer = gateway.post("/v1/rerank", &question()).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status.as_u16(), &error["code"]), (400, &json!("not_offered")));
        assert!(
            error["message"].as_str().expect("words").starts_with("provider 'up' of model 'up/echo' has no reranking")
        );
    }
}
