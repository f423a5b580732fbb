//! What is kept is deleted when its time is over.
//!
//! Every process looks, at its start and every hour; a row that two find is deleted once. Invariant: a transaction is
//! short, whatever there is to delete.

use std::{sync::Arc, time::Duration};

use frontdesk_api::{Clock, Result};
use frontdesk_store::Store;
use tokio::time::{MissedTickBehavior, interval};

/// How often.
const LOOK: Duration = Duration::from_secs(3600);

/// Rows of one transaction.
const BATCH: i64 = 500;

pub(super) struct Sweep {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    /// How long a completion is kept.
    pub(super) keep: Duration,
}

impl Sweep {
    /// Never ends.
    pub(super) async fn run(self) {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            match self.once().await {
                Ok(0) => {}
                Ok(gone) => tracing::info!(gone, "stored chat completions were deleted, their time is over"),
                Err(error) => {
                    tracing::warn!(%error, cause = ?error.source, "old chat completions could not be deleted; they are looked for again");
                }
            }
        }
    }

    /// Deletes what is too old; how many.
    pub(super) async fn once(&self) -> Result<u64> {
        let keep = i64::try_from(self.keep.as_micros()).unwrap_or(i64::MAX);
        let before = self.clock.now().saturating_sub(keep);
        let mut gone = 0;
        loop {
            let some = self.store.system().delete_old_completions(before, BATCH).await?;
            gone += some;
            if some < BATCH.unsigned_abs() {
                return Ok(gone);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use frontdesk_api::{Cx, clock::FixedClock};
    use frontdesk_store::completions::StoredCompletion;

    use super::*;

    #[tokio::test]
    async fn whatever_its_number_what_is_older_than_is_kept_goes() {
        let store = Store::temporary().await.expect("a store");
        let tenant = frontdesk_store::StoredTenant { id: "t".into(), name: "t".into(), created_at: 0 };
        store.system().ensure_tenant(&tenant).await.expect("a tenant");
        let row = |n: i64| StoredCompletion {
            tenant: "t".into(),
            id: format!("c{n:04}"),
            created_at: n,
            asked: "m".into(),
            model: "m".into(),
            messages: "[]".into(),
            answer: "{}".into(),
            metadata: "{}".into(),
        };
        let rows: Vec<_> = (0..1203).map(row).collect();
        store.system().keep_completions(&rows).await.expect("kept");
        // A millisecond is kept, and it is now 2.2 of them.
        let clock = Arc::new(FixedClock::at(2200));
        let sweep = Sweep { store: store.clone(), clock, keep: Duration::from_millis(1) };
        assert_eq!(sweep.once().await.expect("swept"), 1200);
        let cx = Cx::internal("t", "r");
        assert!(store.tenant(&cx).load_completion("c1199").await.is_err());
        assert!(store.tenant(&cx).load_completion("c1200").await.is_ok(), "just as old as is kept");
    }
}
