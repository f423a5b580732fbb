//! A gateway in the test's own process: SQLite in a temporary folder, a fixed clock, counted ids, and
//! a model that says what the test wants.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode, request::Builder},
};
use bytes::Bytes;
use frontdesk_accounts::Pepper;
use frontdesk_api::{
    ChatReply, ChatRequest, Cx, Effort, Frame, Inference, Result,
    chat::{Dialect, ReplyHead},
    clock::FixedClock,
    id::CountingIds,
    inference::{Model, ModelKind},
};
use frontdesk_store::Store;
use futures::StreamExt;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::{
    app::{App, Part, Provider},
    config,
    http::{prefix::Prefixed, router},
    wiring::{Built, Host, assemble},
};

/// 2026-11-24T03:48:21Z.
const NOW: i64 = 1_795_492_101_000_000;

/// The admin key of every test gateway.
pub(crate) const ADMIN: &str = "frontdesk-tests-admin-key";

pub(crate) struct TestGateway {
    pub(crate) app: App,
    router: Prefixed,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {:?}", self.body))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// Status and body, for snapshots.
    pub(crate) fn shown(&self) -> String {
        match serde_json::from_slice::<Value>(&self.body) {
            Ok(json) => format!("{}\n{}", self.status.as_u16(), serde_json::to_string_pretty(&json).expect("JSON")),
            Err(_) => format!("{}\n{}", self.status.as_u16(), self.text()),
        }
    }
}

impl TestGateway {
    /// The default configuration, and a provider `up` with the model `up/echo` that answers `inference`'s way.
    pub(crate) async fn start(inference: impl Inference + 'static) -> Self {
        Self::configured("models: [ { id: default, targets: [ { model: up/echo } ] } ]", inference).await
    }

    pub(crate) async fn configured(yaml: &str, inference: impl Inference + 'static) -> Self {
        let config = config::parse(yaml, &|_| None).expect("a good configuration");
        let host = Host {
            clock: Arc::new(FixedClock::at(NOW)),
            ids: Arc::new(CountingIds::default()),
            program: "frontdesk".into(),
            runtime_dir: "run".into(),
        };
        let inference = Arc::new(inference) as Arc<dyn Inference>;
        let mut built = Built {
            inference: BTreeMap::from([("up".to_owned(), Arc::clone(&inference))]),
            ..Built::of(&config, &host).expect("providers build")
        };
        if !built.providers.iter().any(|provider| provider.id == "up") {
            let part = Part::Inference(inference);
            built.providers.push(Provider { api: "inference", id: "up".into(), ogx_type: "test", part });
        }
        let store = Store::temporary().await.expect("a temporary store");
        let app = assemble(config, &host, store, Pepper::draw().expect("a pepper"), built).await.expect("the services");
        app.accounts.ensure_admin(Some(ADMIN)).await.expect("the admin key");
        Self { router: router(app.clone()), app }
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("the router never fails");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// The answer with its body unread.
    pub(crate) async fn begin(&self, request: Request<Body>) -> axum::response::Response {
        self.router.clone().oneshot(request).await.expect("the router never fails")
    }

    /// With the admin key.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path).body(Body::empty()).expect("a request")).await
    }

    /// With the admin key.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string()).await
    }

    /// With the admin key; the body need not be JSON.
    pub(crate) async fn post_text(&self, path: &str, body: &str) -> Answer {
        let request = self.request("POST", path).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_owned())).expect("a request")).await
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Builder {
        Request::builder().method(method).uri(path).header("authorization", format!("Bearer {ADMIN}"))
    }
}

/// A provider that answers every chat with the same frames.
pub(crate) struct Frames {
    pub(crate) streaming: bool,
    pub(crate) frames: fn() -> Vec<Result<Frame>>,
}

impl Frames {
    /// One JSON body.
    pub(crate) fn whole() -> Self {
        Self { streaming: false, frames: || vec![Ok(frame(r#"{"id":"c1","choices":[],"x_vendor":{"kept":true}}"#))] }
    }
}

/// A frame of these bytes.
pub(crate) fn frame(raw: &'static str) -> Frame {
    Frame { raw: Bytes::from_static(raw.as_bytes()), ..Frame::default() }
}

#[async_trait]
impl Inference for Frames {
    async fn chat(&self, _: &Cx, request: ChatRequest) -> Result<ChatReply> {
        // Panics on purpose where a test asks for it by the model's name.
        assert_ne!(request.model, "panic", "asked to");
        if request.model != "echo" {
            return Err(frontdesk_api::Error::not_found(format!("up has no model '{}'", request.model))
                .with_code("model_not_found"));
        }
        let head = ReplyHead {
            provider: "up".into(),
            model: request.model,
            dialect: Dialect::OpenaiChat,
            streaming: self.streaming,
            upstream_request: None,
            effort: Effort::default(),
            reuse: None,
        };
        Ok(ChatReply { head, frames: futures::stream::iter((self.frames)()).boxed() })
    }

    async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
        Ok(vec![Model {
            id: "up/echo".into(),
            provider: "up".into(),
            upstream_id: "echo".into(),
            kind: ModelKind::Llm,
            created: 7,
            description: None,
        }])
    }
}
