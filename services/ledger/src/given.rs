//! The meter for what costs nothing, around a layer that keeps or shares answers.
//!
//! That layer stands around [`crate::Metered`], so what it answers by itself never gets there: nothing is reserved for
//! it, and here it gets its row. Invariant: a call has one row, there or here.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use frontdesk_api::{
    ChatReply, ChatRequest, Cx, Inference, Result,
    embed::{EmbedRequest, Embeddings},
    inference::{Counted, Model},
    provider::Health,
    rerank::{Ranking, RerankRequest},
};

use crate::Ledger;

/// See the module.
pub struct Given {
    inner: Arc<dyn Inference>,
    ledger: Ledger,
}

impl Given {
    #[must_use]
    pub fn new(inner: Arc<dyn Inference>, ledger: Ledger) -> Self {
        Self { inner, ledger }
    }
}

#[async_trait]
impl Inference for Given {
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
        let (began, asked) = (Instant::now(), request.model.clone());
        let reply = self.inner.chat(cx, request).await?;
        if reply.head.is_free() {
            self.ledger.0.given(cx, &asked, &reply.head, began).await?;
        }
        Ok(reply)
    }

    async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
        self.inner.models(cx).await
    }

    async fn embed(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        self.inner.embed(cx, request).await
    }

    async fn rerank(&self, cx: &Cx, request: RerankRequest) -> Result<Ranking> {
        self.inner.rerank(cx, request).await
    }

    async fn count_tokens(&self, cx: &Cx, request: ChatRequest) -> Result<Option<Counted>> {
        self.inner.count_tokens(cx, request).await
    }

    fn context_window(&self, model: &str) -> Option<usize> {
        self.inner.context_window(model)
    }

    async fn health(&self) -> Health {
        self.inner.health().await
    }
}
