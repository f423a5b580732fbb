//! Interpreters of conversations between their runs: bounded in number, memory and idle time.
//!
//! Invariant: an instance belongs to one conversation of one tenant and to one language, and is reached by
//! exactly that key; the least lately used go first when there are too many, and one that runs never goes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Language, session::Session};

/// Whose interpreter it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    pub tenant: String,
    /// The conversation, as [`frontdesk_api::cx::Workspace`] names it.
    pub workspace: String,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub sessions: usize,
    /// Bytes of memory of all of them.
    pub bytes: usize,
    pub idle: Duration,
}

pub(super) type Key = (Owner, Language);
/// Its runs wait for each other here. None: not started, or stopped.
pub(super) type Slot = Arc<tokio::sync::Mutex<Option<Session>>>;

struct Entry {
    slot: Slot,
    used: Instant,
    bytes: usize,
}

pub(super) struct Parked {
    bounds: Bounds,
    all: Mutex<HashMap<Key, Entry>>,
}

impl Parked {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, all: Mutex::default() }
    }

    /// The conversation's place, made where there is none. None where all are running.
    pub(super) fn place(&self, key: &Key) -> Option<Slot> {
        let mut gone = vec![];
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(key) {
            while all.len() >= self.bounds.sessions {
                gone.push(leave(&mut all)?);
            }
        }
        let now = Instant::now();
        let new = || Entry { slot: Slot::default(), used: now, bytes: 0 };
        let entry = all.entry(key.clone()).or_insert_with(new);
        entry.used = now;
        let slot = Arc::clone(&entry.slot);
        drop(all);
        // Giving memory back takes its time: not under the lock.
        drop(gone);
        Some(slot)
    }

    pub(super) fn has(&self, key: &Key) -> bool {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(key).is_some_and(|entry| entry.bytes > 0)
    }

    /// `bytes` is what the conversation's instance holds now, 0 where there is none: it runs, or was stopped.
    pub(super) fn settle(&self, key: &Key, bytes: usize) {
        let mut gone = vec![];
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = all.get_mut(key) {
            (entry.used, entry.bytes) = (Instant::now(), bytes);
        }
        while all.values().map(|entry| entry.bytes).sum::<usize>() > self.bounds.bytes {
            let Some(entry) = leave(&mut all) else { break };
            gone.push(entry);
        }
        drop(all);
        drop(gone);
    }

    /// Drops who has not been used for as long as is allowed.
    pub(super) fn drop_idle(&self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |_: &Key, entry: &mut Entry| entry.used.elapsed() > self.bounds.idle && is_free(entry);
        let gone: Vec<(Key, Entry)> = all.extract_if(idle).collect();
        drop(all);
        drop(gone);
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    pub(super) fn len(&self) -> usize {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Takes out the least lately used that does not run.
fn leave(all: &mut HashMap<Key, Entry>) -> Option<Entry> {
    let free = all.iter().filter(|(_, entry)| is_free(entry));
    let key = free.min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone())?;
    all.remove(&key)
}

/// Whoever runs or waits for it holds a second handle.
fn is_free(entry: &Entry) -> bool {
    Arc::strong_count(&entry.slot) == 1
}
