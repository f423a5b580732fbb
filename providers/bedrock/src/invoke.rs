//! Embeddings and reranking: models that Converse does not know, asked through `InvokeModel`.
//!
//! Invariant: a ranking has as many places as were asked for, each of a document of the request and none twice.

use bytes::Bytes;
use frontdesk_api::{
    Cx, Effort, Error, Result,
    chat::Usage,
    embed::{EmbedRequest, Embeddings},
    inference::ModelKind,
    rerank::{Ranked, Ranking, RerankRequest},
};
use frontdesk_http::{Call, Part};
use frontdesk_wire::{
    bedrock::{
        embeddings::{self, TOKENS, Way},
        rerank::{self, places},
    },
    rerank::decode_answer,
};
use http::Method;
use serde_json::Value;

use crate::Bedrock;

/// What a model does, by its id: what it is asked for decides how it is asked.
pub(crate) fn kind(model: &str) -> ModelKind {
    match model {
        _ if embeddings::knows(model) => ModelKind::Embedding,
        _ if rerank::knows(model) => ModelKind::Rerank,
        _ => ModelKind::Llm,
    }
}

impl Bedrock {
    pub(crate) async fn vectors_of(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        let embed = request.embed()?;
        let texts = embed.texts()?;
        let way = Way::of(&request.model, embed)?;
        let call = |texts| -> Call<'_> { Box::pin(self.vectors_by(cx, &request.model, &way, texts)) };
        let calls = texts.chunks(way.most()).map(call).collect();
        self.upstream.embeddings(request.model.clone(), calls).await
    }

    async fn vectors_by(&self, cx: &Cx, model: &str, way: &Way, texts: &[&str]) -> Result<Part> {
        let (said, counted) = self.invoke(cx, model, &way.body(texts)).await?;
        let (vectors, told) = embeddings::decode(&said).map_err(|e| self.upstream.no_embeddings(&e.to_string()))?;
        self.upstream.part((vectors, told.or(counted)), texts.len())
    }

    pub(crate) async fn order_of(&self, cx: &Cx, request: RerankRequest) -> Result<Ranking> {
        let asked = request.rerank()?;
        let body = rerank::encode(&request.model, asked)?;
        let (said, counted) = self.invoke(cx, &request.model, &body).await?;
        let (results, told) = decode_answer(&said).map_err(|e| self.no_ranking(&e.to_string()))?;
        self.check(&results, places(asked), asked.documents.len())?;
        let counted = counted.map(|input_tokens| Usage { input_tokens, ..Usage::default() });
        Ok(Ranking {
            provider: self.upstream.id.clone(),
            model: request.model,
            raw: None,
            results,
            usage: told.or(counted),
            effort: Effort::default(),
        })
    }

    /// The body of a model's answer, and the tokens that Bedrock counted.
    async fn invoke(&self, cx: &Cx, model: &str, body: &Value) -> Result<(Bytes, Option<u64>)> {
        let uri = self.uri(model, "invoke")?;
        let answer = self.send(cx, Method::POST, &uri, Bytes::from(body.to_string())).await?;
        let counted = answer.header(TOKENS).and_then(|tokens| tokens.parse().ok());
        Ok((self.upstream.whole(answer).await?, counted))
    }

    fn check(&self, results: &[Ranked], places: usize, documents: usize) -> Result<()> {
        let mut seen = vec![false; documents];
        for ranked in results {
            match seen.get_mut(ranked.index) {
                Some(seen) if !*seen => *seen = true,
                Some(_) => return Err(self.no_ranking(&format!("document {} twice", ranked.index))),
                None => return Err(self.no_ranking(&format!("place {} of {documents} documents", ranked.index))),
            }
        }
        if results.len() == places {
            return Ok(());
        }
        Err(self.no_ranking(&format!("{} places where {places} were asked for", results.len())))
    }

    fn no_ranking(&self, why: &str) -> Error {
        Error::upstream(format!("provider '{}' sent something that is not a ranking: {why}", self.upstream.id))
    }
}
