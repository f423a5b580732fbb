//! The turns this process works on, and how to stop one.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

/// Why a turn is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Somebody asked for it.
    Asked,
    /// The server is going down: somebody else goes on.
    Shutdown,
    /// Somebody else has it already.
    Lost,
}

/// Stops one turn; the first reason given stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    token: CancellationToken,
    why: Arc<OnceLock<Why>>,
    /// Its turn is written as ours.
    working: Arc<AtomicBool>,
    /// Its place among those that are worked on; None where it has none of its own, or left it.
    place: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
    /// It had one at some time: it is one of those that places are counted for.
    counted: Arc<AtomicBool>,
    /// Rung when something that its open calls asked was answered.
    pub(crate) answered: Arc<Notify>,
}

impl Stop {
    pub(crate) fn now(&self, why: Why) {
        let _ = self.why.set(why);
        self.token.cancel();
    }

    /// From now on the turn's row says that it is ours.
    pub(crate) fn begin(&self) {
        self.working.store(true, Ordering::SeqCst);
    }

    pub(crate) fn take_place(&self, place: Option<OwnedSemaphorePermit>) {
        self.counted.fetch_or(place.is_some(), Ordering::SeqCst);
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    pub(crate) fn leave_place(&self) {
        drop(self.place.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Whether it is to have a place where one is free, however often it left its own.
    pub(crate) fn is_counted(&self) -> bool {
        self.counted.load(Ordering::SeqCst)
    }

    /// The token that providers see.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    pub(crate) fn why(&self) -> Why {
        self.why.get().copied().unwrap_or(Why::Asked)
    }
}

pub(crate) type Key = (String, String);

/// By tenant and turn.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<HashMap<Key, Stop>>);

impl Running {
    /// Enters a turn before it is written as running, so that nobody takes it for lost in between. Whoever worked on
    /// it before, under an earlier epoch, is stopped.
    pub(crate) fn enter(&self, tenant: &str, turn: &str) -> Stop {
        let stop = Stop::default();
        if let Some(before) = self.lock().insert((tenant.to_owned(), turn.to_owned()), stop.clone()) {
            before.now(Why::Lost);
        }
        stop
    }

    /// The turns whose rows should say that they are ours.
    pub(crate) fn working(&self) -> Vec<(Key, Stop)> {
        let turns = self.lock();
        let working = turns.iter().filter(|(_, stop)| stop.working.load(Ordering::SeqCst));
        working.map(|(key, stop)| (key.clone(), stop.clone())).collect()
    }

    /// Takes out the entry that `stop` belongs to, and no other one of the same turn.
    pub(crate) fn leave(&self, tenant: &str, turn: &str, stop: &Stop) {
        let key = (tenant.to_owned(), turn.to_owned());
        let mut turns = self.lock();
        if turns.get(&key).is_some_and(|entered| Arc::ptr_eq(&entered.why, &stop.why)) {
            turns.remove(&key);
        }
    }

    pub(crate) fn has(&self, tenant: &str, turn: &str) -> bool {
        self.lock().contains_key(&(tenant.to_owned(), turn.to_owned()))
    }

    pub(crate) fn count(&self) -> u64 {
        self.lock().len() as u64
    }

    pub(crate) fn stop(&self, tenant: &str, turn: &str, why: Why) {
        if let Some(stop) = self.lock().get(&(tenant.to_owned(), turn.to_owned())) {
            stop.now(why);
        }
    }

    pub(crate) fn answered(&self, tenant: &str, turn: &str) {
        if let Some(stop) = self.lock().get(&(tenant.to_owned(), turn.to_owned())) {
            stop.answered.notify_one();
        }
    }

    pub(crate) fn stop_all(&self, why: Why) {
        for stop in self.lock().values() {
            stop.now(why);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Stop>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_goes_on_without_a_place_and_leaves_again_is_to_have_one_still() {
        let places = Arc::new(tokio::sync::Semaphore::new(1));
        let (stop, asked) = (Stop::default(), Stop::default());
        stop.take_place(Arc::clone(&places).try_acquire_owned().ok());
        stop.leave_place();
        assert_eq!(places.available_permits(), 1);
        stop.leave_place();
        assert!(stop.is_counted());
        asked.take_place(None);
        assert!(!asked.is_counted(), "it never had one");
    }

    #[test]
    fn who_leaves_takes_out_its_own_entry_only() {
        let running = Running::default();
        let first = running.enter("t", "turn_1");
        let second = running.enter("t", "turn_1");
        running.leave("t", "turn_1", &first);
        assert!(running.has("t", "turn_1"), "the second still works on it");
        assert_eq!((first.token().is_cancelled(), first.why()), (true, Why::Lost));
        assert!(running.working().is_empty(), "it is not written yet");
        second.begin();
        assert_eq!(running.working().len(), 1);
        running.stop("t", "turn_1", Why::Asked);
        assert_eq!((second.token().is_cancelled(), second.why()), (true, Why::Asked));
        running.leave("t", "turn_1", &second);
        assert!(!running.has("t", "turn_1"));
    }
}
