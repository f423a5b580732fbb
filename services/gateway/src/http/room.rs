//! Room for uploads: a bound on the memory that all of them take together.
//!
//! How much one takes depends on where its content goes ([`frontdesk_memory::Knowledge::memory`]). Invariant: the
//! uploads under way never take more than `limits.upload_memory_mb`, but for a single one that is larger than that by
//! itself; the others wait in order, and after `limits.upload_wait_s` are asked to come again.

use std::time::Duration;

use frontdesk_api::{Error, Result};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::config::Limits;

/// When to come again, where no room was found.
const COME_AGAIN: Duration = Duration::from_secs(5);

const KIB: usize = 1 << 10;

/// The room that is left, in KiB.
pub struct Room {
    left: Semaphore,
    all: u32,
    patience: Duration,
}

impl Room {
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let all = u32::try_from(limits.upload_memory_mb.saturating_mul(1 << 10)).unwrap_or(u32::MAX);
        Self { left: Semaphore::new(all as usize), all, patience: Duration::from_secs(limits.upload_wait_s) }
    }

    /// Room for an upload that takes so many bytes of memory, held as long as what is returned; waits for it.
    ///
    /// # Errors
    /// `Unavailable` with `retry_after` and the code `uploads_busy` when there was none for too long.
    pub async fn take(&self, bytes: usize) -> Result<SemaphorePermit<'_>> {
        let need = u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX).min(self.all);
        match timeout(self.patience, self.left.acquire_many(need)).await {
            Ok(Ok(permit)) => Ok(permit),
            // Never closed, so it is the time.
            _ => {
                let message = format!(
                    "no room for this upload within {} s: too many others are under way (limits.upload_memory_mb); send it again",
                    self.patience.as_secs()
                );
                Err(Error::unavailable(message).with_code("uploads_busy").with_retry_after(COME_AGAIN))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use frontdesk_api::Kind;

    use super::*;

    fn room(upload_memory_mb: usize, upload_wait_s: u64) -> Room {
        Room::new(&Limits { upload_memory_mb, upload_wait_s, ..Limits::default() })
    }

    #[tokio::test]
    async fn all_uploads_together_stay_within_the_room() {
        const MIB: usize = 1 << 20;
        let room = room(9, 0);
        let first = room.take(6 * MIB).await.expect("6 of 9");
        let second = room.take(3 * MIB).await.expect("9 of 9");
        let refused = room.take(1).await.expect_err("full");
        assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Unavailable, Some("uploads_busy")));
        assert!(refused.retry_after.is_some() && refused.message.contains("limits.upload_memory_mb"), "{refused}");
        drop(second);
        assert!(room.take(6 * MIB).await.is_err(), "6 of 3");
        drop(first);
        // One that is larger than the room has all of it to itself.
        let large = room.take(100 * MIB).await.expect("alone");
        assert!(room.take(1).await.is_err());
        drop(large);
        assert!(room.take(9 * MIB).await.is_ok());
    }
}
