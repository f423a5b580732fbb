//! Room for what clients send: a bound on the memory that all uploads, or all large bodies, take together.
//!
//! How much an upload takes depends on where its content goes ([`frontdesk_memory::Knowledge::memory`]). Invariant: what
//! is under way never takes more than its limit, but for a single one that is larger than that by itself; the others
//! wait in order, and after `limits.upload_wait_s` are asked to come again.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::body::{Body, HttpBody as _};
use frontdesk_api::{Error, Result};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::config::Limits;

/// When to come again, where no room was found.
const COME_AGAIN: Duration = Duration::from_secs(5);

const KIB: usize = 1 << 10;

/// Bodies up to this many bytes need no room: `limits.max_connections` bounds them.
pub const SMALL: usize = 64 * KIB;

/// The room that is left, in KiB.
pub struct Room {
    left: Arc<Semaphore>,
    all: u32,
    patience: Duration,
    of: Of,
}

/// What a room is for, as its refusal says it.
struct Of {
    what: &'static str,
    key: &'static str,
    code: &'static str,
}

impl Room {
    /// For uploaded files.
    #[must_use]
    pub fn of_uploads(limits: &Limits) -> Self {
        let of = Of { what: "upload", key: "limits.upload_memory_mb", code: "uploads_busy" };
        Self::new(limits.upload_memory_mb, limits, of)
    }

    /// For bodies that are read whole.
    #[must_use]
    pub fn of_bodies(limits: &Limits) -> Self {
        let of = Of { what: "large request", key: "limits.body_memory_mb", code: "bodies_busy" };
        Self::new(limits.body_memory_mb, limits, of)
    }

    fn new(mib: usize, limits: &Limits, of: Of) -> Self {
        let all = u32::try_from(mib.saturating_mul(KIB)).unwrap_or(u32::MAX);
        let left = Arc::new(Semaphore::new(all as usize));
        Self { left, all, patience: Duration::from_secs(limits.upload_wait_s), of }
    }

    /// Room for so many bytes of memory, held as long as what is returned; waits for it.
    ///
    /// # Errors
    /// `Unavailable` with `retry_after` and the code `uploads_busy` or `bodies_busy` when there was none for too long.
    pub async fn take(&self, bytes: usize) -> Result<Taken> {
        match timeout(self.patience, Arc::clone(&self.left).acquire_many_owned(self.need(bytes))).await {
            Ok(Ok(permit)) => Ok(Taken(permit)),
            // Never closed, so it is the time.
            _ => Err(self.busy()),
        }
    }

    /// Room for so many bytes more than `held`; of a room that is full at once, since whoever waits with some of it in hand
    /// may wait for another that does. Together they need no more than all of it.
    ///
    /// # Errors
    /// As [`Room::take`].
    pub async fn grow(&self, held: &mut Option<Taken>, bytes: usize) -> Result<()> {
        let Some(Taken(permit)) = held else {
            *held = Some(self.take(bytes).await?);
            return Ok(());
        };
        let had = u32::try_from(permit.num_permits()).unwrap_or(u32::MAX);
        let more = self.need(bytes).min(self.all.saturating_sub(had));
        let more = Arc::clone(&self.left).try_acquire_many_owned(more).map_err(|_| self.busy())?;
        permit.merge(more);
        Ok(())
    }

    fn busy(&self) -> Error {
        let message = format!(
            "there is no room for this {} now: too many others are under way ({}); send it again",
            self.of.what, self.of.key
        );
        Error::unavailable(message).with_code(self.of.code).with_retry_after(COME_AGAIN)
    }

    /// Gives back what a body turned out not to need.
    pub fn shrink(&self, taken: &mut Taken, bytes: usize) {
        let more = taken.0.num_permits().saturating_sub(self.need(bytes) as usize);
        drop(taken.0.split(more));
    }

    fn need(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX).min(self.all)
    }
}

/// Room that is held; given back when it is dropped.
#[derive(Debug)]
pub struct Taken(OwnedSemaphorePermit);

/// The room of a request's body, from the time it is read until its answer begins; an extension of requests that may
/// need any.
#[derive(Debug, Clone, Default)]
pub struct Hold(Arc<OnceLock<Taken>>);

impl Hold {
    /// None: whatever comes is small.
    #[must_use]
    pub fn of(body: &Body) -> Option<Self> {
        body.size_hint().upper().is_none_or(|most| most > SMALL as u64).then(Self::default)
    }

    /// Keeps `taken` as long as this is there.
    pub fn keep(&self, taken: Taken) {
        // A body is read once.
        let _ = self.0.set(taken);
    }
}

#[cfg(test)]
mod tests {
    use frontdesk_api::Kind;

    use super::*;

    fn room(upload_memory_mb: usize, upload_wait_s: u64) -> Room {
        Room::of_uploads(&Limits { upload_memory_mb, upload_wait_s, ..Limits::default() })
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
        let mut large = room.take(100 * MIB).await.expect("alone");
        assert!(room.take(1).await.is_err());
        room.shrink(&mut large, 4 * MIB);
        let other = room.take(5 * MIB).await.expect("5 of 5");
        room.shrink(&mut large, 8 * MIB);
        assert!(room.take(1).await.is_err(), "what has shrunk does not grow");
        drop((large, other));
        // More for one who has some: at once or not at all, and never more than there is.
        let mut held = None;
        room.grow(&mut held, 4 * MIB).await.expect("4 of 9");
        room.grow(&mut held, 4 * MIB).await.expect("8 of 9");
        let other = room.take(MIB).await.expect("9 of 9");
        assert_eq!(room.grow(&mut held, 1).await.expect_err("full").code.as_deref(), Some("uploads_busy"));
        drop(other);
        room.grow(&mut held, 100 * MIB).await.expect("what is left");
        assert!(room.take(1).await.is_err());
        drop(held);
        assert!(room.take(9 * MIB).await.is_ok());
    }
}
