//! The components called last, ready to be called again, and those on their way.
//!
//! Compiling may take longer than a call may wait. What has begun goes on to its end whoever still waits, so that the
//! next call finds it; what waits for its turn is given up with its last caller. Bytes that were refused are refused again
//! for a while, so that what takes long to refuse takes it once. Invariants: of a tenant's callers of the same component one
//! brings it and all get it; what is held is bounded by bytes, what is awaited by callers, what was refused by number.

use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use frontdesk_api::{Error, Kind};
use tokio::sync::watch;
use tracing::Instrument;

use crate::{code::Hashed, component::Component, fault::Fault, sandbox::Sandbox};

/// Bytes of components kept compiled, the ones called last: five in Python. Machine code takes about three times as
/// much; of what lies in the folder only what runs is in memory.
const REMEMBERED: usize = 96 << 20;

/// Refusals that are remembered, the last ones, and for how long: whoever changed the sandbox's limits started it anew, but
/// a slow machine may be quicker by then.
const REFUSALS: usize = 64;
const REFUSED: Duration = Duration::from_secs(60);

pub(crate) struct Components {
    pub(crate) sandbox: Sandbox,
    refused: Mutex<VecDeque<Refusal>>,
    recent: Mutex<VecDeque<(Bytes, Component)>>,
    coming: Mutex<Coming>,
}

struct Refusal {
    of: blake3::Hash,
    fault: Arc<Fault>,
    at: Instant,
}

/// By tenant too: in a queue of its own nobody waits behind what another tenant waits for.
type Key = (String, blake3::Hash);
type Told = Option<Result<Component, Arc<Fault>>>;
type Coming = HashMap<Key, watch::Sender<Told>>;

impl Components {
    pub(crate) fn new(sandbox: Sandbox) -> Self {
        Self { sandbox, refused: Mutex::default(), recent: Mutex::default(), coming: Mutex::default() }
    }

    /// The component of these bytes: called lately, compiled before, or compiled now.
    ///
    /// # Errors
    /// What is wrong with it; see [`Fault`].
    pub(crate) async fn get(self: &Arc<Self>, tenant: &str, bytes: &Bytes) -> Result<Component, Arc<Fault>> {
        if let Some(component) = self.recall(bytes) {
            return Ok(component);
        }
        let bytes = Hashed::new(bytes.clone());
        if let Some(refused) = self.refused(&bytes.hash) {
            return Err(refused);
        }
        let key = (tenant.to_owned(), bytes.hash);
        let mut told = {
            let mut coming = self.coming();
            match coming.get(&key) {
                Some(sender) => sender.subscribe(),
                None => {
                    let (sender, told) = watch::channel(None);
                    coming.insert(key.clone(), sender.clone());
                    tokio::spawn(Arc::clone(self).bring(key, bytes, sender).in_current_span());
                    told
                }
            }
        };
        let broke = || Arc::new(Fault::Host(Error::new(Kind::Internal, "making a tool ready broke off")));
        match told.wait_for(Option::is_some).await {
            Ok(told) => told.clone().unwrap_or_else(|| Err(broke())),
            Err(_) => Err(broke()),
        }
    }

    async fn bring(self: Arc<Self>, key: Key, bytes: Hashed, told: watch::Sender<Told>) {
        // However it ends: who comes later does not wait for it.
        let _gone = Gone { of: &self, key: &key, told: &told };
        let turn = async {
            let mut turn = pin!(self.sandbox.turn(&key.0));
            loop {
                tokio::select! {
                    biased;
                    turn = &mut turn => return turn,
                    () = told.closed() => if self.given_up(&key, &told) {
                        return Err(Fault::Host(Error::cancelled()));
                    },
                }
            }
        };
        let found = self.sandbox.inspect_in(turn, bytes.clone()).await.map_err(Arc::new);
        match &found {
            Ok(component) => self.remember(bytes.bytes, component.clone()),
            Err(fault) if fault.is_the_components() => self.refuse(bytes.hash, fault),
            Err(_) => {}
        }
        told.send_replace(Some(found));
    }

    /// Whether nobody waits; then nobody will.
    fn given_up(&self, key: &Key, told: &watch::Sender<Told>) -> bool {
        let mut coming = self.coming();
        let nobody = told.receiver_count() == 0;
        if nobody {
            coming.remove(key);
        }
        nobody
    }

