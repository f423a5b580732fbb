//! Wake-ups: a commit of a turn's events tells them to those who follow the turn in this process.
//!
//! Turns that another process works on are looked after by one query for all that are followed here
//! ([`crate::watch`]), which wakes through here as well. Events are told once they are committed, never before, and what
//! is told is only a shorter way to the rows: a follower takes what comes next by its number, reads the rows where
//! something is missing, and looks now and then without being woken. A lost or doubled word costs latency only.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use frontdesk_api::turn::EventBody;
use tokio::sync::broadcast::{self, error::RecvError};

/// Words that wait for a follower who is slow; one who is slower still reads the rows.
const WORDS: usize = 16;

/// What a follower hears.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    /// These were committed; the number is that of the first.
    Events(i64, Arc<Vec<EventBody>>),
    /// Something is new in the rows.
    Look,
}

pub(crate) type Key = (String, String);

/// Who follows which turn.
#[derive(Debug, Default)]
pub(crate) struct Hub(Mutex<HashMap<Key, broadcast::Sender<Heard>>>);

/// A follower of one turn; leaving clears up.
pub(crate) struct Follower {
    hub: Arc<Hub>,
    key: Key,
    words: broadcast::Receiver<Heard>,
}

impl Hub {
    pub(crate) fn follow(self: &Arc<Self>, tenant: &str, turn: &str) -> Follower {
        let key = (tenant.to_owned(), turn.to_owned());
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let words = turns.entry(key.clone()).or_insert_with(|| broadcast::Sender::new(WORDS)).subscribe();
        Follower { hub: Arc::clone(self), key, words }
    }

    /// The turns that are followed.
    pub(crate) fn followed(&self) -> Vec<Key> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    pub(crate) fn wake(&self, tenant: &str, turn: &str) {
        self.tell(tenant, turn, Heard::Look);
    }

    pub(crate) fn tell(&self, tenant: &str, turn: &str, word: Heard) {
        let turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = turns.get(&(tenant.to_owned(), turn.to_owned())) {
            // An error says that nobody listens.
            let _ = sender.send(word);
        }
    }
}

impl Follower {
    /// Resolves at the next word after the last one heard. What was said behind a word to look is left out: whoever
    /// looks then sees it.
    pub(crate) async fn heard(&mut self) -> Heard {
        match self.words.recv().await {
            Ok(events @ Heard::Events(..)) => events,
            Ok(Heard::Look) | Err(RecvError::Lagged(_)) => {
                self.words = self.words.resubscribe();
                Heard::Look
            }
            // The sender lives as long as a follower does; were it gone, the floor of polling remains.
            Err(RecvError::Closed) => std::future::pending().await,
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
        assert!(matches!(follower.heard().await, Heard::Look));
        let mut other = hub.follow("t", "turn_1");
        hub.wake("t", "turn_2");
        hub.tell("t", "turn_1", Heard::Events(7, Arc::default()));
        assert!(matches!(other.heard().await, Heard::Events(7, _)));
        for n in 0..=WORDS {
            hub.tell("t", "turn_1", Heard::Events(i64::try_from(n).expect("small"), Arc::default()));
        }
        assert!(matches!(other.heard().await, Heard::Look), "one who is slow reads the rows");
        hub.wake("t", "turn_1");
        assert!(matches!(other.heard().await, Heard::Look));
        drop((follower, other));
        assert!(hub.0.lock().expect("the map").is_empty(), "nobody follows, nothing is kept");
    }
}
