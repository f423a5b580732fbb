//! Google's Gemini models, for clients of any dialect: through the Gemini API or through Vertex AI, whose wire is the
//! same and whose addresses and credentials are others.
//!
//! Every request is written anew and every answer decoded: no client of this house speaks Gemini's dialect.
//! docs/providers/gemini.md says what maps and what does not.

mod account;
mod config;
mod embed;
mod frames;
mod models;
mod place;

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use frontdesk_api::{
    ChatReply, ChatRequest, Clock, Cx, Error, Ids, Inference, Result,
    chat::{Chat, Dialect},
    embed::{EmbedRequest, Embeddings},
    inference::{Counted, Model},
    provider::{Build, Health, ProviderDef, Setting, Status},
};
use frontdesk_http::{Answer, Client, Offer, Upstream};
use frontdesk_wire::{
    anthropic::request::decode_with_thinking,
    gemini::{answer, calls, error, request},
};
use http::{HeaderMap, HeaderName, Method, Uri, header};
use serde_json::{Map, Value, json};

use account::Account;
pub use config::{Config, Vertex};
use frames::Reader;
use models::{PAGES, Page};
use place::Place;

/// The provider types of this crate.
pub const PROVIDERS: &[ProviderDef] = &[ProviderDef {
    kind: "gemini",
    ogx_type: "remote::gemini",
    about: "Google's Gemini models, by the Gemini API or Vertex AI",
    build: Build::Inference(build),
}];

/// Members of a request that Vertex AI's `countTokens` takes (API reference, "countTokens").
const COUNTED: [&str; 4] = ["contents", "systemInstruction", "tools", "generationConfig"];

fn build(setting: &Setting, config: Value) -> Result<Arc<dyn Inference>> {
    let config = Config::read(config)?;
    Ok(Arc::new(Gemini::new(&setting.id, config, setting.clock.clone(), setting.ids.clone())?))
}

/// A server that speaks Gemini's API.
pub struct Gemini {
    upstream: Upstream,
    models: Option<Vec<Offer>>,
    place: Place,
    account: Option<Account>,
    ids: Arc<dyn Ids>,
    /// Largest prompts in tokens, by the server's own names, from its last list.
    windows: RwLock<HashMap<String, usize>>,
}

impl Gemini {
    /// `clock`: when a service account's token ends. `ids`: for the calls that Gemini does not name.
    ///
    /// # Errors
    /// `Invalid` naming the configuration key.
    pub fn new(id: &str, config: Config, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<Self> {
        let key_file = config.vertex.as_ref().and_then(|vertex| vertex.service_account.as_deref());
        let account = key_file.map(|text| Account::read(id, text, clock)).transpose()?;
        let upstream = Upstream {
            id: id.to_owned(),
            client: Client::new(config.limits()),
            headers: config.headers()?,
            client_key: config.client_keys.of(id, HeaderName::from_static("x-goog-api-key"), ""),
            dialect: Dialect::Gemini,
            error: |id, said| error::from_response(id, said.status, said.body, said.retry_after),
            request_id: "x-request-id",
            max_event: config.max_event_kb * 1024,
            max_answer: config.max_answer_kb * 1024,
        };
        let place = Place::of(&config)?;
        Ok(Self { upstream, place, account, ids, models: config.models, windows: RwLock::default() })
    }

    async fn send(&self, cx: &Cx, method: Method, uri: &Uri, body: Bytes) -> Result<Answer> {
        let mut more = HeaderMap::new();
        if let Some(account) = &self.account {
            more.insert(header::AUTHORIZATION, account.bearer(cx).await?);
        }
        self.upstream.send_with(cx, method, uri, &more, body).await
    }

    async fn fetch(&self, cx: &Cx, method: Method, uri: &Uri, body: Bytes) -> Result<Bytes> {
        let answer = self.send(cx, method, uri, body).await?;
        self.upstream.whole(answer).await
    }

    /// What `countTokens` is sent: the whole request, as far as it is counted.
    fn counted(&self, model: &str, mut request: Map<String, Value>) -> Value {
        if self.place.is_vertex() {
            request.retain(|name, _| COUNTED.contains(&name.as_str()));
            return Value::Object(request);
        }
        request.insert("model".into(), model.into());
        json!({ "generateContentRequest": request })
    }
}

/// What is asked; of a client that speaks Anthropic's API with its `thinking`, which Gemini's models know too.
fn told(asked: &ChatRequest) -> Result<Cow<'_, Chat>> {
    match asked.source().filter(|source| source.dialect == Dialect::AnthropicMessages) {
        Some(source) => decode_with_thinking(&source.bytes).map(Cow::Owned),
        None => asked.chat().map(Cow::Borrowed),
    }
}

