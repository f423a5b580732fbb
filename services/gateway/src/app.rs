//! What every handler can reach: the services, built once in `wiring.rs`.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use frontdesk_accounts::Accounts;
use frontdesk_api::{Clock, Ids, Inference, provider::Health};
use frontdesk_memory::Knowledge;
use frontdesk_safety::Shields;
use frontdesk_store::Store;

use crate::{config::Config, http::docs::Document};

/// Shared by all requests; clones are cheap.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// The services and what they stand on.
pub struct Inner {
    pub config: Config,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub store: Store,
    pub accounts: Accounts,
    pub inference: Arc<dyn Inference>,
    pub safety: Arc<Shields>,
    pub knowledge: Knowledge,
    /// Every configured provider, for `/v1/providers` and `doctor`.
    pub providers: Vec<Provider>,
    pub document: OnceLock<Document>,
}

/// A configured provider as people see it.
pub struct Provider {
    /// Llama Stack's name of what it does: `inference`, `tool_runtime`, `vector_io`, `safety`.
    pub api: &'static str,
    pub id: String,
    /// As OGX names it (`remote::openai`).
    pub ogx_type: &'static str,
    /// Who can say how it is; None: it has no state of its own that could fail.
    pub inference: Option<Arc<dyn Inference>>,
}

impl Provider {
    pub async fn health(&self) -> Health {
        match &self.inference {
            Some(inference) => inference.health().await,
            None => Health::default(),
        }
    }
}

impl App {
    #[must_use]
    pub fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The OpenAPI document, built on first use.
    pub fn document(&self) -> &Document {
        self.0.document.get_or_init(|| Document::of(self))
    }
}

impl Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}
