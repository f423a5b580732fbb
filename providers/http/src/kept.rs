//! What is fetched, is good for a while, and then must be fetched again: tokens, keys that are only lent.
//!
//! Invariants: one is fetched at a time, and whoever has none meanwhile waits for that one; a successor is fetched
//! before the old one ends, and while the old one is good nobody but who fetches waits.

use std::{
    future::Future,
    sync::{PoisonError, RwLock},
};

use frontdesk_api::{Clock, Micros, Result};
use tokio::sync::Mutex;

/// Holds the one that is good now.
pub struct Kept<T> {
    held: RwLock<Option<Loan<T>>>,
    /// Held by who fetches.
    turn: Mutex<()>,
    /// How long before its end a successor is fetched, in microseconds.
    early: Micros,
}

/// A value and when it ends.
#[derive(Clone)]
pub struct Loan<T> {
    pub value: T,
    pub ends: Micros,
}

impl<T: Clone> Kept<T> {
    /// `early`: how long before its end a successor is fetched, in microseconds.
    #[must_use]
    pub fn new(early: Micros) -> Self {
        Self { held: RwLock::default(), turn: Mutex::new(()), early }
    }

    /// The one that is good now; `fetch` brings another.
    ///
    /// # Errors
    /// As `fetch`, unless the one that is held is still good: its failure is logged then.
    pub async fn get(&self, clock: &dyn Clock, fetch: impl Future<Output = Result<Loan<T>>>) -> Result<T> {
        let good = self.until(clock.now());
        if let Some(fresh) = self.until(clock.now().saturating_add(self.early)) {
            return Ok(fresh);
        }
        let _turn = match &good {
            None => self.turn.lock().await,
            Some(good) => match self.turn.try_lock() {
                Ok(turn) => turn,
                Err(_) => return Ok(good.clone()),
            },
        };
        // Who waited may find it done.
        if let Some(fresh) = self.until(clock.now().saturating_add(self.early)) {
            return Ok(fresh);
        }
        match (fetch.await, good) {
            (Ok(loan), _) => {
                let value = loan.value.clone();
                *self.held.write().unwrap_or_else(PoisonError::into_inner) = Some(loan);
                Ok(value)
            }
            (Err(error), Some(good)) => {
                tracing::warn!(%error, "credentials could not be renewed, the old ones are still good");
                Ok(good)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// The value that is held, if it ends after this time.
    fn until(&self, time: Micros) -> Option<T> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().filter(|loan| loan.ends > time).map(|loan| loan.value.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

    use frontdesk_api::Error;

    use super::*;

    #[derive(Default)]
    struct Set(AtomicI64);

    impl Clock for Set {
        fn now(&self) -> Micros {
            self.0.load(Ordering::Relaxed)
        }
    }

    async fn lent(value: u32, ends: Micros) -> Result<Loan<u32>> {
        Ok(Loan { value, ends })
    }

    async fn denied() -> Result<Loan<u32>> {
        Err(Error::upstream("denied"))
    }

    #[tokio::test]
    async fn a_value_is_renewed_before_it_ends_and_kept_while_nobody_lends_another() {
        let (kept, clock) = (Kept::new(10), Set::default());
        assert!(kept.get(&clock, denied()).await.is_err());
        assert_eq!(kept.get(&clock, lent(1, 100)).await.expect("lent"), 1);
        for (now, want) in [(0, 1), (89, 1), (90, 1), (99, 1)] {
            clock.0.store(now, Ordering::Relaxed);
            assert_eq!(kept.get(&clock, denied()).await.expect("still good"), want, "at {now}");
        }
        assert_eq!(kept.get(&clock, lent(2, 200)).await.expect("lent"), 2);
        clock.0.store(200, Ordering::Relaxed);
        assert_eq!(kept.get(&clock, denied()).await.expect_err("ended").message, "denied");
    }

    #[tokio::test]
    async fn one_fetches_and_the_others_wait_for_it_only_where_they_have_none() {
        let (kept, clock, fetched) = (Kept::new(10), Set::default(), AtomicU32::new(0));
        let (open, gate) = tokio::sync::oneshot::channel::<()>();
        let slow = async {
            fetched.fetch_add(1, Ordering::Relaxed);
            gate.await.expect("opened");
            lent(1, 15).await
        };
        let other = async {
            fetched.fetch_add(1, Ordering::Relaxed);
            lent(2, 100).await
        };
        let opened = async { open.send(()).expect("somebody waits") };
        let (first, second, ()) = tokio::join!(kept.get(&clock, slow), kept.get(&clock, other), opened);
        assert_eq!((first.expect("lent"), second.expect("waited"), fetched.load(Ordering::Relaxed)), (1, 1, 1));
        // It ends soon: one fetches, and the other takes what is there.
        clock.0.store(8, Ordering::Relaxed);
        let (open, gate) = tokio::sync::oneshot::channel::<()>();
        let slow = async {
            gate.await.expect("opened");
            lent(3, 100).await
        };
        let quick = async {
            let value = kept.get(&clock, denied()).await.expect("still good");
            open.send(()).expect("somebody waits");
            value
        };
        let (first, second) = tokio::join!(kept.get(&clock, slow), quick);
        assert_eq!((first.expect("lent"), second), (3, 1));
    }
}
