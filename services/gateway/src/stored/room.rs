//! Room for what is to be kept: a bound, in bytes, on what is in memory for it.
//!
//! A request takes as many bytes as it has before anyone is asked, its answer takes more as it comes, and all of it is
//! given back once it is written. Invariants: what has begun is neither refused nor held up; a tenant begins only what
//! leaves as much room free as it then has itself, so that nobody fills it: alone a tenant gets half, beside another a
//! third, and one that has nothing in hand finds room.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use frontdesk_api::{Error, Result};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// When to come again, where none was found.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// Bytes of an answer that are counted at once.
const STEP: usize = 64 << 10;

/// Clones share it.
#[derive(Clone)]
pub(super) struct Room(Arc<Inner>);

struct Inner {
    /// Bytes.
    all: usize,
    /// How long a request waits.
    patience: Duration,
    held: Mutex<Held>,
    /// Rung when something was given back.
    freed: Notify,
}

#[derive(Default)]
struct Held {
    /// Bytes of all tenants.
    bytes: usize,
    /// Of these, bytes of answers that have ended and wait to be written.
    waiting: usize,
    /// By tenant; one that has nothing is not here.
    by: HashMap<String, usize>,
    shares: usize,
    closed: bool,
}

/// The room of one request and its answer, given back when dropped.
pub(super) struct Share {
    room: Room,
    tenant: String,
    /// Counted.
    bytes: usize,
    /// Heard, and not counted yet.
    more: usize,
    ended: bool,
}

