//! Rows put in order beside the work: turns that waited too long, sessions that stand still, what has expired.
//!
//! It has a task of its own, since a thousand turns may be overdue at once and each is a transaction: leases are renewed,
//! turns claimed and words heard meanwhile ([`crate::keeper`]). What stands still is counted beside it, so that the count
//! is no older for a long pass. Invariants: each end is one transaction that first takes its turn, so every process may
//! sweep; a stop ends a pass wherever it is, with one open transaction at most that writes.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use frontdesk_api::{
    Cx, Result,
    dispatch::Word,
    turn::{StepState, TurnState},
};
use frontdesk_store::claims;
use futures::future::join;
use tokio::time::{Interval, MissedTickBehavior};

use crate::{Room, close::close_rows, halt::failed, observe::INPUT_TIMEOUT};

impl Room {
    /// Sweeps and counts as often as leases are renewed, until the process stops.
    pub(crate) async fn sweep(self: Arc<Self>) {
        // On the heap: ending a turn holds its rows.
        let sweeps = Box::pin(async {
            let mut tick = self.tick();
            loop {
                tick.tick().await;
                self.pass().await;
            }
        });
        let counts = async {
            let mut tick = self.tick();
            loop {
                tick.tick().await;
                self.count().await;
            }
        };
        let _: Option<((), ())> = self.closed.run_until_cancelled(join(sweeps, counts)).await;
    }

    fn tick(&self) -> Interval {
        let mut tick = tokio::time::interval(self.deps.pace.renew);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick
    }

    async fn count(&self) {
        match self.deps.store.system().turns_standing().await {
            Ok(standing) => self.tally.looked(standing),
            Err(error) => tracing::debug!(error = %error, "the turns that stand still could not be counted"),
        }
    }

    async fn pass(&self) {
        if let Err(error) = self.deps.store.system().forget_expired_keys().await {
            tracing::warn!(error = %error, cause = ?error.source, "expired idempotency keys could not be deleted");
        }
        if let Err(error) = self.deps.store.system().purge_responses().await {
            tracing::warn!(error = %error, cause = ?error.source, "responses that are not to be stored could not be purged");
        }
        if let Err(error) = self.unstick().await {
            tracing::warn!(error = %error, cause = ?error.source, "sessions that stand still could not be looked for");
        }
        if let Err(error) = self.end_overdue().await {
            tracing::warn!(error = %error, cause = ?error.source, "turns that waited too long could not be ended");
        }
    }

    async fn end_overdue(&self) -> Result<()> {
        let mut overdue = self.deps.store.system().overdue_turns().await?;
        begin_elsewhere(&self.owner, &mut overdue);
        for (tenant, turn) in overdue {
            // The others do not wait for one whose rows cannot be read.
            if let Err(error) = self.end_waited(&tenant, &turn).await {
                tracing::warn!(turn, error = %error, cause = ?error.source, "a turn that waited too long could not be ended");
            }
        }
        Ok(())
    }

    async fn end_waited(&self, tenant: &str, turn: &str) -> Result<()> {
        let cx = Cx::internal(tenant, "keeper");
        if self.cancel_questions(&cx, turn).await? {
            self.tell(Word::Claimable).await;
            return Ok(());
        }
        let mut tx = self.deps.store.tenant(&cx).write().await?;
        let Some(stored) = claims::take_overdue(&mut tx, turn).await? else { return Ok(()) };
        let waited = failed(INPUT_TIMEOUT, "the turn waited too long for input; send the message again");
        let closed = close_rows(&mut tx, self, stored, StepState::Failed, TurnState::Incomplete, waited).await?;
        tx.commit().await?;
        self.note_ended(&cx, closed).await;
        Ok(())
    }
}

/// Processes that find the same turns begin at different ones, and do not wait for each other at every row.
fn begin_elsewhere<T>(owner: &str, found: &mut [T]) {
    let mut hasher = DefaultHasher::new();
    owner.hash(&mut hasher);
    let places = u64::try_from(found.len()).unwrap_or(u64::MAX);
    let from = hasher.finish().checked_rem(places).unwrap_or(0);
    found.rotate_left(usize::try_from(from).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::begin_elsewhere;

    #[test]
    fn every_process_comes_to_all_and_few_begin_at_the_same() {
        let mut first = BTreeSet::new();
        for process in 0..10 {
            let mut found: Vec<u32> = (0..1000).collect();
            begin_elsewhere(&format!("worker_{process}"), &mut found);
            first.insert(found[0]);
            found.sort_unstable();
            assert_eq!(found, (0..1000).collect::<Vec<_>>());
        }
        assert!(first.len() > 5, "{first:?}");
        begin_elsewhere::<u32>("worker_0", &mut []);
    }
}
