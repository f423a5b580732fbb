//! What every provider offers now, asked once and kept for a while.
//!
//! A provider that is down is left out and does not hold up the others.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use frontdesk_api::{Cx, Inference, inference::Model};
use futures::future::join_all;
use tokio::sync::Mutex;

/// Longest wait for one provider's list.
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) struct Catalog {
    keep: Duration,
    seen: Mutex<Option<(Instant, Arc<[Model]>)>>,
}

impl Catalog {
    pub(crate) fn new(keep: Duration) -> Self {
        Self { keep, seen: Mutex::new(None) }
    }

    /// Callers that arrive while the lists are fetched wait for that one fetch. A fetch in which a provider
    /// failed is not kept: it may be back a moment later.
    pub(crate) async fn models(&self, cx: &Cx, providers: &BTreeMap<String, Arc<dyn Inference>>) -> Arc<[Model]> {
        let mut seen = self.seen.lock().await;
        if let Some((at, models)) = &*seen
            && at.elapsed() < self.keep
        {
            return Arc::clone(models);
        }
        let lists = join_all(providers.iter().map(async |(id, provider)| {
            match tokio::time::timeout(PATIENCE, provider.models(cx)).await {
                Ok(Ok(models)) => Some(models),
                Ok(Err(e)) => {
                    tracing::warn!(provider = id, error = %e, "cannot list the models of a provider");
                    None
                }
                Err(_) => {
                    tracing::warn!(provider = id, "a provider did not list its models in time");
                    None
                }
            }
        }))
        .await;
        let complete = lists.iter().all(Option::is_some);
        let models: Arc<[Model]> = lists.into_iter().flatten().flatten().collect();
        *seen = complete.then(|| (Instant::now(), Arc::clone(&models)));
        models
    }
}
