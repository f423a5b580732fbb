//! Amazon Bedrock: every model that answers its Converse API, for clients of any dialect, and models of Amazon's and
//! Cohere's that embed texts or put documents in order.
//!
//! A request is written anew, signed with the operator's keys (or sent with a Bedrock API key), and its answer decoded.
//! docs/providers/bedrock.md says what maps and what does not.
//! Invariant: a model's name is one segment of the path, whatever it holds.

mod config;
mod frames;
mod invoke;
mod lent;
mod models;
mod sign;

use std::{borrow::Cow, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use frontdesk_api::{
    ChatReply, ChatRequest, Clock, Cx, Error, Inference, Result,
    chat::{Chat, Dialect},
    embed::{EmbedRequest, Embeddings},
    inference::{Counted, Model},
    provider::{Build, Health, ProviderDef, Setting, Status},
    rerank::{Ranking, RerankRequest},
};
use frontdesk_http::{Answer, Client, Upstream};
use frontdesk_wire::{
    anthropic::request::decode_for_claude,
    bedrock::{error, request},
};
use http::{HeaderMap, Method, Uri};
use serde_json::{Map, Value};

pub use config::{Config, Guardrail};
use frames::Reader;
use lent::Lent;
pub use lent::{Credentials, Lender};
use models::{FOUNDATION, Foundation, PAGES, Profiles};
use sign::Keys;

/// The provider types of this crate.
pub const PROVIDERS: &[ProviderDef] = &[ProviderDef {
    kind: "bedrock",
    ogx_type: "remote::bedrock",
    about: "Amazon Bedrock: models of many makers in an AWS account",
    build: Build::Inference(build),
}];

fn build(setting: &Setting, config: Value) -> Result<Arc<dyn Inference>> {
    let config = Config::read(config)?;
    Ok(Arc::new(Bedrock::new(&setting.id, config, setting.clock.clone())?))
}

/// Bedrock Runtime of one region.
pub struct Bedrock {
    upstream: Upstream,
    config: Config,
    signs: Signs,
    clock: Arc<dyn Clock>,
}

/// With what requests are signed.
enum Signs {
    /// Nothing: the headers carry the credentials.
    Nothing,
    Own(Arc<Keys>),
    Lent(Box<Lent>),
}

impl Signs {
    fn of(id: &str, config: &Config, clock: &Arc<dyn Clock>) -> Result<Self> {
        if config.is_unsigned() {
            return Ok(Self::Nothing);
        }
        match (config.keys()?, &config.credentials) {
            (Some(keys), _) => Ok(Self::Own(Arc::new(keys))),
            (None, Some(lender)) => Ok(Self::Lent(Box::new(Lent::new(id, &config.region, lender, clock.clone())?))),
            (None, None) => Ok(Self::Nothing),
        }
    }

    async fn keys(&self, cx: &Cx) -> Result<Option<Arc<Keys>>> {
        match self {
            Self::Nothing => Ok(None),
            Self::Own(keys) => Ok(Some(keys.clone())),
            Self::Lent(lent) => lent.keys(cx).await.map(Some),
        }
    }
}

impl Bedrock {
    /// `clock` dates signatures: AWS refuses those that are off by more than five minutes.
    ///
    /// # Errors
    /// `Invalid` naming the configuration key.
    pub fn new(id: &str, config: Config, clock: Arc<dyn Clock>) -> Result<Self> {
        let upstream = Upstream {
            id: id.to_owned(),
            client: Client::new(config.limits()),
            headers: config.headers()?,
            client_key: None,
            dialect: Dialect::BedrockConverse,
            error: |id, said| {
                let named = said.headers.get("x-amzn-errortype").and_then(|v| v.to_str().ok());
                error::from_response(id, said.status, named, said.body, said.retry_after)
            },
            request_id: "x-amzn-requestid",
            max_event: config.max_event_kb * 1024,
            max_answer: config.max_answer_kb * 1024,
        };
        // A bad address is told at the start.
        config.runtime("")?;
        config.control("")?;
        Ok(Self { upstream, signs: Signs::of(id, &config, &clock)?, clock, config })
    }

    /// An operation on a model.
    fn uri(&self, model: &str, operation: &str) -> Result<Uri> {
        let unknown = || Error::not_found(format!("'{model}' is not the name of a model"));
        // A segment of dots would lead to another path.
        if model.chars().all(|c| c == '.') {
            return Err(unknown());
        }
        self.config.runtime(&format!("model/{}/{operation}", sign::encoded(model))).map_err(|_| unknown())
    }

    async fn send(&self, cx: &Cx, method: Method, uri: &Uri, body: Bytes) -> Result<Answer> {
        let signature = match self.signs.keys(cx).await? {
            Some(keys) => keys.sign(self.clock.now(), &method, uri, &self.upstream.headers, &body)?,
            None => HeaderMap::new(),
        };
        self.upstream.send_with(cx, method, uri, &signature, body).await
    }

    async fn fetch(&self, cx: &Cx, method: Method, uri: &Uri, body: Bytes) -> Result<Bytes> {
        let answer = self.send(cx, method, uri, body).await?;
        self.upstream.whole(answer).await
    }

    fn written(&self, request: &ChatRequest) -> Result<Map<String, Value>> {
        let mut body = request::encode(&request.model, &*asked(request)?)?;
        if let Some(guardrail) = &self.config.guardrail {
            body.insert("guardrailConfig".into(), guardrail.wire());
        }
        Ok(body)
    }

    async fn discovered(&self, cx: &Cx) -> Result<Vec<String>> {
        let id = &self.upstream.id;
        let body = self.fetch(cx, Method::GET, &self.config.control(FOUNDATION)?, Bytes::new()).await?;
        let models: Foundation = models::read(id, &body)?;
        let mut profiles = vec![];
        let mut next = None;
        for _ in 0..PAGES {
            let uri = self.config.control(&models::profiles(next.as_deref()))?;
            let body = self.fetch(cx, Method::GET, &uri, Bytes::new()).await?;
            let page: Profiles = models::read(id, &body)?;
            profiles.extend(page.inference_profile_summaries);
            next = page.next_token;
            if next.is_none() {
                break;
            }
        }
        Ok(models::names(&models.model_summaries, &profiles))
    }
}

/// What is asked. Of a client that speaks Anthropic's API and asks one of Claude's models, with what both know and others
/// do not: signed thoughts, `thinking`, marks for the prompt cache.
fn asked(request: &ChatRequest) -> Result<Cow<'_, Chat>> {
    let anthropic = request.source().filter(|source| source.dialect == Dialect::AnthropicMessages);
    match anthropic.filter(|_| request.model.contains("claude")) {
        Some(source) => decode_for_claude(&source.bytes).map(Cow::Owned),
        None => request.chat().map(Cow::Borrowed),
    }
}

