//! Every OpenAI-compatible server: OpenAI itself, vLLM, Ollama, llama.cpp, Together, Groq, and our own engine.
//!
//! A request that came in this dialect goes on as the bytes the client sent, with the model's name (and
//! the wish for usage) spliced in; the answer's bytes come back untouched with events decoded beside them.
//! Invariant: nothing is buffered beyond one event.

mod config;
mod frames;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use frontdesk_api::{
    ChatReply, ChatRequest, Cx, Error, Inference, Result,
    chat::{Dialect, ReplyHead},
    inference::{Model, ModelKind},
    provider::{Build, Health, ProviderDef, Setting, Status},
};
use frontdesk_http::{Answer, Client};
use frontdesk_wire::openai::{chat, error, splice};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use serde_json::Value;

pub use config::Config;

/// The provider types of this crate.
pub const PROVIDERS: &[ProviderDef] = &[ProviderDef {
    kind: "openai",
    ogx_type: "remote::openai",
    about: "any server that speaks OpenAI's API: OpenAI, vLLM, Ollama, llama.cpp, Together, Groq, …",
    build: Build::Inference(build),
}];

/// The most of an error body that is read, in bytes.
const ERROR_BODY: usize = 64 * 1024;

fn build(setting: &Setting, config: Value) -> Result<Arc<dyn Inference>> {
    let config = Config::read(config)?;
    Ok(Arc::new(OpenAi::new(&setting.id, config)?))
}

/// One server that speaks OpenAI's API.
pub struct OpenAi {
    id: String,
    client: Client,
    config: Config,
    chat: Uri,
    models: Uri,
    headers: HeaderMap,
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
        Ok(Self {
            id: id.to_owned(),
            client,
            chat: config.uri("chat/completions")?,
            models: config.uri("models")?,
            headers: config.headers()?,
            windows: RwLock::default(),
            config,
        })
    }

    async fn send(&self, cx: &Cx, method: Method, uri: &Uri, body: Bytes) -> Result<Answer> {
        let mut headers = self.headers.clone();
        if !body.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(Ok(trace)) = cx.traceparent.as_deref().map(HeaderValue::from_str) {
            headers.insert("traceparent", trace);
        }
        let mut answer = self.client.send(cx, method, uri, headers, body).await.map_err(|e| self.named(e))?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let retry_after = answer.header("retry-after").and_then(|v| v.trim().parse().ok());
        let body = answer.body.whole(ERROR_BODY).await.unwrap_or_default();
        Err(error::from_response(&self.id, answer.status.as_u16(), &body, retry_after))
    }

    /// Puts the provider's id before a transport error.
    fn named(&self, mut e: Error) -> Error {
        if e.kind != frontdesk_api::Kind::Cancelled {
            e.message = format!("provider '{}': {}", self.id, e.message);
        }
        e
    }
}

#[async_trait]
impl Inference for OpenAi {
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
        let stream = request.stream;
        let body = match request.source() {
            Some(source) if source.dialect == Dialect::OpenaiChat => {
                splice::for_upstream(&source.bytes, &request.model, stream && self.config.stream_usage)?
            }
            _ => Bytes::from(chat::encode(&request.model, stream, request.chat()?)),
        };
        let answer = self.send(cx, Method::POST, &self.chat, body).await?;
        let kind = answer.header("content-type").unwrap_or_default().to_ascii_lowercase();
        let streaming = kind.starts_with("text/event-stream");
        if streaming != stream || (!stream && !kind.contains("json")) {
            let want = if stream { "an event stream" } else { "JSON" };
            let got = if kind.is_empty() { "no content type" } else { &kind };
            return Err(Error::upstream(format!(
                "provider '{}' answered with {got} where {want} was asked for",
                self.id
            )));
        }
        let head = ReplyHead {
            provider: self.id.clone(),
            model: request.model.clone(),
            dialect: Dialect::OpenaiChat,
            streaming,
            upstream_request: answer.header("x-request-id").map(str::to_owned),
        };
        let limit = self.config.max_answer_bytes();
        let frames = if streaming {
            frames::stream(self.id.clone(), answer.body, request.wants_events, self.config.max_event_bytes())
        } else {
            frames::whole(self.id.clone(), answer.body, request.wants_events, limit)
        };
        Ok(ChatReply { head, frames })
    }

    async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
        if let Some(fixed) = &self.config.models {
            return Ok(fixed.iter().map(|id| self.model(id, 0)).collect());
        }
        let mut answer = self.send(cx, Method::GET, &self.models, Bytes::new()).await?;
        let body = answer.body.whole(self.config.max_answer_bytes()).await?;
        let list: Value = serde_json::from_slice(&body).map_err(|e| {
            Error::upstream(format!("provider '{}' sent a model list that is not JSON", self.id)).with_source(e)
        })?;
        let entries = list.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let model = |entry: &Value| {
            let created = entry.get("created").and_then(Value::as_i64).unwrap_or(0);
            Some(self.model(entry.get("id")?.as_str()?, created))
        };
        let sized = |entry: &Value| Some((entry.get("id")?.as_str()?.to_owned(), window(entry)?));
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

impl OpenAi {
    fn model(&self, upstream_id: &str, created: i64) -> Model {
        Model {
            id: format!("{}/{upstream_id}", self.id),
            provider: self.id.clone(),
            upstream_id: upstream_id.to_owned(),
            kind: ModelKind::Llm,
            created,
            description: None,
        }
    }
}

/// Tokens that a model of a server's list takes, where the list says it: `max_model_len` (vLLM, our own engine),
/// `context_length` (OpenRouter, Together), `context_window` (Groq). OpenAI's own list does not.
fn window(entry: &Value) -> Option<usize> {
    let said = ["max_model_len", "context_length", "context_window"].iter().find_map(|key| entry.get(key)?.as_u64());
    said.and_then(|tokens| usize::try_from(tokens).ok()).filter(|tokens| *tokens > 0)
}
