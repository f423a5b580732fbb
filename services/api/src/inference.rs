//! Inference: models that answer chats, embed texts and put documents in order. Implemented by every model provider and by the router over them.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    ChatReply, ChatRequest, Cx, Error, Result,
    chat::{Dialect, Usage},
    embed::{EmbedRequest, Embeddings},
    provider::Health,
    rerank::{Ranking, RerankRequest},
};

/// The code of an error that says a provider does not do this at all.
pub const NOT_OFFERED: &str = "not_offered";

/// The code of an error that says a provider does not take the operator's own key (401, 403), or wants to be paid first.
pub const CREDENTIALS: &str = "provider_credentials";

/// Tokens of prompt and answer together of a model whose provider does not say: 32,768, what Mistral 7B and
/// Qwen2.5 were made for. Most hosted models take more and forget a little early; a smaller one that does not say
/// so refuses long conversations with its own words.
pub const UNKNOWN_WINDOW: usize = 32_768;

#[async_trait]
pub trait Inference: Send + Sync {
    /// Answers a chat. Resolves when the upstream's head is here; the frames follow.
    /// Dropping the reply (or cancelling `cx`) stops the work upstream.
    ///
    /// # Errors
    /// `NotFound` (unknown model, with the nearest names), `Invalid`, `Upstream`, `RateLimited`,
    /// `Unavailable`, `Timeout`. After the first frame, errors come as the last item of the stream.
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply>;

    /// The models that can be asked for now.
    async fn models(&self, cx: &Cx) -> Result<Vec<Model>>;

    /// Tokens that the model would read for this request, counted by the model's own server and not estimated.
    /// None: the provider cannot count.
    ///
    /// # Errors
    /// As `chat`.
    async fn count_tokens(&self, _cx: &Cx, _request: ChatRequest) -> Result<Option<Counted>> {
        Ok(None)
    }

    /// Turns texts into vectors.
    ///
    /// # Errors
    /// As `chat`; `Invalid` with the code [`NOT_OFFERED`] where the provider has no embeddings.
    async fn embed(&self, _cx: &Cx, _request: EmbedRequest) -> Result<Embeddings> {
        Err(not_offered("embeddings", ModelKind::Embedding))
    }

    /// Puts documents in order by how well they answer a query.
    ///
    /// # Errors
    /// As `embed`.
    async fn rerank(&self, _cx: &Cx, _request: RerankRequest) -> Result<Ranking> {
        Err(not_offered("reranking", ModelKind::Rerank))
    }

    /// Brings a model into this machine's memory, or lets it go once its running answers have ended; resolves when that
    /// is done. A caller that leaves stops neither once the provider's process has been asked.
    ///
    /// # Errors
    /// `NotFound` (unknown model), `Unavailable` saying why it could not be loaded; `Invalid` with the code
    /// [`NOT_OFFERED`] where the provider keeps no models in memory that could go.
    async fn set_loaded(&self, _cx: &Cx, _model: &str, _loaded: bool) -> Result<()> {
        let message = "this provider loads no models: only those of type mistralrs do";
        Err(Error::invalid("provider_id", message).with_code(NOT_OFFERED))
    }

    /// The provider's own numbers in Prometheus' text format, those of a process of its own. None: it has none.
    ///
    /// # Errors
    /// `Unavailable`, `Upstream` where that process does not tell them now.
    async fn metrics(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Tokens of prompt and answer together that the model takes, where that is known by now: from the
    /// configuration or from what the upstream said before. Asks nobody; None: not known, and thought to be
    /// [`UNKNOWN_WINDOW`].
    fn context_window(&self, _model: &str) -> Option<usize> {
        None
    }

    /// What `usage` at the provider's model costs at list price now, in nano-USD. Asks nobody; None: nobody here knows
    /// prices, or this model has none.
    fn cost(&self, _provider: &str, _model: &str, _usage: &Usage) -> Option<i64> {
        None
    }

    /// Whether the provider can do its work; quick and without cost.
    async fn health(&self) -> Health {
        Health::default()
    }
}

/// The tokens of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Messages, instructions and tools together.
    pub tokens: u64,
    /// The provider's own bytes and whose JSON they are; None: there is no such answer to pass on.
    pub raw: Option<(Dialect, Bytes)>,
}

impl From<u64> for Counted {
    fn from(tokens: u64) -> Self {
        Self { tokens, raw: None }
    }
}

/// What a provider says that does not do `what`; who asked it puts its name before.
#[must_use]
pub fn not_offered(what: &str, kind: ModelKind) -> Error {
    let message = format!("has no {what}: name a model of type {}, GET /v1/models lists them", kind.as_str());
    Error::invalid("model", message).with_code(NOT_OFFERED)
}

/// A model as offered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Model {
    /// `provider/upstream-id`, or the name of an alias.
    pub id: String,
    /// Id of the provider; empty for an alias.
    pub provider: String,
    /// The upstream's own name; for an alias the model it leads to.
    pub upstream_id: String,
    pub kind: ModelKind,
    /// Unix seconds, 0 where the upstream does not say.
    #[serde(default)]
    pub created: i64,
    /// For people: a note such as "demo model".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    #[default]
    Llm,
    Embedding,
    Rerank,
}

impl ModelKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Llm => "llm",
            Self::Embedding => "embedding",
            Self::Rerank => "rerank",
        }
    }
}
