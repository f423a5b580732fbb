//! Embeddings and reranking: one request, one answer, no stream.
//!
//! Invariant: an answer is passed on only after it was found to be one; one that is read holds as many vectors as
//! there were inputs, and no place beyond the documents.

use std::fmt::Display;

use frontdesk_api::{
    Cx, Effort, Error, Result,
    chat::Dialect,
    embed::{EmbedRequest, Embeddings},
    rerank::{Ranked, Ranking, RerankRequest},
};
use frontdesk_wire::{
    openai::{embeddings, splice},
    rerank,
};
use http::Method;

use crate::{OpenAi, Shape};

impl OpenAi {
    pub(crate) async fn embeddings_of(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        const OWN: Dialect = Dialect::OpenaiEmbeddings;
        let body = match request.source().filter(|source| source.dialect == OWN) {
            Some(source) => splice::for_upstream(source, &request.model, false),
            None => embeddings::encode(&request.model, request.embed()?),
        };
        let raw = self.upstream.fetch(cx, Method::POST, &*self.embeddings.uri(&request.model)?, body).await?;
        let (vectors, usage) = if request.needs_vectors(OWN) {
            let (vectors, usage) = embeddings::decode_answer(&raw).map_err(|e| self.no_answer("embeddings", e))?;
            let asked = request.embed()?.input.len();
            if vectors.len() != asked {
                let told = format!("{} vectors for {asked} inputs", vectors.len());
                return Err(self.no_answer("embeddings", told));
            }
            (vectors, usage)
        } else {
            (vec![], embeddings::decode_usage(&raw).map_err(|e| self.no_answer("embeddings", e))?)
        };
        Ok(Embeddings {
            provider: self.upstream.id.clone(),
            model: request.model,
            raw: Some((OWN, raw)),
            vectors,
            usage,
            reuse: None,
            effort: Effort::default(),
        })
    }

    pub(crate) async fn order_of(&self, cx: &Cx, request: RerankRequest) -> Result<Ranking> {
        match self.config.rerank_shape() {
            Shape::Cohere => self.order_of_cohere(cx, request).await,
            Shape::Tei => self.order_of_tei(cx, request).await,
        }
    }

    async fn order_of_cohere(&self, cx: &Cx, request: RerankRequest) -> Result<Ranking> {
        const OWN: Dialect = Dialect::Rerank;
        let body = match request.source().filter(|source| source.dialect == OWN) {
            Some(source) => splice::for_upstream(source, &request.model, false),
            None => rerank::encode(&request.model, request.rerank()?),
        };
        let raw = self.upstream.fetch(cx, Method::POST, &self.rerank, body).await?;
        let (results, usage) = rerank::decode_answer(&raw).map_err(|e| self.no_answer("a ranking", e))?;
        let results = if request.needs_ranking(OWN) { self.checked(&request, results)? } else { vec![] };
        Ok(Ranking {
            provider: self.upstream.id.clone(),
            model: request.model,
            raw: Some((OWN, raw)),
            results,
            usage,
            effort: Effort::default(),
        })
    }

    /// One model a server, so none is named; the server knows texts only and tells all places.
    async fn order_of_tei(&self, cx: &Cx, request: RerankRequest) -> Result<Ranking> {
        let asked = request.rerank()?;
        let body = rerank::encode_tei(&asked.query, &asked.texts()?);
        let raw = self.upstream.fetch(cx, Method::POST, &self.rerank, body).await?;
        let results = rerank::decode_tei(&raw).map_err(|e| self.no_answer("a ranking", e))?;
        let results = self.checked(&request, results)?;
        let provider = self.upstream.id.clone();
        Ok(Ranking { provider, model: request.model, raw: None, results, usage: None, effort: Effort::default() })
    }

    fn checked(&self, request: &RerankRequest, mut results: Vec<Ranked>) -> Result<Vec<Ranked>> {
        let asked = request.rerank()?;
        if let Some(odd) = results.iter().find(|ranked| ranked.index >= asked.documents.len()) {
            let told = format!("place {} of {} documents", odd.index, asked.documents.len());
            return Err(self.no_answer("a ranking", told));
        }
        results.truncate(asked.top_n.unwrap_or(usize::MAX));
        Ok(results)
    }

    fn no_answer(&self, what: &str, e: impl Display) -> Error {
        Error::upstream(format!("provider '{}' sent something that is not {what}: {e}", self.upstream.id))
    }
}
