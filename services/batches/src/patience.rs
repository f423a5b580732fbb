//! Contents that cannot be reached now: the batch is put aside and tried again, since what was answered is not lost
//! because its files cannot be kept.
//!
//! Invariants: one that was put aside has no place, no lease and no memory here, only a time in its row; each try
//! counts as getting on; between two tries it hears that it is to stop, and that its time is over.

use std::time::Duration;

use frontdesk_api::{Error, Kind, Result, blobs::DAMAGED};
use frontdesk_store::jobs;
use tokio::time::Instant;

use crate::{
    JobState,
    keeper::micros,
    work::{Next, Work},
};

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Why a try came to nothing.
pub(crate) enum Without {
    /// What is wrong will pass, and the batch is not this task's any more for now.
    Yet(Next),
    /// It is not tried again: the batch was cancelled, or it waited for too long.
    GivenUp { ending: JobState, error: Error },
}

impl Work {
    /// Asks once, and puts the batch aside where what is wrong will pass. `late`: how long beyond the batch's time it
    /// is tried.
    ///
    /// # Errors
    /// Those that do not pass; the database's.
    pub(crate) async fn patiently<T>(
        &mut self,
        wrong: &str,
        late: Duration,
        ask: impl Future<Output = Result<T>>,
    ) -> Result<Result<T, Without>> {
        let batches = self.batches.clone();
        let inner = &batches.0;
        let asked = tokio::select! {
            biased;
            () = self.signals.lost.cancelled() => return Ok(Err(Without::Yet(Next::Lost))),
            () = inner.cut.cancelled() => return Ok(Err(Without::Yet(Next::GiveBack))),
            asked = ask => asked,
        };
        let error = match asked {
            Err(error) if passes(&error) => error,
            done => {
                self.progress.waits = 0;
                return done.map(Ok);
            }
        };
        let wait = inner.pace.patience.saturating_mul(1 << self.progress.waits.min(16)).min(LONGEST_WAIT);
        self.progress.waits = self.progress.waits.saturating_add(1);
        let Some(mut tx) = self.write().await? else { return Ok(Err(Without::Yet(Next::Lost))) };
        let since = self.late + Instant::now().saturating_duration_since(self.until);
        let ending = match () {
            // One that was ended by its cancel keeps the answers it has, and tries as long as others do.
            () if self.signals.cancel.is_cancelled() && self.progress.ending != Some(JobState::Cancelled) => {
                Some(JobState::Cancelled)
            }
            () if Instant::now() >= self.until && since >= late => Some(JobState::Expired),
            () => None,
        };
        if let Some(ending) = ending {
            return Ok(Err(Without::GivenUp { ending, error }));
        }
        tracing::warn!(error = %error, cause = ?error.source, wait_s = wait.as_secs(), "a batch waits: {wrong}");
        jobs::put_aside(&mut tx, self.id(), micros(wait)).await?;
        tx.commit().await?;
        Ok(Err(Without::Yet(Next::PutAside)))
    }
}

/// Also where a place refuses: an operator mends a key or a bucket.
fn passes(error: &Error) -> bool {
    error.code.as_deref() != Some(DAMAGED)
        && matches!(error.kind, Kind::Upstream | Kind::Unavailable | Kind::Timeout | Kind::RateLimited)
}