#[async_trait]
impl Inference for Gemini {
    async fn chat(&self, cx: &Cx, asked: ChatRequest) -> Result<ChatReply> {
        let chat = told(&asked)?;
        let model = self.place.model(&asked.model)?;
        let method = if asked.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        let uri = self.place.uri(&format!("{model}:{method}"))?;
        let body = Value::Object(request::encode(&asked.model, &chat)?).to_string();
        let one_call = chat.parallel_tool_calls == Some(false);
        let decoder = answer::Answer::new(self.ids.next(calls::MADE), one_call);
        let reader = Reader::new(&self.upstream.id, asked.wants_preamble, decoder);
        let answer = self.send(cx, Method::POST, &uri, Bytes::from(body)).await?;
        self.upstream.reply(answer, asked.model, asked.stream, reader)
    }

    async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
        if let Some(fixed) = &self.models {
            return Ok(fixed.iter().map(|own| Model { kind: own.kind, ..self.upstream.model(&own.id, 0) }).collect());
        }
        let mut entries = vec![];
        let mut next = Some(Page::first());
        for _ in 0..PAGES {
            let Some(path) = next else { break };
            let body = self.fetch(cx, Method::GET, &self.place.uri(&path)?, Bytes::new()).await?;
            let page = Page::read(&self.upstream.id, &body)?;
            next = page.next();
            entries.extend(page.offered());
        }
        let windows = entries.iter().filter_map(|(entry, _)| Some((entry.id().to_owned(), entry.input_token_limit?)));
        *self.windows.write().unwrap_or_else(PoisonError::into_inner) = windows.collect();
        Ok(entries.iter().map(|(entry, kind)| Model { kind: *kind, ..self.upstream.model(entry.id(), 0) }).collect())
    }

    async fn embed(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        self.vectors_of(cx, request).await
    }

    async fn count_tokens(&self, cx: &Cx, asked: ChatRequest) -> Result<Option<Counted>> {
        let model = self.place.model(&asked.model)?;
        let uri = self.place.uri(&format!("{model}:countTokens"))?;
        let chat = told(&asked)?;
        let body = self.counted(&model, request::encode(&asked.model, &chat)?).to_string();
        let counted = self.fetch(cx, Method::POST, &uri, Bytes::from(body)).await?;
        let counted: Value = serde_json::from_slice(&counted).unwrap_or_default();
        counted.get("totalTokens").and_then(Value::as_u64).map(|tokens| Some(tokens.into())).ok_or_else(|| {
            Error::upstream(format!("provider '{}' sent something that is not a count of tokens", self.upstream.id))
        })
    }

    /// The prompt's limit: the answer's stands beside it, so a prompt that fits leaves the answer its room.
    fn context_window(&self, model: &str) -> Option<usize> {
        self.windows.read().unwrap_or_else(PoisonError::into_inner).get(model).copied().filter(|tokens| *tokens > 0)
    }

    async fn health(&self) -> Health {
        let cx = Cx::internal("default", "health");
        let signed_in = match &self.account {
            Some(account) => account.bearer(&cx).await.map(drop),
            None => Ok(()),
        };
        let listed = match signed_in {
            Ok(()) => self.models(&cx).await,
            Err(e) => Err(e),
        };
        match listed {
            Ok(models) => Health { status: Status::Ok, message: Some(format!("{} models", models.len())), facts: None },
            Err(e) => Health { status: Status::Error, message: Some(e.message), facts: None },
        }
    }
}
