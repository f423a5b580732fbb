//! Whose turn it is to have a component compiled.
//!
//! Compiling takes a core for as long as the limits allow, and much memory. Invariants: a tenant has one component
//! compiled at a time; the tenants that wait come in turn, however many components each of them waits for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use frontdesk_api::{Error, Kind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::Fault;

/// Components compiled at the same time, each for another tenant: one that takes all its limits allow holds up nobody
/// else; while two do, a third waits for the first of them to end.
const AT_ONCE: usize = 2;

pub(crate) struct Turns {
    all: Arc<Semaphore>,
    tenants: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// The right to compile, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _tenants: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Default for Turns {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(AT_ONCE)), tenants: Mutex::default() }
    }
}

impl Turns {
    /// Waits for the tenant's turn. Both queues are first come, first served, and of a tenant only its first stands in
    /// the second: who has had a turn stands behind all other tenants again.
    ///
    /// # Errors
    /// None in truth: the semaphores are never closed.
    pub(crate) async fn take(&self, tenant: &str) -> Result<Turn, Fault> {
        let closed = |_| Fault::Host(Error::new(Kind::Internal, "the tool sandbox is closed"));
        let own = self.of(tenant);
        let tenants = own.acquire_owned().await.map_err(closed)?;
        let all = Arc::clone(&self.all).acquire_owned().await.map_err(closed)?;
        Ok(Turn { _tenants: tenants, _all: all })
    }

    fn of(&self, tenant: &str) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = tenants.get(tenant).and_then(Weak::upgrade) {
            return own;
        }
        tenants.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Semaphore::new(1));
        tenants.insert(tenant.to_owned(), Arc::downgrade(&own));
        own
    }
}

#[cfg(test)]
mod tests {
    use tokio::{sync::mpsc, task::yield_now};

    use super::*;

    /// Waits for a turn of the tenant's and tells when it came.
    fn wait(turns: &Arc<Turns>, tenant: &'static str, told: &mpsc::UnboundedSender<(&'static str, Turn)>) {
        let (turns, told) = (Arc::clone(turns), told.clone());
        tokio::spawn(async move {
            let turn = turns.take(tenant).await.expect("a turn");
            told.send((tenant, turn)).expect("the test listens");
        });
    }

    async fn settled() {
        for _ in 0..20 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn one_tenant_has_one_turn_and_leaves_the_other_to_others() {
        let (turns, (told, mut came)) = (Arc::new(Turns::default()), mpsc::unbounded_channel());
        for _ in 0..10 {
            wait(&turns, "many", &told);
        }
        settled().await;
        let (who, first) = came.recv().await.expect("a turn");
        assert_eq!(who, "many");
        assert!(came.try_recv().is_err(), "one at a time");
        wait(&turns, "one", &told);
        let (who, _one) = came.recv().await.expect("a turn beside it");
        assert_eq!(who, "one");
        drop(first);
        assert_eq!(came.recv().await.expect("the next").0, "many");
    }

    /// Two tenants that want no end of turns, and a third that comes last and wants one.
    #[tokio::test]
    async fn tenants_come_in_turn_however_much_each_wants() {
        let (turns, (told, mut came)) = (Arc::new(Turns::default()), mpsc::unbounded_channel());
        for _ in 0..10 {
            wait(&turns, "a", &told);
            wait(&turns, "b", &told);
        }
        settled().await;
        wait(&turns, "c", &told);
        settled().await;
        let mut order = vec![];
        while order.len() < 6 {
            let (who, turn) = came.recv().await.expect("a turn");
            order.push(who);
            drop(turn);
            settled().await;
        }
        assert_eq!(order.iter().filter(|who| **who == "c").count(), 1, "{order:?}");
        assert!(order[..4].contains(&"c"), "{order:?}");
    }

    #[tokio::test]
    async fn who_stops_waiting_leaves_the_queue_and_nothing_behind() {
        let turns = Turns::default();
        let held = turns.take("a").await.expect("a turn");
        {
            let waiting = turns.take("a");
            tokio::pin!(waiting);
            assert!(polled_once(&mut waiting).await.is_none());
        }
        drop(held);
        drop(turns.take("a").await.expect("free again"));
        drop(turns.take("b").await.expect("a turn"));
        assert_eq!(turns.tenants.lock().unwrap().len(), 1, "those that are gone are forgotten");
    }

    async fn polled_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
        tokio::select! {
            biased;
            done = future => Some(done),
            () = std::future::ready(()) => None,
        }
    }
}
