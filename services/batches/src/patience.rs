//! Waiting for contents that cannot be reached: a batch that was answered is not lost because its files cannot be
//! kept now.
//!
//! Invariant: it waits as long as that takes, held by this process, and each try counts as getting on.

use std::time::Duration;

use frontdesk_api::{Error, Kind, Result, blobs::DAMAGED};
use futures::future::BoxFuture;

use crate::work::{Next, Work};

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl Work {
    /// Asks until what is wrong has passed. `Err`: the batch is another's by now, or this process is stopping.
    ///
    /// # Errors
    /// Those that do not pass; the database's.
    pub(crate) async fn patiently<T>(
        &mut self,
        wrong: &str,
        ask: impl Fn() -> BoxFuture<'static, Result<T>>,
    ) -> Result<Result<T, Next>> {
        let (batches, signals) = (self.batches.clone(), self.signals.clone());
        let inner = &batches.0;
        let mut wait = inner.pace.patience;
        loop {
            let asked = tokio::select! {
                biased;
                () = signals.lost.cancelled() => return Ok(Err(Next::Lost)),
                () = inner.cut.cancelled() => return Ok(Err(Next::GiveBack)),
                asked = ask() => asked,
            };
            let error = match asked {
                Err(error) if passes(&error) => error,
                done => return done.map(Ok),
            };
            tracing::warn!(error = %error, cause = ?error.source, wait_s = wait.as_secs(), "a batch waits: {wrong}");
            let Some(tx) = self.write().await? else { return Ok(Err(Next::Lost)) };
            tx.commit().await?;
            tokio::select! {
                biased;
                () = signals.lost.cancelled() => return Ok(Err(Next::Lost)),
                () = inner.closing.cancelled() => return Ok(Err(Next::GiveBack)),
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

fn passes(error: &Error) -> bool {
    error.code.as_deref() != Some(DAMAGED)
        && matches!(error.kind, Kind::Upstream | Kind::Unavailable | Kind::Timeout | Kind::RateLimited)
}
