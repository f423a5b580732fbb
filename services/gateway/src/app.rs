//! What every handler can reach: the services, built once in `wiring.rs`.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
    time::Duration,
};

use frontdesk_accounts::Accounts;
use frontdesk_agents::Agents;
use frontdesk_api::{
    Blobs, Clock, Ids, Inference,
    cx::CancellationToken,
    provider::{Health, Status},
};
use frontdesk_batches::Batches;
use frontdesk_inference::Registered;
use frontdesk_ledger::Ledger;
use frontdesk_memory::Knowledge;
use frontdesk_safety::Shields;
use frontdesk_store::Store;
use frontdesk_tools::Registry;
use tokio::net::TcpListener;

use crate::{
    config::Config,
    http::{docs::Document, mcp::Calls, prefix::Prefixed, room::Room},
    lanes::Lanes,
    server,
    stored::Stored,
    telemetry::Telemetry,
};

/// How long before the end of the drain turns, lines of batches, and files on their way into knowledge stores are
/// stopped.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long a provider may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// Every model behind one address, and metered.
    pub inference: Arc<dyn Inference>,
    /// The models that tenants registered; they answer through `inference`.
    pub models: Registered,
    /// How the targets of its routes are.
    pub router: Arc<frontdesk_inference::Router>,
    pub ledger: Ledger,
    pub safety: Arc<Shields>,
    pub tools: Arc<Registry>,
    pub knowledge: Knowledge,
    pub agents: Agents,
    /// Calls under way that came over MCP.
    pub mcp: Calls,
    pub batches: Batches,
    /// Every configured provider, for `/v1/providers` and `doctor`.
    pub providers: Vec<Provider>,
    /// Memory that uploads may take.
    pub uploads: Room,
    /// Memory that large bodies may take, from their first byte until their answer begins.
    pub bodies: Room,
    /// Chat completions that clients want kept.
    pub stored: Stored,
    pub telemetry: Telemetry,
    /// Whether any provider takes clients' own keys.
    pub takes_client_keys: bool,
    /// Whether any route keeps or shares answers.
    pub reuses_answers: bool,
    pub document: OnceLock<Document>,
}

/// A configured provider as people see it.
pub struct Provider {
    /// Llama Stack's name of what it does: `inference`, `tool_runtime`, `vector_io`, `safety`, `files`.
    pub api: &'static str,
    pub id: String,
    /// As OGX names it (`remote::openai`).
    pub ogx_type: &'static str,
    pub part: Part,
}

/// Who can say how a provider is.
pub enum Part {
    Inference(Arc<dyn Inference>),
    Files(Arc<dyn Blobs>),
    /// It has no state of its own that could fail.
    Stateless,
}

impl Provider {
    /// How it is; one that does not say within `PATIENCE` is not well.
    pub async fn health(&self) -> Health {
        self.health_within(PATIENCE).await
    }

    async fn health_within(&self, patience: Duration) -> Health {
        let asked = async {
            match &self.part {
                Part::Inference(inference) => inference.health().await,
                Part::Files(blobs) => blobs.health().await,
                Part::Stateless => Health::default(),
            }
        };
        tokio::time::timeout(patience, asked).await.unwrap_or_else(|_| {
            let message = format!("no answer within {patience:?}; is its address right and reachable from here?");
            Health { status: Status::Error, message: Some(message), facts: None }
        })
    }
}

impl App {
    #[must_use]
    pub fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Serves until `stop` resolves; then requests and turns in flight may end within `limits.drain_s`.
    pub async fn serve(&self, listener: TcpListener, router: Prefixed, lanes: &Lanes, stop: impl Future<Output = ()>) {
        let (limits, told) = (&self.config.limits, CancellationToken::new());
        // Turns are stopped a little before their streams are, so that a stream can still say so.
        let grace = Duration::from_secs(limits.drain_s).saturating_sub(LAST_WORDS);
        let stopped = async {
            stop.await;
            told.cancel();
        };
        let turns = async {
            told.cancelled().await;
            self.agents.shutdown(grace).await;
        };
        let files = async {
            told.cancelled().await;
            self.knowledge.shutdown(grace).await;
        };
        let batches = async {
            told.cancelled().await;
            self.batches.shutdown(grace).await;
        };
        tokio::join!(
            server::serve(listener, router, limits, lanes, &self.telemetry.connections, stopped),
            turns,
            files,
            batches
        );
    }

    /// The OpenAPI document, built on first use.
    pub fn document(&self) -> &Document {
        self.0.document.get_or_init(Document::of_routes)
    }
}

impl Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use frontdesk_api::{ChatReply, ChatRequest, Cx, Error, Result, inference::Model};

    use super::*;

    /// Takes every question and answers none.
    struct Hangs;

    #[async_trait]
    impl Inference for Hangs {
        async fn chat(&self, _: &Cx, _: ChatRequest) -> Result<ChatReply> {
            Err(Error::unavailable("never asked"))
        }

        async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
            Ok(vec![])
        }

        async fn health(&self) -> Health {
            std::future::pending().await
        }
    }

    #[tokio::test]
    async fn a_provider_that_does_not_say_how_it_is_holds_nobody_up() {
        let part = Part::Inference(Arc::new(Hangs));
        let provider = Provider { api: "inference", id: "up".into(), ogx_type: "test", part };
        let health = provider.health_within(Duration::from_millis(10)).await;
        assert_eq!(health.status, Status::Error);
        assert!(health.message.expect("words").starts_with("no answer within 10ms;"));
    }
}
