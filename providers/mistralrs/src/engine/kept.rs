//! Prefixes that the engine keeps on a CPU, and how it is made to let go of them.
//!
//! After each answer mistral.rs 0.8.1 keeps its keys and values for prompts that begin alike, which spares an agent's next
//! turn most of its prompt (BENCHMARKS.md). It counts only those on a GPU against its limit: on a CPU it keeps all, for
//! ever (`prefix_cacher.rs`, `evict_caches`). The one way in which it lets go of them is a failed step, so one is made:
//! a token that no vocabulary has. Invariant: on a CPU at most the configured number of answers is kept.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use mistralrs::{NormalRequest, Request, RequestMessage, SamplingParams};
use tokio::sync::mpsc;
use tracing::Subscriber;
use tracing_subscriber::{Layer, filter::dynamic_filter_fn};

use super::model::LoadedModel;

/// A token that is looked up beyond the end of every vocabulary. The largest number of all would stand for an empty
/// row (candle 0.10, `index_select`) and fail nothing.
const NO_TOKEN: u32 = u32::MAX - 1;

/// Models that fail on purpose now: what is said meanwhile is not for the log.
static LETTING_GO: AtomicUsize = AtomicUsize::new(0);

/// Answers kept since the engine let go of all.
pub(crate) struct Kept {
    /// None where the engine keeps count itself, or keeps none.
    most: Option<usize>,
    now: AtomicUsize,
}

impl Kept {
    pub(crate) fn new(most: Option<usize>) -> Self {
        Self { most, now: AtomicUsize::new(0) }
    }
}

/// Passes what the engine says, but for failures that were asked for.
pub(crate) fn filter<S: Subscriber>() -> impl Layer<S> {
    dynamic_filter_fn(|metadata, _| !(LETTING_GO.load(Relaxed) > 0 && metadata.target().starts_with("mistralrs")))
}

impl LoadedModel {
    /// An answer has ended. Call it with the seat in hand: a step that fails takes all running sequences with it.
    pub(crate) async fn keeps_one_more(&self) {
        let full = self.kept.most.is_some_and(|most| self.kept.now.fetch_add(1, Relaxed) + 1 >= most);
        if full {
            self.lets_go_of_prefixes().await;
        }
    }

    /// Makes the engine let go of all that it keeps, where it does not keep count itself.
    pub(crate) async fn lets_go_of_prefixes(&self) {
        if self.kept.most.is_none() {
            return;
        }
        self.kept.now.store(0, Relaxed);
        let (response, mut failed) = mpsc::channel(2);
        let sampling = SamplingParams { max_len: Some(1), ..SamplingParams::deterministic() };
        let nonsense = RequestMessage::CompletionTokens(vec![NO_TOKEN]);
        let id = self.engine.inner().next_request_id();
        let request = NormalRequest::new_simple(nonsense, sampling, response, id, None, None);
        LETTING_GO.fetch_add(1, Relaxed);
        if self.send(Request::Normal(Box::new(request))).await {
            let heard = async { while failed.recv().await.is_some() {} };
            self.in_time(heard).await;
        }
        LETTING_GO.fetch_sub(1, Relaxed);
    }
}
