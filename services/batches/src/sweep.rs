//! Results of messages are deleted when their time is over; the batch itself stays, and says so.
//!
//! Every process looks; what two find is deleted once. Invariants: a transaction is short, whatever there is to delete;
//! a batch counts as cleared only when it has no line any more.

use std::time::Duration;

use frontdesk_api::{Cx, Result};

use crate::{Batches, batch::MESSAGES, keeper::micros};

/// How often old results are looked for, from the start on.
pub(crate) const LOOK: Duration = Duration::from_secs(3600);

/// Lines of one transaction.
const LINES: i64 = 500;

/// Batches looked for at a time.
const BATCHES: i64 = 20;

impl Batches {
    /// Deletes the results whose time is over, until there is none left or the room is closing.
    pub(crate) async fn sweep(&self) {
        let Some(keep) = self.0.pace.keep_results else { return };
        match self.0.closing.run_until_cancelled(self.clear(keep)).await {
            None | Some(Ok(0)) => {}
            Some(Ok(batches)) => tracing::info!(batches, "results of batches were deleted, their time was over"),
            Some(Err(error)) => {
                tracing::warn!(%error, cause = ?error.source, "old results of batches could not be deleted; they are looked for again");
            }
        }
    }

    async fn clear(&self, keep: Duration) -> Result<usize> {
        let Self(inner) = self;
        let (store, mut cleared) = (&inner.store, 0);
        loop {
            let now = inner.clock.now();
            // Over all tenants: one process clears for all of them.
            let old = store.system().uncleared_jobs(MESSAGES, now.saturating_sub(micros(keep)), BATCHES).await?;
            if old.is_empty() {
                return Ok(cleared);
            }
            for (tenant, id) in old {
                let cx = Cx::internal(tenant, "batch");
                let tenant = store.tenant(&cx);
                while tenant.delete_some_lines(&id, LINES).await? > 0 {}
                tenant.note_job_cleared(&id, now).await?;
                cleared += 1;
            }
        }
    }
}
