//! Anthropic's cloud, for clients of any dialect.
//!
//! A request that came as a Messages request goes on as the bytes the client sent, with the model's name spliced
//! in, and the answer's bytes come back untouched; any other is written anew and its answer decoded.
//! docs/providers/anthropic.md says what maps and what does not.

mod config;
mod frames;
mod models;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use frontdesk_api::{
    ChatReply, ChatRequest, Cx, Error, Inference, Result,
    chat::{Dialect, Source},
    inference::{Counted, Model},
    provider::{Build, Health, ProviderDef, Setting, Status},
};
use frontdesk_http::{Answer, Client, Upstream};
use frontdesk_wire::{
    anthropic::{outbound_answer, outbound_error, outbound_request},
    openai::splice,
};
use http::{HeaderName, Method, Uri};
use serde_json::{Map, Value};

pub use config::Config;
use frames::Reader;
use models::{PAGE, PAGES, Page};

/// The provider types of this crate.
pub const PROVIDERS: &[ProviderDef] = &[ProviderDef {
    kind: "anthropic",
    ogx_type: "remote::anthropic",
    about: "Anthropic's API: Claude models",
    build: Build::Inference(build),
}];

/// Members of a Messages request that counting its tokens does not take (API reference, "Count tokens").
const NOT_COUNTED: [&str; 8] =
    ["max_tokens", "metadata", "service_tier", "stop_sequences", "stream", "temperature", "top_k", "top_p"];

fn build(setting: &Setting, config: Value) -> Result<Arc<dyn Inference>> {
    let config = Config::read(config)?;
    Ok(Arc::new(Anthropic::new(&setting.id, config)?))
}

/// A server that speaks Anthropic's API.
pub struct Anthropic {
    upstream: Upstream,
    config: Config,
    messages: Uri,
    count: Uri,
    /// By the server's own names, from its last list.
    sizes: RwLock<HashMap<String, Sizes>>,
}

/// What a model takes and gives, in tokens.
#[derive(Clone, Copy)]
struct Sizes {
    window: Option<usize>,
    answer: Option<u32>,
}

impl Anthropic {
    /// # Errors
    /// `Invalid` naming the configuration key.
    pub fn new(id: &str, config: Config) -> Result<Self> {
        let upstream = Upstream {
            id: id.to_owned(),
            client: Client::new(config.limits()),
            headers: config.headers()?,
            client_key: config.client_keys.of(id, HeaderName::from_static("x-api-key"), ""),
            dialect: Dialect::AnthropicMessages,
            error: |id, said| outbound_error::from_response(id, said.status, said.body, said.retry_after),
            request_id: "request-id",
            max_event: config.max_event_kb * 1024,
            max_answer: config.max_answer_kb * 1024,
        };
        let (messages, count) = (config.uri("messages")?, config.uri("messages/count_tokens")?);
        Ok(Self { upstream, messages, count, sizes: RwLock::default(), config })
    }

    fn sizes(&self, model: &str) -> Option<Sizes> {
        self.sizes.read().unwrap_or_else(PoisonError::into_inner).get(model).copied()
    }

    /// Asks, with what `request` says of the API's version and features where its dialect is this one.
    async fn send(&self, cx: &Cx, request: &ChatRequest, uri: &Uri, body: Bytes) -> Result<Answer> {
        let chosen = self.config.chosen(if own(request).is_some() { &request.headers } else { &[] })?;
        self.upstream.send_with(cx, Method::POST, uri, &chosen, body).await
    }

    /// The body for upstream, written anew.
    fn written(&self, request: &ChatRequest) -> Result<Bytes> {
        let most = self.sizes(&request.model).and_then(|sizes| sizes.answer).unwrap_or(u32::MAX);
        let bound = self.config.max_tokens.min(most);
        Ok(Bytes::from(outbound_request::encode(&request.model, request.stream, request.chat()?, bound)?))
    }
}

/// What the client sent, where that is a Messages request.
fn own(request: &ChatRequest) -> Option<&Source> {
    request.source().filter(|source| source.dialect == Dialect::AnthropicMessages)
}

#[async_trait]
impl Inference for Anthropic {
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
        let body = match own(&request) {
            Some(source) => splice::for_upstream(source, &request.model, false),
            None => self.written(&request)?,
        };
        let answer = self.send(cx, &request, &self.messages, body).await?;
        let reader = Reader::new(&self.upstream.id, &request);
        self.upstream.reply(answer, request.model, request.stream, reader)
    }

    async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
        if let Some(fixed) = &self.config.models {
            return Ok(fixed.iter().map(|id| self.upstream.model(id, 0)).collect());
        }
        let mut entries = vec![];
        let mut next = Some(format!("models?limit={PAGE}"));
        for _ in 0..PAGES {
            let Some(path) = next else { break };
            let (uri, chosen) = (self.config.uri(&path)?, self.config.chosen(&[])?);
            let answer = self.upstream.send_with(cx, Method::GET, &uri, &chosen, Bytes::new()).await?;
            let body = self.upstream.whole(answer).await?;
            let page = Page::read(&self.upstream.id, &body)?;
            next = page.next();
            entries.extend(page.data);
        }
        let sizes = |e: &models::Entry| (e.id.clone(), Sizes { window: e.max_input_tokens, answer: e.max_tokens });
        *self.sizes.write().unwrap_or_else(PoisonError::into_inner) = entries.iter().map(sizes).collect();
        Ok(entries.iter().map(|entry| self.upstream.model(&entry.id, entry.created())).collect())
    }

    async fn count_tokens(&self, cx: &Cx, request: ChatRequest) -> Result<Option<Counted>> {
        let body = match own(&request) {
            Some(source) => splice::for_upstream(source, &request.model, false),
            None => {
                let mut body: Map<String, Value> = serde_json::from_slice(&self.written(&request)?)
                    .map_err(|e| Error::internal("reading a request of our own", e))?;
                body.retain(|name, _| !NOT_COUNTED.contains(&name.as_str()));
                Bytes::from(Value::Object(body).to_string())
            }
        };
        let answer = self.send(cx, &request, &self.count, body).await?;
        let raw = self.upstream.whole(answer).await?;
        let tokens = outbound_answer::counted(&raw).ok_or_else(|| {
            Error::upstream(format!("provider '{}' sent something that is not a count of tokens", self.upstream.id))
        })?;
        Ok(Some(Counted { tokens, raw: Some((Dialect::AnthropicMessages, raw)) }))
    }

    fn context_window(&self, model: &str) -> Option<usize> {
        self.sizes(model)?.window.filter(|tokens| *tokens > 0)
    }

    async fn health(&self) -> Health {
        match self.models(&Cx::internal("default", "health")).await {
            Ok(models) => Health { status: Status::Ok, message: Some(format!("{} models", models.len())), facts: None },
            Err(e) => Health { status: Status::Error, message: Some(e.message), facts: None },
        }
    }
}