    /// By address: bytes we hold cannot move or change, so the same address and length are the same bytes.
    fn recall(&self, bytes: &Bytes) -> Option<Component> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |held: &Bytes| (held.as_ptr(), held.len()) == (bytes.as_ptr(), bytes.len());
        let at = recent.iter().position(|(held, _)| same(held))?;
        let entry = recent.remove(at)?;
        let component = entry.1.clone();
        recent.push_front(entry);
        Some(component)
    }

    fn remember(&self, bytes: Bytes, component: Component) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|(_, held)| held.hash() != component.hash());
        recent.push_front((bytes, component));
        while recent.len() > 1 && recent.iter().map(|(held, _)| held.len()).sum::<usize>() > REMEMBERED {
            recent.pop_back();
        }
    }

    fn refuse(&self, of: blake3::Hash, fault: &Arc<Fault>) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|refusal| refusal.of != of);
        refused.truncate(REFUSALS - 1);
        refused.push_front(Refusal { of, fault: Arc::clone(fault), at: Instant::now() });
    }

    fn refused(&self, of: &blake3::Hash) -> Option<Arc<Fault>> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let refusal = refused.iter().find(|refusal| refusal.of == *of && refusal.at.elapsed() < REFUSED)?;
        Some(Arc::clone(&refusal.fault))
    }

    fn coming(&self) -> MutexGuard<'_, Coming> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Gone<'a> {
    of: &'a Components,
    key: &'a Key,
    told: &'a watch::Sender<Told>,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        let mut coming = self.of.coming();
        // After it was given up the same may be on its way again.
        if coming.get(self.key).is_some_and(|sender| sender.same_channel(self.told)) {
            coming.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    /// Whether nothing is on its way any more, looked for until it is so.
    async fn nothing_comes(components: &Components) {
        while !components.coming().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_was_refused_is_refused_again_without_a_turn() {
        let components = Arc::new(Components::new(Sandbox::new(Limits::default())));
        let bytes = Bytes::from(wat::parse_str("(component)").unwrap());
        let refused = components.get("t", &bytes).await.expect_err("no tool");
        // Nobody's turn comes any more; and they are other bytes by address.
        let _turns = [components.sandbox.turn("t").await.unwrap(), components.sandbox.turn("u").await.unwrap()];
        let copy = Bytes::from(bytes.to_vec());
        for tenant in ["t", "u", "v"] {
            let mut again = pin!(components.get(tenant, &copy));
            let mut looks = 0;
            let again = loop {
                tokio::select! {
                    biased;
                    again = &mut again => break again,
                    () = tokio::task::yield_now() => looks += 1,
                }
                assert!(looks < 100, "it waits for a turn");
            };
            assert_eq!(again.expect_err("no tool").to_string(), refused.to_string());
        }
        // What is trouble of ours, or a busy machine's, is tried again.
        let wall = Fault::Limit(Limits::default().exceeded(crate::limits::Limit::Wall));
        assert!(!wall.is_the_components() && !Fault::Busy(1).is_the_components());
        assert!(!Fault::Trapped("out of memory".into()).is_the_components());
        // It is the last ones that are remembered.
        for n in 0..REFUSALS as u32 {
            components.refuse(blake3::hash(&n.to_le_bytes()), &refused);
        }
        assert!(components.refused(&blake3::hash(&bytes)).is_none());
        assert_eq!(components.refused.lock().unwrap().len(), REFUSALS);
    }

    #[tokio::test]
    async fn what_waits_for_its_turn_is_given_up_with_its_last_caller() {
        let components = Arc::new(Components::new(Sandbox::new(Limits::default())));
        let bytes = Bytes::from(wat::parse_str("(component)").unwrap());
        let turn = components.sandbox.turn("t").await.unwrap();
        {
            let (first, second) = (components.get("t", &bytes), components.get("t", &bytes));
            let (mut first, mut second) = (pin!(first), Box::pin(second));
            let mut looks = 0;
            while looks < 20 {
                tokio::select! {
                    biased;
                    _ = &mut first => panic!("it has no turn"),
                    _ = &mut second => panic!("it has no turn"),
                    () = tokio::task::yield_now() => looks += 1,
                }
            }
            assert_eq!(components.coming().len(), 1, "one brings it for both");
            drop(second);
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            assert_eq!(components.coming().len(), 1, "one waits still");
        }
        nothing_comes(&components).await;
        drop(turn);
        let refused = components.get("t", &bytes).await.expect_err("no tool");
        assert!(matches!(*refused, Fault::NotATool(_)), "{refused}");
        nothing_comes(&components).await;
    }
}
