//! Every OpenAI-compatible server: OpenAI itself, vLLM, Ollama, llama.cpp, Together, Groq, and our own engine.
//!
//! A request that came in one of its dialects (chats, text completions, embeddings, reranking) goes on as the bytes
//! the client sent, with the model's name (and the wish for usage) spliced in; the answer's bytes come back untouched
//! with their meaning decoded beside them.
//! Invariant: only the members named in `wire::openai::splice` are ever changed in a client's bytes.

mod config;
mod frames;
mod listed;
mod vectors;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use frontdesk_api::{
    ChatReply, ChatRequest, Cx, Error, Inference, Result,
    chat::Dialect,
    embed::{EmbedRequest, Embeddings},
    inference::Model,
    provider::{Build, Health, ProviderDef, Setting, Status},
    rerank::{Ranking, RerankRequest},
};
use frontdesk_http::{Client, Upstream};
use frontdesk_wire::openai::{chat, error, splice};
use http::{Method, Uri};
use serde_json::Value;

pub use config::{Config, Offer, Rerank, Shape};
use frames::Reader;

/// The provider types of this crate.
pub const PROVIDERS: &[ProviderDef] = &[ProviderDef {
    kind: "openai",
    ogx_type: "remote::openai",
    about: "any server that speaks OpenAI's API: OpenAI, vLLM, Ollama, llama.cpp, Together, Groq, …",
    build: Build::Inference(build),
}];

fn build(setting: &Setting, config: Value) -> Result<Arc<dyn Inference>> {
    let config = Config::read(config)?;
    Ok(Arc::new(OpenAi::new(&setting.id, config)?))
}

/// One server that speaks OpenAI's API.
pub struct OpenAi {
    upstream: Upstream,
    config: Config,
    chat: Uri,
    completions: Uri,
    embeddings: Uri,
    rerank: Uri,
    models: Uri,
    /// By the server's own names, from its last list.
    windows: RwLock<HashMap<String, usize>>,
}

impl OpenAi {
    /// # Errors
    /// `Invalid` naming the configuration key.
    pub fn new(id: &str, config: Config) -> Result<Self> {
        let client = Client::new(config.limits());
        Self::with_client(id, config, client)
    }

    /// The same over a client that is already connected to the right place (a worker's Unix socket).
    ///
    /// # Errors
    /// `Invalid` naming the configuration key.
    pub fn with_client(id: &str, config: Config, client: Client) -> Result<Self> {
        let upstream = Upstream {
            id: id.to_owned(),
            client,
            headers: config.headers()?,
            dialect: Dialect::OpenaiChat,
            error: |id, said| error::from_response(id, said.status, said.body, said.retry_after),
            request_id: "x-request-id",
            max_event: config.max_event_bytes(),
            max_answer: config.max_answer_bytes(),
        };
        let (chat, completions) = (config.uri("chat/completions")?, config.uri("completions")?);
        let (embeddings, rerank, models) = (config.uri("embeddings")?, config.rerank_uri()?, config.uri("models")?);
        let windows = RwLock::default();
        Ok(Self { upstream, chat, completions, embeddings, rerank, models, windows, config })
    }

    /// Where a request goes whose bytes this server reads itself.
    fn native(&self, dialect: Dialect) -> Option<&Uri> {
        match dialect {
            Dialect::OpenaiChat => Some(&self.chat),
            Dialect::OpenaiCompletions => Some(&self.completions).filter(|_| self.config.completions),
            _ => None,
        }
    }
}

#[async_trait]
impl Inference for OpenAi {
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
        let stream = request.stream;
        let native = request.source().and_then(|source| Some((source, self.native(source.dialect)?)));
        let (dialect, uri, body) = match native {
            Some((source, uri)) => {
                let usage = stream && self.config.stream_usage;
                (source.dialect, uri, splice::for_upstream(source, &request.model, usage))
            }
            None => {
                let body = Bytes::from(chat::encode(&request.model, stream, request.chat()?));
                (Dialect::OpenaiChat, &self.chat, body)
            }
        };
        let answer = self.upstream.send(cx, Method::POST, uri, body).await?;
        let reader = Reader::new(&self.upstream.id, dialect, &request);
        let mut reply = self.upstream.reply(answer, request.model, stream, reader)?;
        reply.head.dialect = dialect;
        Ok(reply)
    }

    async fn embed(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        self.embeddings_of(cx, request).await
    }

    async fn rerank(&self, cx: &Cx, request: RerankRequest) -> Result<Ranking> {
        self.order_of(cx, request).await
    }

    async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
        if let Some(fixed) = &self.config.models {
            return Ok(fixed.iter().map(|own| Model { kind: own.kind, ..self.upstream.model(&own.id, 0) }).collect());
        }
        let body = self.upstream.fetch(cx, Method::GET, &self.models, Bytes::new()).await?;
        let list: Value = serde_json::from_slice(&body).map_err(|e| {
            Error::upstream(format!("provider '{}' sent a model list that is not JSON", self.upstream.id))
                .with_source(e)
        })?;
        let entries = list.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let model = |entry: &Value| {
            let created = entry.get("created").and_then(Value::as_i64).unwrap_or(0);
            Some(Model { kind: listed::kind(entry), ..self.upstream.model(entry.get("id")?.as_str()?, created) })
        };
        let sized = |entry: &Value| Some((entry.get("id")?.as_str()?.to_owned(), listed::window(entry)?));
        let windows = entries.iter().filter_map(sized).collect();
        *self.windows.write().unwrap_or_else(PoisonError::into_inner) = windows;
        Ok(entries.iter().filter_map(model).collect())
    }

    fn context_window(&self, model: &str) -> Option<usize> {
        self.windows.read().unwrap_or_else(PoisonError::into_inner).get(model).copied()
    }

    async fn health(&self) -> Health {
        match self.models(&Cx::internal("default", "health")).await {
            Ok(models) => Health { status: Status::Ok, message: Some(format!("{} models", models.len())), facts: None },
            Err(e) => Health { status: Status::Error, message: Some(e.message), facts: None },
        }
    }
}
