//! The sweep: clears contents that no row names.
//!
//! A file was deleted, an upload was refused, or the process that wrote a content died. Every gateway looks, each
//! finding is claimed by one. Invariant: only what can never be kept again is cleared, and its row goes after it.

use frontdesk_api::{Cx, Result, cx::CancellationToken, provider::Status};
use frontdesk_store::{Dialect, blobs::Loose};
use futures::StreamExt as _;
use tokio::time::{MissedTickBehavior, interval};

use crate::Shelf;

/// Contents claimed at a time.
const BATCH: i64 = 50;

/// Contents cleared at once.
const AT_ONCE: usize = 4;

impl Shelf {
    /// Says what is wrong with the places, then clears from now on what nobody names, until `closing`. Call once. On
    /// SQLite no other process can be writing, so what an earlier one was writing is cleared at once.
    ///
    /// # Errors
    /// As the database's.
    pub(crate) async fn recover(&self, closing: CancellationToken) -> Result<()> {
        if self.0.store.dialect() == Dialect::Sqlite {
            self.0.store.system().end_blob_leases().await?;
        }
        let shelf = self.clone();
        tokio::spawn(async move { closing.run_until_cancelled(shelf.keep()).await });
        Ok(())
    }

    /// Never ends.
    async fn keep(&self) {
        self.inspect().await;
        let mut tick = interval(self.0.pace.look);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.0.wake.notified() => {}
            }
            if let Err(error) = self.sweep().await {
                tracing::warn!(error = %error, cause = ?error.source, "contents that nobody names could not be looked for");
            }
        }
    }

    /// Tells the log which places cannot be used, and of which the configuration has lost sight.
    async fn inspect(&self) {
        let holdings = self.0.store.system().holdings().await.unwrap_or_default();
        for (id, place) in &self.0.places {
            let Some(place) = place else { continue };
            // One without contents is made ready for its first: a volume may be mounted until then.
            let used = holdings.iter().any(|holding| holding.place == *id);
            if used && let Err(error) = self.ready(id, place.as_ref()).await {
                tracing::error!(store = id, "files cannot be kept or read: {error}");
                continue;
            }
            let health = place.health().await;
            if health.status == Status::Error {
                tracing::error!(store = id, "files cannot be kept or read: {}", health.message.unwrap_or_default());
            }
        }
        for holding in holdings.iter().filter(|holding| self.place(&holding.place).is_err()) {
            tracing::error!(
                store = holding.place,
                files = holding.kept,
                "files are in a store that is not configured: put it back under providers.files to read them"
            );
        }
    }

    /// Clears what nobody names; how many contents that were.
    ///
    /// # Errors
    /// As the database's when asked for them. One that cannot be cleared is logged and tried again when its lease has
    /// passed.
    pub async fn sweep(&self) -> Result<usize> {
        let mut cleared = 0;
        loop {
            let loose = self.0.store.system().claim_loose_blobs(self.lease(), BATCH).await?;
            if loose.is_empty() {
                return Ok(cleared);
            }
            let mut done = futures::stream::iter(loose).map(|blob| self.clear(blob)).buffer_unordered(AT_ONCE);
            while let Some(one) = done.next().await {
                cleared += usize::from(one);
            }
        }
    }

    async fn clear(&self, blob: Loose) -> bool {
        let cx = Cx::internal(&blob.tenant, "sweep");
        let done = async {
            self.place(&blob.place)?.delete(&cx, &blob.key).await?;
            self.0.store.tenant(&cx).note_cleared(&blob.key, self.lease()).await
        };
        let Err(error) = done.await else { return true };
        tracing::warn!(tenant = blob.tenant, key = blob.key, store = blob.place, error = %error, cause = ?error.source, "a content that nobody names could not be cleared");
        false
    }
}
