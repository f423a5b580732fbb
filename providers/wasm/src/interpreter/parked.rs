//! Interpreters of conversations between their runs: bounded in number, memory and idle time.
//!
//! Invariant: an instance belongs to one customer's conversation with one agent and to one language, and is reached
//! by exactly that key. Of a line of turns without a session the first to run code after a turn takes over what
//! that one left, so no two branches share an instance. When there are too many, the least lately used of the
//! tenant that holds most goes first, so that none pushes out another that holds less; one that runs never goes.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use frontdesk_api::customer;

use super::{Language, session::Session};

/// Whose interpreter it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    pub tenant: String,
    /// None: anonymous.
    pub customer: Option<customer::Owner>,
    pub agent: Option<String>,
    /// The conversation, as [`frontdesk_api::cx::Workspace`] names it.
    pub workspace: String,
}

/// A conversation, and where it has no session the turns before this one, the nearest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub owner: Owner,
    pub after: Vec<String>,
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

    /// The conversation's place, taken over from the nearest turn before it or made where there is none. None where
    /// all are running.
    pub(super) fn place(&self, key: &Key, after: &[String]) -> Option<Slot> {
        let mut gone = vec![];
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(key)
            && let Some(entry) = take_over(&mut all, key, after)
        {
            all.insert(key.clone(), entry);
        }
        if !all.contains_key(key) {
            while all.len() >= self.bounds.sessions {
                gone.push(leave(&mut all, |_| 1)?);
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

    /// `bytes` is what the conversation's instance holds now, 0 where there is none: it runs, or was stopped.
    pub(super) fn settle(&self, key: &Key, bytes: usize) {
        let mut gone = vec![];
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = all.get_mut(key) {
            (entry.used, entry.bytes) = (Instant::now(), bytes);
        }
        while all.values().map(|entry| entry.bytes).sum::<usize>() > self.bounds.bytes {
            let Some(entry) = leave(&mut all, |entry| entry.bytes) else { break };
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

/// Takes out what the nearest of these turns left for the same customer, agent and language, unless it runs.
fn take_over(all: &mut HashMap<Key, Entry>, (owner, language): &Key, after: &[String]) -> Option<Entry> {
    let keys = after.iter().map(|turn| (Owner { workspace: turn.clone(), ..owner.clone() }, *language));
    let key = keys.into_iter().find(|key| all.contains_key(key))?;
    if is_free(&all[&key]) { all.remove(&key) } else { None }
}

/// Takes out the least lately used that does not run, of the tenant whose entries weigh most together.
fn leave(all: &mut HashMap<Key, Entry>, weight: impl Fn(&Entry) -> usize) -> Option<Entry> {
    let mut held = HashMap::<&str, usize>::new();
    for ((owner, _), entry) in all.iter() {
        *held.entry(&owner.tenant).or_default() += weight(entry);
    }
    let free = all.iter().filter(|(_, entry)| is_free(entry));
    let first = free.max_by_key(|((owner, _), entry)| (held.get(owner.tenant.as_str()), Reverse(entry.used)));
    let key = first.map(|(key, _)| key.clone())?;
    all.remove(&key)
}

/// Whoever runs or waits for it holds a second handle.
fn is_free(entry: &Entry) -> bool {
    Arc::strong_count(&entry.slot) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tenant: &str, workspace: &str) -> Key {
        let owner = Owner { tenant: tenant.into(), customer: None, agent: None, workspace: workspace.into() };
        (owner, Language::Python)
    }

    fn customers(name: &str, (owner, language): Key) -> Key {
        let customer = customer::Owner { issuer: String::new(), sub: name.into() };
        (Owner { customer: Some(customer), ..owner }, language)
    }

    fn parked(sessions: usize) -> Parked {
        Parked::new(Bounds { sessions, bytes: 100, idle: Duration::from_secs(60) })
    }

    fn same(one: &Slot, other: &Slot) -> bool {
        Arc::ptr_eq(one, other)
    }

    /// Left, so that nobody runs it.
    fn left(parked: &Parked, key: &Key) -> *const tokio::sync::Mutex<Option<Session>> {
        Arc::as_ptr(&parked.place(key, &[]).unwrap())
    }

    #[test]
    fn the_first_branch_takes_over_and_the_next_begins_afresh() {
        let parked = parked(10);
        let root = left(&parked, &key("t", "1"));
        let after = ["2".to_owned(), "1".to_owned()];
        let first = parked.place(&key("t", "3"), &after).unwrap();
        assert_eq!(Arc::as_ptr(&first), root);
        assert!(!same(&first, &parked.place(&key("t", "4"), &after).unwrap()));
        assert!(same(&first, &parked.place(&key("t", "3"), &after).unwrap()), "its own again");
    }

    #[test]
    fn nobody_takes_over_what_is_another_customers_agents_languages_or_runs() {
        let parked = parked(20);
        let root = left(&parked, &key("t", "1"));
        let after = ["1".to_owned()];
        let with_agent = {
            let (owner, language) = key("t", "2");
            (Owner { agent: Some("a".into()), ..owner }, language)
        };
        let in_javascript = (key("t", "2").0, Language::JavaScript);
        for other in [customers("c", key("t", "2")), with_agent, in_javascript, key("u", "2")] {
            assert_ne!(Arc::as_ptr(&parked.place(&other, &after).unwrap()), root, "{other:?}");
        }
        let running = parked.place(&key("t", "1"), &[]).unwrap();
        assert!(!same(&running, &parked.place(&key("t", "2"), &after).unwrap()));
    }

    #[test]
    fn the_tenant_that_holds_most_makes_room() {
        let parked = parked(4);
        for (tenant, session) in [("small", "1"), ("large", "1"), ("large", "2"), ("large", "3")] {
            left(&parked, &key(tenant, session));
        }
        let small = left(&parked, &key("small", "1"));
        let [second, third] = ["2", "3"].map(|session| left(&parked, &key("large", session)));
        left(&parked, &key("new", "1"));
        let kept = |key| parked.all.lock().unwrap().get(&key).map(|entry| Arc::as_ptr(&entry.slot));
        assert_eq!(kept(key("large", "1")), None);
        assert_eq!(kept(key("small", "1")), Some(small));
        assert_eq!((kept(key("large", "2")), kept(key("large", "3"))), (Some(second), Some(third)));
    }

    #[test]
    fn memory_is_given_back_by_the_tenant_that_holds_most_of_it() {
        let parked = parked(10);
        for (tenant, session, bytes) in [("many", "1", 5), ("many", "2", 5), ("large", "1", 60), ("many", "3", 40)] {
            left(&parked, &key(tenant, session));
            parked.settle(&key(tenant, session), bytes);
        }
        let all = parked.all.lock().unwrap();
        let mut kept: Vec<(&str, &str)> =
            all.keys().map(|(owner, _)| (owner.tenant.as_str(), owner.workspace.as_str())).collect();
        kept.sort_unstable();
        assert_eq!(kept, [("many", "1"), ("many", "2"), ("many", "3")]);
    }
}
