//! Wake-ups: a commit of a turn's events wakes those who follow the turn in this process.
//!
//! Turns that another process works on are looked after by one query for all that are followed here
//! ([`crate::watch`]), which wakes through here as well. Only a hint: followers read rows, and look now and then
//! without being woken. A lost or doubled wake-up costs latency only.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

pub(crate) type Key = (String, String);

/// Who follows which turn.
#[derive(Debug, Default)]
pub(crate) struct Hub(Mutex<HashMap<Key, watch::Sender<()>>>);

/// A follower of one turn; leaving clears up.
pub(crate) struct Follower {
    hub: Arc<Hub>,
    key: Key,
    woken: watch::Receiver<()>,
}

impl Hub {
    pub(crate) fn follow(self: &Arc<Self>, tenant: &str, turn: &str) -> Follower {
        let key = (tenant.to_owned(), turn.to_owned());
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let woken = turns.entry(key.clone()).or_insert_with(|| watch::Sender::new(())).subscribe();
        Follower { hub: Arc::clone(self), key, woken }
    }

    /// The turns that are followed.
    pub(crate) fn followed(&self) -> Vec<Key> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    pub(crate) fn wake(&self, tenant: &str, turn: &str) {
        let turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = turns.get(&(tenant.to_owned(), turn.to_owned())) {
            sender.send_replace(());
        }
    }
}

impl Follower {
    /// Resolves at the next wake-up after the last one seen.
    pub(crate) async fn woken(&mut self) {
        if self.woken.changed().await.is_err() {
            // The sender lives as long as a follower does; were it gone, the floor of polling remains.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut turns = self.hub.0.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.get(&self.key).is_some_and(|sender| sender.receiver_count() <= 1) {
            turns.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wake_up_between_looking_and_waiting_is_not_lost() {
        let hub = Arc::new(Hub::default());
        let mut follower = hub.follow("t", "turn_1");
        hub.wake("t", "turn_1");
        follower.woken().await;
        let mut other = hub.follow("t", "turn_1");
        hub.wake("t", "turn_2");
        hub.wake("t", "turn_1");
        other.woken().await;
        drop((follower, other));
        assert!(hub.0.lock().expect("the map").is_empty(), "nobody follows, nothing is kept");
    }
}
