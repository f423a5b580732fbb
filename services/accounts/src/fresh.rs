//! Keeping the table true: what other gateways changed comes in, when keys were used goes out.

use std::{sync::PoisonError, time::Duration};

use frontdesk_api::{Micros, Result, cx::CancellationToken};
use tokio::time::{MissedTickBehavior, interval};

use crate::Accounts;

/// How old, at most, this gateway's knowledge of keys is that another gateway changed.
pub const FRESH_EVERY: Duration = Duration::from_secs(3);

/// Every this many rounds uses are written and the whole table is read again, in case the database's
/// clock was set back and changes were dated before the newest one known.
const THOROUGH_EVERY: u32 = 20;

/// A change is dated inside its transaction and seen after it: look back further than any of those lasts.
const LOOK_BACK: Micros = 60_000_000;

/// Uses in one transaction; on SQLite nobody else writes meanwhile.
const BATCH: usize = 500;

impl Accounts {
    /// Works until cancelled, then writes the last uses. Run it beside the server.
    pub async fn keep_fresh(&self, stop: CancellationToken) {
        let mut rounds = interval(FRESH_EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = 0;
        while stop.run_until_cancelled(rounds.tick()).await.is_some() {
            round += 1;
            let thorough = round % THOROUGH_EVERY == 0;
            // A SQLite file has one gateway, which knows what it did itself.
            if self.shared_database() {
                let refreshed = if thorough { self.take_in(0).await } else { self.refresh().await };
                if let Err(error) = refreshed {
                    tracing::warn!(%error, "API keys that other gateways made or revoked are not seen for now");
                }
            }
            if thorough {
                self.note_or_warn().await;
            }
        }
        self.note_or_warn().await;
    }

    /// Takes in every change of a key since the last call.
    ///
    /// # Errors
    /// As the store; the table stays as it was.
    pub async fn refresh(&self) -> Result<()> {
        let seen = *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.take_in(seen.saturating_sub(LOOK_BACK)).await
    }

    async fn take_in(&self, since: Micros) -> Result<()> {
        let changes = self.0.store.system().keys_changed(since).await?;
        let newest = changes.last().map_or(since, |change| change.changed_at);
        for change in changes {
            self.0.table.put(change);
        }
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = newest.max(*seen);
        Ok(())
    }

    /// Writes when keys were last used, as far as the database does not know yet.
    ///
    /// # Errors
    /// As the store; what was not written is tried again.
    pub async fn note_uses(&self) -> Result<()> {
        let uses = self.0.table.used();
        for batch in uses.chunks(BATCH) {
            self.0.store.system().keys_used(batch).await?;
            self.0.table.noted(batch);
        }
        Ok(())
    }

    async fn note_or_warn(&self) {
        if let Err(error) = self.note_uses().await {
            tracing::warn!(%error, "when API keys were last used is not written for now");
        }
    }
}
