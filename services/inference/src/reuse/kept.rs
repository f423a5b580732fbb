//! A route's kept answers, bounded in memory and in age.
//!
//! Invariant: all kept answers and all that are just being recorded never take more together than the route's room.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use frontdesk_api::{embed::Embeddings, reuse::CacheControl};

use super::{key::Key, tape::Told};
use crate::policy::Cache;

/// A whole answer. Clones share it.
#[derive(Clone)]
pub(super) enum Answer {
    /// Of a chat or a text completion.
    Told(Arc<Told>),
    Vectors(Arc<Embeddings>),
}

/// See the module.
pub(super) struct Kept {
    most: usize,
    age: Duration,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    answers: HashMap<Key, Place>,
    /// Keys by when they were last used, the longest ago first.
    uses: BTreeMap<u64, Key>,
    next: u64,
    /// Of all answers, in bytes.
    size: usize,
    /// Of all recordings, in bytes.
    recorded: usize,
}

struct Place {
    answer: Answer,
    size: usize,
    since: Instant,
    used: u64,
}

/// About what an answer takes beside its words, in bytes.
pub(super) const OVERHEAD: usize =
    size_of::<Told>() + size_of::<Embeddings>() + size_of::<Place>() + 2 * size_of::<Key>();

impl Kept {
    pub(super) fn new(cache: &Cache) -> Self {
        Self { most: cache.max_mb << 20, age: Duration::from_secs(cache.ttl_s), shelf: Mutex::default() }
    }

    /// None too where the caller wants a younger one.
    pub(super) fn find(&self, key: &Key, now: Instant, wants: CacheControl) -> Option<Answer> {
        let mut shelf = self.shelf();
        let shelf = &mut *shelf;
        let place = shelf.answers.get_mut(key)?;
        let age = now.saturating_duration_since(place.since);
        if age >= self.age {
            shelf.remove(key);
            return None;
        }
        if wants.wants_fresh() || wants.max_age.is_some_and(|most| age > Duration::from_secs(most)) {
            return None;
        }
        shelf.uses.remove(&place.used);
        shelf.next += 1;
        place.used = shelf.next;
        shelf.uses.insert(place.used, *key);
        Some(place.answer.clone())
    }

    /// Keeps an answer of `size` bytes, unless there is no room for it.
    pub(super) fn put(&self, key: Key, answer: Answer, size: usize, now: Instant) {
        let mut shelf = self.shelf();
        shelf.remove(&key);
        if !shelf.clear(size, self.most) {
            return;
        }
        shelf.next += 1;
        let used = shelf.next;
        shelf.size += size;
        shelf.uses.insert(used, key);
        shelf.answers.insert(key, Place { answer, size, since: now, used });
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn remove(&mut self, key: &Key) {
        if let Some(place) = self.answers.remove(key) {
            self.uses.remove(&place.used);
            self.size -= place.size;
        }
    }

    /// Makes room for `more` bytes of `most`; whether there is room. Where there can be none, nothing goes.
    fn clear(&mut self, more: usize, most: usize) -> bool {
        if self.recorded + more > most {
            return false;
        }
        while self.size + self.recorded + more > most {
            let Some((_, oldest)) = self.uses.first_key_value() else { return false };
            let oldest = *oldest;
            self.remove(&oldest);
        }
        true
    }
}

/// The room a recording takes; given back when it is dropped.
pub(super) struct Room {
    kept: Arc<Kept>,
    taken: usize,
}

/// Room is taken in steps of this, in bytes: a stream of small frames does not ask for each.
const STEP: usize = 16 * 1024;

impl Room {
    pub(super) fn of(kept: Arc<Kept>) -> Self {
        Self { kept, taken: 0 }
    }

    /// Whether there is room for `size` bytes in all.
    pub(super) fn fits(&mut self, size: usize) -> bool {
        let Some(more) = size.checked_sub(self.taken).filter(|more| *more > 0) else { return true };
        let mut shelf = self.kept.shelf();
        // Near the end of the room a step may be more than is left.
        let Some(more) = [more.max(STEP), more].into_iter().find(|more| shelf.clear(*more, self.kept.most)) else {
            return false;
        };
        shelf.recorded += more;
        self.taken += more;
        true
    }

    /// The recording is whole: it takes its place among the answers.
    pub(super) fn keep(self, key: Key, answer: Answer, size: usize, now: Instant) {
        let kept = Arc::clone(&self.kept);
        drop(self);
        kept.put(key, answer, size, now);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.kept.shelf().recorded -= self.taken;
    }
}