impl Room {
    /// Of so many bytes; a request waits so long for its part.
    pub(super) fn new(all: usize, patience: Duration) -> Self {
        Self(Arc::new(Inner { all, patience, held: Mutex::default(), freed: Notify::new() }))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Held) -> T) -> T {
        f(&mut self.0.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Room for a request of so many bytes; waits for it.
    ///
    /// # Errors
    /// `Unavailable` with `retry_after` that says why there is none.
    pub(super) async fn take(&self, tenant: &str, bytes: usize) -> Result<Share> {
        let end = Instant::now() + self.0.patience;
        loop {
            // Heard from before the look on.
            let freed = self.0.freed.notified();
            let Err(full) = self.with(|held| held.take(self.0.all, tenant, bytes)) else {
                return Ok(Share { room: self.clone(), tenant: tenant.to_owned(), bytes, more: 0, ended: false });
            };
            if full.code.as_deref() != Some(FULL) || timeout_at(end, freed).await.is_err() {
                return Err(full);
            }
        }
    }

    /// Nothing begins any more.
    pub(super) fn close(&self) {
        self.with(|held| held.closed = true);
        self.0.freed.notify_waiters();
    }

    /// Returns once all of it was given back.
    pub(super) async fn quiet(&self) {
        loop {
            let freed = self.0.freed.notified();
            if self.with(|held| held.shares) == 0 {
                return;
            }
            freed.await;
        }
    }
}

/// Code of the refusal for want of room.
const FULL: &str = "stored_completions_busy";

impl Held {
    fn take(&mut self, all: usize, tenant: &str, bytes: usize) -> Result<()> {
        if self.closed {
            return Err(Error::unavailable("the server is stopping: ask again").with_retry_after(COME_AGAIN));
        }
        let mine = self.by.get(tenant).copied().unwrap_or_default().saturating_add(bytes);
        let free = all.saturating_sub(self.bytes.saturating_add(bytes));
        // One that is larger than that has all of it to itself.
        if mine > free && self.bytes > 0 {
            let why = if self.waiting > self.bytes / 2 {
                "the database does not keep up with the answers that are to be stored"
            } else if mine > self.bytes / 2 {
                "your answers under way that are to be stored take your share of the memory for them (stored_completions.memory_mb)"
            } else {
                "the answers under way that are to be stored take the memory for them (stored_completions.memory_mb)"
            };
            let message = format!("{why}: ask again, or without 'store'");
            return Err(Error::unavailable(message).with_code(FULL).with_retry_after(COME_AGAIN));
        }
        self.bytes += bytes;
        self.shares += 1;
        self.by.insert(tenant.to_owned(), mine);
        Ok(())
    }
}

impl Share {
    /// So many bytes of the answer came.
    pub(super) fn grow(&mut self, bytes: usize) {
        self.more += bytes;
        if self.more >= STEP {
            self.count();
        }
    }

    /// The answer has come to its end and waits to be written.
    pub(super) fn end(&mut self) {
        self.count();
        self.ended = true;
        self.room.with(|held| held.waiting += self.bytes);
    }

    fn count(&mut self) {
        let more = std::mem::take(&mut self.more);
        self.bytes += more;
        self.room.with(|held| {
            held.bytes += more;
            *held.by.entry(self.tenant.clone()).or_default() += more;
        });
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.with(|held| {
            held.shares -= 1;
            held.bytes -= self.bytes;
            if self.ended {
                held.waiting -= self.bytes;
            }
            if let Some(mine) = held.by.get_mut(&self.tenant) {
                *mine -= self.bytes;
                if *mine == 0 {
                    held.by.remove(&self.tenant);
                }
            }
        });
        self.room.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a tenant that asks for this is told where nobody waits.
    async fn refusal(room: &Room, tenant: &str, bytes: usize) -> String {
        let error = room.take(tenant, bytes).await.map(|_| ()).expect_err("no room");
        assert_eq!((error.code.as_deref(), error.retry_after), (Some(FULL), Some(COME_AGAIN)));
        error.message
    }

    #[tokio::test]
    async fn a_tenant_gets_as_much_as_it_leaves_and_a_newcomer_finds_room() {
        let room = Room::new(900, Duration::ZERO);
        let mut first = vec![];
        for _ in 0..4 {
            first.push(room.take("a", 100).await.expect("up to half"));
        }
        assert!(refusal(&room, "a", 100).await.contains("your share"), "500 of 900 would leave 400");
        let other = room.take("b", 200).await.expect("a newcomer: 300 are left");
        assert!(refusal(&room, "b", 100).await.contains("take the memory"), "300 would leave 200");
        assert!(refusal(&room, "a", 1).await.contains("your share"));
        first.truncate(2);
        assert!(room.take("b", 100).await.is_ok(), "300 leave 400");
        drop((first, other));
        assert!(room.take("c", 5000).await.is_ok(), "alone it may be larger than the room");
        assert_eq!(room.with(|held| (held.bytes, held.shares, held.by.len())), (0, 0, 0));
    }

    #[tokio::test]
    async fn an_answer_takes_room_as_it_comes_until_it_is_written() {
        let room = Room::new(10 * STEP, Duration::ZERO);
        let mut one = room.take("a", STEP).await.expect("room");
        one.grow(STEP - 1);
        assert_eq!(room.with(|held| held.bytes), STEP, "small pieces are counted together");
        one.grow(4 * STEP);
        assert!(refusal(&room, "a", 1).await.contains("your share"));
        one.end();
        assert!(refusal(&room, "a", 1).await.contains("the database does not keep up"));
        drop(one);
        assert!(room.take("a", STEP).await.is_ok());
    }

    #[tokio::test]
    async fn whoever_waits_goes_on_when_there_is_room_and_at_the_end_nobody_begins() {
        let room = Room::new(100, Duration::from_secs(3600));
        let one = room.take("a", 50).await.expect("room");
        let mut second = Box::pin(room.take("a", 10));
        assert!(futures::poll!(&mut second).is_pending());
        drop(one);
        let second = second.await.expect("it was given back");
        room.close();
        let stopping = room.take("b", 1).await.map(|_| ()).expect_err("closed");
        assert!(stopping.code.is_none() && stopping.message.contains("stopping"), "{stopping}");
        let mut quiet = Box::pin(room.quiet());
        assert!(futures::poll!(&mut quiet).is_pending());
        drop(second);
        quiet.await;
    }
}
