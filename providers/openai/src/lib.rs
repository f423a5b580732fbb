//! Every OpenAI-compatible server: OpenAI itself, Azure, vLLM, Ollama, llama.cpp, Together, Groq, and our own engine.
//!
//! A request that came in one of its dialects (chats, text completions, embeddings, reranking) goes on as the bytes
//! the client sent, with the model's name (and the wish for usage) spliced in; the answer's bytes come back untouched
//! with their meaning decoded beside them.
//! Invariant: only the members named in `wire::openai::splice` and in a row of `preset`, and ids that carry what another
//! maker signed (`wire::thoughts`), are ever changed in a client's bytes.

mod config;
mod count;
mod frames;
mod listed;
mod place;
pub mod preset;
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
    inference::{Counted, Model},
    provider::{Build, Health, ProviderDef, Setting, Status},
    rerank::{Ranking, RerankRequest},
};
use frontdesk_http::{Client, Upstream};
use frontdesk_wire::{
    openai::{chat, error, splice},
    thoughts,
};
use http::{Method, Uri};
use serde_json::Value;

pub use config::{Config, Rerank, Shape, base_url};
pub use count::Counts;
use frames::Reader;
use place::Place;
use preset::Preset;

/// The provider types of this crate.
pub const PROVIDERS: &[ProviderDef] = &[ProviderDef {
    kind: "openai",
    ogx_type: "remote::openai",
    about: "any server that speaks OpenAI's API: OpenAI, Azure, vLLM, Ollama, llama.cpp, Together, Groq, …",
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
    chat: Place,
    completions: Place,
    embeddings: Place,
    /// How and where it counts tokens; None: it does not.
    counts: Option<(Counts, Uri)>,
    rerank: Uri,
    models: Uri,
    /// By the server's own names, of those in its last list.
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
            client_key: config.client_key(id),
            dialect: Dialect::OpenaiChat,
            error: |id, said| error::from_response(id, said.status, said.body, said.retry_after),
            request_id: "x-request-id",
            max_event: config.max_event_bytes(),
            max_answer: config.max_answer_bytes(),
        };
        let (chat, completions) = (Place::of(&config, "chat/completions")?, Place::of(&config, "completions")?);
        let embeddings = Place::of(&config, "embeddings")?;
        let counts = config.preset.counts.map(|how| Ok((how, how.uri(&config)?))).transpose()?;
        let (rerank, models) = (config.rerank_uri()?, config.uri("models")?);
        let windows = RwLock::default();
        Ok(Self { upstream, chat, completions, embeddings, counts, rerank, models, windows, config })
    }

    /// The server itself: for what one of ours answers beside OpenAI's API.
    #[must_use]
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Sends a chat as [`Inference::chat`] would to another address of the server; its answer whole.
    ///
    /// # Errors
    /// As [`Upstream::fetch`].
    pub async fn beside(&self, cx: &Cx, uri: &Uri, request: &ChatRequest) -> Result<Bytes> {
        let (_, _, body) = self.outgoing(request)?;
        self.upstream.fetch(cx, Method::POST, uri, body).await
    }

    /// Where a request goes whose bytes this server reads itself.
    fn native(&self, dialect: Dialect) -> Option<&Place> {
        match dialect {
            Dialect::OpenaiChat => Some(&self.chat),
            Dialect::OpenaiCompletions => Some(&self.completions).filter(|_| self.config.completions),
            _ => None,
        }
    }

    /// The dialect in which a chat is asked for, where, and in which words.
    fn outgoing(&self, request: &ChatRequest) -> Result<(Dialect, &Place, Bytes)> {
        let native = request.source().and_then(|source| Some((source, self.native(source.dialect)?)));
        let (dialect, place, body) = match native {
            Some((source, place)) => {
                let usage = request.stream && self.config.stream_usage;
                (source.dialect, place, thoughts::without(&splice::for_upstream(source, &request.model, usage)))
            }
            None => (Dialect::OpenaiChat, &self.chat, self.written(request)?),
        };
        let preset = self.config.preset;
        Ok((dialect, place, splice::reshaped(&body, preset.renamed, preset.dropped)))
    }

    /// A chat that was not sent in a dialect of this server's, written anew.
    fn written(&self, request: &ChatRequest) -> Result<Bytes> {
        let body = Bytes::from(chat::encode(&request.model, request.stream, request.chat()?));
        let dropped: &[&str] = if self.config.stream_usage { &[] } else { &["stream_options"] };
        Ok(splice::reshaped(&body, self.config.preset.written, dropped))
    }
}

