//! The provider over a worker that runs elsewhere (`url`): OpenAI's API, and what a worker answers beside it.
//!
//! Its numbers are its own page to be read: several gateways may share it, and each would show them as its own.

use async_trait::async_trait;
use frontdesk_api::embed::{EmbedRequest, Embeddings};
use frontdesk_api::inference::{Counted, Model};
use frontdesk_api::provider::Health;
use frontdesk_api::{ChatReply, ChatRequest, Cx, Inference, Result};
use frontdesk_openai::OpenAi;
use serde_json::json;

use crate::own::Own;

/// A worker that others started.
pub(crate) struct Elsewhere {
    pub(crate) worker: OpenAi,
    pub(crate) own: Own,
}

#[async_trait]
impl Inference for Elsewhere {
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
        self.worker.chat(cx, request).await
    }

    async fn embed(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        self.worker.embed(cx, request).await
    }

    async fn count_tokens(&self, cx: &Cx, request: ChatRequest) -> Result<Option<Counted>> {
        self.own.count(&self.worker, cx, &request).await
    }

    async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
        self.worker.models(cx).await
    }

    fn context_window(&self, model: &str) -> Option<usize> {
        self.worker.context_window(model)
    }

    async fn set_loaded(&self, cx: &Cx, model: &str, loaded: bool) -> Result<()> {
        self.own.set_loaded(&self.worker, cx, model, loaded).await
    }

    async fn health(&self) -> Health {
        let mut health = self.worker.health().await;
        health.facts = self.own.models(&self.worker).await.ok().map(|models| json!({"engine": models}));
        health
    }
}