#[async_trait]
impl Inference for Bedrock {
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
        let body = Bytes::from(Value::Object(self.written(&request)?).to_string());
        let uri = self.uri(&request.model, if request.stream { "converse-stream" } else { "converse" })?;
        let answer = self.send(cx, Method::POST, &uri, body).await?;
        let reader = Reader::new(&self.upstream.id, &request);
        self.upstream.reply(answer, request.model, request.stream, reader)
    }

    async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
        let mut names = self.config.models.clone();
        if self.config.discover {
            let found = self.discovered(cx).await?;
            names.extend(found.into_iter().filter(|name| !self.config.models.contains(name)));
        }
        let model = |name: &String| Model { kind: invoke::kind(name), ..self.upstream.model(name, 0) };
        Ok(names.iter().map(model).collect())
    }

    async fn embed(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        self.vectors_of(cx, request).await
    }

    async fn rerank(&self, cx: &Cx, request: RerankRequest) -> Result<Ranking> {
        self.order_of(cx, request).await
    }

    async fn count_tokens(&self, cx: &Cx, request: ChatRequest) -> Result<Option<Counted>> {
        let body = Bytes::from(request::to_count(self.written(&request)?).to_string());
        let uri = self.uri(&request.model, "count-tokens")?;
        let counted = self.fetch(cx, Method::POST, &uri, body).await?;
        let counted: Value = serde_json::from_slice(&counted).unwrap_or_default();
        counted.get("inputTokens").and_then(Value::as_u64).map(|tokens| Some(tokens.into())).ok_or_else(|| {
            Error::upstream(format!("provider '{}' sent something that is not a count of tokens", self.upstream.id))
        })
    }

    async fn health(&self) -> Health {
        match self.models(&Cx::internal("default", "health")).await {
            Ok(models) => Health { status: Status::Ok, message: Some(format!("{} models", models.len())), facts: None },
            Err(e) => Health { status: Status::Error, message: Some(e.message), facts: None },
        }
    }
}