#[async_trait]
impl Inference for OpenAi {
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
        let stream = request.stream;
        let (dialect, place, body) = self.outgoing(&request)?;
        let answer = self.upstream.send(cx, Method::POST, &*place.uri(&request.model)?, body).await?;
        let reader = Reader::new(&self.upstream.id, dialect, &request, self.config.preset.errors_inside);
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
        let entries = listed::entries(&list).ok_or_else(|| {
            Error::upstream(format!(
                "provider '{}' sent no list of models: is its address right? 'models' in its configuration names them",
                self.upstream.id
            ))
        })?;
        let model = |entry: &Value| {
            let created = entry.get("created").and_then(Value::as_i64).unwrap_or(0);
            Some(Model { kind: listed::kind(entry), ..self.upstream.model(entry.get("id")?.as_str()?, created) })
        };
        let vendor = Preset::at(&self.config.base_url);
        let sized = |entry: &Value| {
            let id = entry.get("id")?.as_str()?;
            Some((id.to_owned(), listed::window(entry).or_else(|| (vendor.window)(id))?))
        };
        let windows = entries.iter().filter_map(sized).collect();
        *self.windows.write().unwrap_or_else(PoisonError::into_inner) = windows;
        Ok(entries.iter().filter_map(model).collect())
    }

    async fn count_tokens(&self, cx: &Cx, request: ChatRequest) -> Result<Option<Counted>> {
        self.counted(cx, &request).await
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

#[cfg(test)]
mod tests {
    use frontdesk_api::chat::{Chat, Message, Role};
    use frontdesk_wire::{
        openai::{completions, embeddings, peek},
        rerank,
    };
    use serde_json::json;

    use super::*;

    /// What vendors' own packages sent (tests/presets/record.py); each row names its package and version.
    const RECORDED: &str = include_str!("../tests/presets/sdk.json");
    /// What servers' own sources read (tests/presets/accepted.py); each row names its source and version.
    const ACCEPTED: &str = include_str!("../tests/presets/servers.json");

    fn provider(mut config: Value, preset: &str) -> OpenAi {
        config["preset"] = preset.into();
        config["api_key"] = "recorded.key".into();
        OpenAi::new("up", Config::read(config).expect("a good configuration")).expect("a provider")
    }

    fn read(body: &Bytes) -> Value {
        serde_json::from_slice(body).expect("JSON")
    }

    /// What would be sent where for a client of OpenAI's that asks for `kind` with these members.
    fn sent(up: &OpenAi, kind: &str, asked: &Value) -> (Value, String) {
        let bytes = Bytes::from(asked.to_string());
        let (place, body) = match kind {
            "embeddings" => {
                let request = embeddings::request(bytes).expect("a good request");
                (&up.embeddings, splice::for_upstream(request.source().expect("its bytes"), "m", false))
            }
            kind => {
                let read = if kind == "completions" { completions::request::request } else { peek::request };
                let mut request = read(bytes).expect("a good request");
                request.model = "m".into();
                let (_, place, body) = up.outgoing(&request).expect("a request");
                (place, body)
            }
        };
        (read(&body), place.uri("m").expect("an address").to_string())
    }

    #[test]
    fn a_client_of_openais_reaches_a_vendor_as_the_vendors_own_sdk_does() {
        let rows: Vec<Value> = serde_json::from_str(RECORDED).expect("JSON");
        assert_eq!(rows.len(), 45);
        for row in rows {
            let (name, kind) = (row["preset"].as_str().expect("a name"), row["ask"].as_str().expect("a kind"));
            let up = provider(row["config"].clone(), name);
            let mut asked = match kind {
                "embeddings" => json!({ "input": ["hi"] }),
                "completions" => json!({ "prompt": "hi", "temperature": 0.5, "seed": 7, "max_tokens": 5 }),
                _ => json!({ "messages": [{ "role": "user", "content": "hi" }],
                    "temperature": 0.5, "seed": 7, "max_completion_tokens": 5 }),
            };
            asked["model"] = "up/m".into();
            for member in ["stream", "encoding_format"] {
                if let Some(value) = row["body"].get(member) {
                    asked[member] = value.clone();
                }
            }
            if kind == "stream" {
                asked["stream_options"] = json!({ "include_usage": true });
            }
            let mut want = row["body"].clone();
            if kind == "stream" && ["fireworks", "groq", "together"].contains(&name) {
                // Their SDKs cannot ask for it, so of this member there is no witness.
                want["stream_options"] = asked["stream_options"].clone();
            }
            let url = row["url"].as_str().and_then(|url| url.split('#').next()).expect("an address");
            assert_eq!(sent(&up, kind, &asked), (want, url.to_owned()), "{name}, {kind}");
            let header = |name: &str| up.upstream.headers.get(name).map(|value| value.to_str().expect("text"));
            if name == "azure" {
                // Microsoft's curl examples send it so for both kinds of addresses.
                assert_eq!((header("api-key"), header("authorization")), (Some("recorded.key"), None));
            } else {
                assert_eq!(header("authorization"), row["key"]["authorization"].as_str(), "{name}");
            }
        }
    }

    #[test]
    fn a_server_knows_every_member_of_what_it_is_sent_and_listens_there() {
        let rows: Vec<Value> = serde_json::from_str(ACCEPTED).expect("JSON");
        assert_eq!(rows.len(), 4);
        let sampled = json!({ "model": "up/m", "temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["."],
            "frequency_penalty": 0.1, "presence_penalty": 0.1, "stream": true, "stream_options": { "include_usage": true } });
        for row in rows {
            let name = row["preset"].as_str().expect("a name");
            let up = provider(json!({ "base_url": "http://h:1" }), name);
            for (kind, known) in row["members"].as_object().expect("kinds") {
                let mut asked = sampled.clone();
                let (body, url) = match kind.as_str() {
                    "rerank" if up.config.rerank_shape() == Shape::Tei => {
                        (read(&rerank::encode_tei("q", &["a".into()])), up.rerank.to_string())
                    }
                    "rerank" => (json!({ "model": "m", "query": "q", "documents": ["a"] }), up.rerank.to_string()),
                    "count" => {
                        let (how, uri) = up.counts.as_ref().expect("it counts");
                        asked["messages"] = json!([{ "role": "user", "content": "hi" }]);
                        asked["tools"] = json!([{ "type": "function", "function": { "name": "f" } }]);
                        let mut request = peek::request(asked.to_string().into()).expect("a good request");
                        (request.model, request.stream) = ("m".into(), false);
                        (read(&up.to_count(*how, &request).expect("a request")), uri.to_string())
                    }
                    "embeddings" => {
                        let asked = json!({ "model": "up/m", "input": ["a"], "encoding_format": "float" });
                        sent(&up, kind, &asked)
                    }
                    "completions" => {
                        (asked["prompt"], asked["max_tokens"]) = ("hi".into(), 5.into());
                        sent(&up, kind, &asked)
                    }
                    kind => {
                        asked["messages"] = json!([{ "role": "user", "content": "hi" }]);
                        (asked["max_completion_tokens"], asked["tools"]) = (5.into(), json!([]));
                        sent(&up, kind, &asked)
                    }
                };
                let known = known.as_array().expect("names");
                let strange: Vec<_> = body
                    .as_object()
                    .expect("an object")
                    .keys()
                    .filter(|&member| !known.contains(&json!(member)))
                    .collect();
                assert!(strange.is_empty(), "{name} does not know {strange:?} of {kind}");
                let path = url.strip_prefix("http://h:1").expect("the server's");
                assert!(row["paths"].as_array().expect("paths").contains(&json!(path)), "{name}: {path}");
            }
        }
    }

    #[test]
    fn what_is_written_anew_bounds_the_answer_in_the_servers_words() {
        let chat = || Chat {
            messages: vec![Message::text(Role::User, "hi")],
            max_tokens: Some(5),
            seed: Some(7),
            ..Chat::default()
        };
        for (preset, config, bound, seed, usage) in [
            ("openai", json!({}), "max_completion_tokens", "seed", true),
            ("azure", json!({ "base_url": "https://r" }), "max_completion_tokens", "seed", true),
            ("mistral", json!({}), "max_tokens", "random_seed", false),
            ("deepseek", json!({}), "max_tokens", "seed", true),
            ("ollama", json!({}), "max_tokens", "seed", true),
            ("vllm", json!({ "stream_usage": false }), "max_tokens", "seed", false),
        ] {
            let up = provider(config, preset);
            let (_, _, body) = up.outgoing(&ChatRequest::typed("m", chat())).expect("a request");
            let mut want = json!({ "model": "m", "stream": true, "messages": [{ "role": "user", "content": "hi" }] });
            (want[bound], want[seed]) = (json!(5), json!(7));
            if usage {
                want["stream_options"] = json!({ "include_usage": true });
            }
            assert_eq!(read(&body), want, "{preset}");
        }
    }
}
