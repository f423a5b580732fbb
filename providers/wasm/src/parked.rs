//! Instances of conversations between their calls: bounded in number, memory and idle time.
//!
//! Invariant: an instance belongs to one customer's conversation with one agent and to what it is an instance of (a
//! language, a tool as it was registered), and is reached by exactly that key. Its calls wait for each other. Of a line of
//! turns without a session the first to call after a turn takes over what that one left, so no two branches share an
//! instance. When there are too many, the least lately used of the tenant that holds most goes first, so that none pushes
//! out another that holds less; one that runs never goes.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError},
    time::{Duration, Instant},
};

use frontdesk_api::{Cx, customer, customer::Customer};
use tokio::sync::OwnedMutexGuard;

/// Whose instance it is.
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

impl Place {
    /// A conversation that nobody else is part of.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let owner = Owner { tenant: String::new(), customer: None, agent: None, workspace: name.to_owned() };
        Self { owner, after: vec![] }
    }

    /// Where the conversation keeps instances; None: there is no conversation.
    pub(crate) fn of(cx: &Cx) -> Option<Self> {
        let workspace = cx.workspace.as_ref()?;
        let owner = Owner {
            tenant: cx.tenant.clone(),
            customer: cx.customer.as_ref().map(Customer::owner),
            agent: cx.agent.clone(),
            workspace: workspace.id.clone(),
        };
        // Who keeps under another id than the turn's own, as a replay does, takes over nothing.
        let after = if cx.turn.as_ref() == Some(&workspace.id) { workspace.after.clone() } else { vec![] };
        Some(Self { owner, after })
    }
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub sessions: usize,
    /// Bytes of memory of all of them.
    pub bytes: usize,
    pub idle: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { sessions: 200, bytes: 1 << 30, idle: Duration::from_secs(600) }
    }
}

type Key<W> = (Owner, W);
/// Its calls wait for each other here. None: not started, or stopped.
type Slot<S> = Arc<tokio::sync::Mutex<Option<S>>>;
type All<W, S> = HashMap<Key<W>, Entry<S>>;

struct Entry<S> {
    slot: Slot<S>,
    used: Instant,
    bytes: usize,
}

/// Instances `S` of what `W` names.
pub(crate) struct Parked<W, S> {
    bounds: Bounds,
    all: Mutex<All<W, S>>,
    sweeping: Once,
}

/// Why a call has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// All are in use, or others that hold less have them.
    Full,
    /// Calls before it took too long.
    Waited,
}

/// A conversation's place while one call has it.
pub(crate) struct Held<W, S> {
    of: Arc<Parked<W, S>>,
    key: Key<W>,
    slot: OwnedMutexGuard<Option<S>>,
}

impl<W: Clone + Eq + Hash + Send + 'static, S: Send + 'static> Parked<W, S> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, all: Mutex::default(), sweeping: Once::new() }
    }

    /// The conversation's place, taken over from the nearest turn before it or made where there is none, once no other
    /// call has it.
    ///
    /// # Errors
    /// Where that takes longer than `wait`, or there is no place for this tenant.
    pub(crate) async fn hold(self: &Arc<Self>, place: Place, what: W, wait: Duration) -> Result<Held<W, S>, NoPlace> {
        let Place { owner, after } = place;
        let key = (owner, what);
        let slot = async {
            loop {
                let slot = self.place(&key, &after).ok_or(NoPlace::Full)?.lock_owned().await;
                // What a call waits for may be let go of meanwhile, and nobody goes on with that.
                if self.is_here(&key, OwnedMutexGuard::mutex(&slot)) {
                    return Ok::<_, NoPlace>(slot);
                }
            }
        };
        let slot = tokio::time::timeout(wait, slot).await.map_err(|_| NoPlace::Waited)??;
        self.sweep();
        Ok(Held { of: Arc::clone(self), key, slot })
    }

    fn is_here(&self, key: &Key<W>, slot: &Slot<S>) -> bool {
        self.all().get(key).is_some_and(|entry| Arc::ptr_eq(&entry.slot, slot))
    }

    fn place(&self, key: &Key<W>, after: &[String]) -> Option<Slot<S>> {
        let mut gone = vec![];
        let mut all = self.all();
        if !all.contains_key(key)
            && let Some(entry) = take_over(&mut all, key, after)
        {
            all.insert(key.clone(), entry);
        }
        if !all.contains_key(key) {
            while all.len() >= self.bounds.sessions {
                gone.push(leave(&mut all, Some(&key.0.tenant), |_| 1)?);
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

    /// `bytes` is what the instance in `slot` holds now, 0 where there is none: it runs, or was stopped. One that was let go
    /// of weighs nothing here; another may stand in its place.
    fn weigh(&self, key: &Key<W>, slot: &Slot<S>, bytes: usize) {
        if let Some(entry) = self.all().get_mut(key).filter(|entry| Arc::ptr_eq(&entry.slot, slot)) {
            (entry.used, entry.bytes) = (Instant::now(), bytes);
        }
    }

    /// Drops instances until those that stay are within bounds.
    fn make_room(&self) {
        let mut gone = vec![];
        let mut all = self.all();
        while all.values().map(|entry| entry.bytes).sum::<usize>() > self.bounds.bytes {
            let Some(entry) = leave(&mut all, None, |entry| entry.bytes) else { break };
            gone.push(entry);
        }
        drop(all);
        drop(gone);
    }

    /// Drops those of which this is true; one that runs, as soon as it ends, and a call that waits for it begins afresh.
    pub(crate) fn drop_of(&self, is_theirs: impl Fn(&Key<W>) -> bool) {
        let gone: Vec<_> = self.all().extract_if(|key, _| is_theirs(key)).collect();
        drop(gone);
    }

    /// Drops those of a tenant's conversations of these ids.
    pub(crate) fn drop_of_conversations(&self, tenant: &str, workspaces: &[String]) {
        // An agent's may be many, and all instances are looked through under the lock.
        let theirs: HashSet<&str> = workspaces.iter().map(String::as_str).collect();
        self.drop_of(|(owner, _)| owner.tenant == tenant && theirs.contains(owner.workspace.as_str()));
    }

    fn drop_where(&self, is_over: impl Fn(&Key<W>, &Entry<S>) -> bool) {
        let mut all = self.all();
        let gone: Vec<_> = all.extract_if(|key, entry| is_free(entry) && is_over(key, entry)).collect();
        drop(all);
        drop(gone);
    }

    /// From the first one on, those that are idle too long are dropped.
    fn sweep(self: &Arc<Self>) {
        self.sweeping.call_once(|| {
            let parked = Arc::downgrade(self);
            let idle = self.bounds.idle;
            let pause = (idle / 4).max(Duration::from_millis(10));
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(pause).await;
                    let Some(parked) = parked.upgrade() else { return };
                    parked.drop_where(|_, entry| entry.used.elapsed() > idle);
                }
            });
        });
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    pub(crate) fn len(&self) -> usize {
        self.all().len()
    }

    fn all(&self) -> MutexGuard<'_, All<W, S>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Clone + Eq + Hash + Send + 'static, S: Send + 'static> Held<W, S> {
    /// What the last call left.
    pub(crate) fn kept(&self) -> Option<&S> {
        self.slot.as_ref()
    }

    /// Out of its place while it runs: whoever stops waiting leaves nothing half run behind.
    pub(crate) fn take(&mut self) -> Option<S> {
        let kept = self.slot.take();
        self.of.weigh(&self.key, OwnedMutexGuard::mutex(&self.slot), 0);
        kept
    }

    /// For the next call; it holds `bytes` of memory of its own.
    pub(crate) fn put_back(mut self, instance: S, bytes: usize) {
        *self.slot = Some(instance);
        let Self { of, key, slot } = self;
        // Before the next call may have it; and what is dropped for it may be itself.
        of.weigh(&key, OwnedMutexGuard::mutex(&slot), bytes);
        drop(slot);
        of.make_room();
    }
}

/// Takes out what the nearest of these turns left for the same customer, agent and kind, unless it runs.
fn take_over<W: Clone + Eq + Hash, S>(
    all: &mut All<W, S>,
    (owner, what): &Key<W>,
    after: &[String],
) -> Option<Entry<S>> {
    let mut keys = after.iter().map(|turn| (Owner { workspace: turn.clone(), ..owner.clone() }, what.clone()));
    let key = keys.find(|key| all.contains_key(key))?;
    if is_free(&all[&key]) { all.remove(&key) } else { None }
}

/// Takes out the least lately used that does not run, of the tenant whose entries weigh most together; `for_` a tenant none
/// of one whose entries, those that run among them, weigh less than its own.
fn leave<W: Clone + Eq + Hash, S>(
    all: &mut All<W, S>,
    for_: Option<&str>,
    weight: impl Fn(&Entry<S>) -> usize,
) -> Option<Entry<S>> {
    let mut held = HashMap::<&str, usize>::new();
    for ((owner, _), entry) in all.iter() {
        *held.entry(&owner.tenant).or_default() += weight(entry);
    }
    let own = for_.and_then(|tenant| held.get(tenant).copied()).unwrap_or_default();
    let may_go = |tenant: &str| for_ == Some(tenant) || held.get(tenant).is_some_and(|weight| *weight >= own);
    let free = all.iter().filter(|((owner, _), entry)| is_free(entry) && may_go(&owner.tenant));
    let first = free.max_by_key(|((owner, _), entry)| (held.get(owner.tenant.as_str()), Reverse(entry.used)));
    let key = first.map(|(key, _)| key.clone())?;
    all.remove(&key)
}

/// Whoever runs or waits for it holds a second handle.
fn is_free<S>(entry: &Entry<S>) -> bool {
    Arc::strong_count(&entry.slot) == 1
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use super::*;

    type Key = super::Key<&'static str>;
    type Parked = super::Parked<&'static str, ()>;
    type Slot = super::Slot<()>;

    fn key(tenant: &str, workspace: &str) -> Key {
        let owner = Owner { tenant: tenant.into(), customer: None, agent: None, workspace: workspace.into() };
        (owner, "python")
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
    fn left(parked: &Parked, key: &Key) -> *const tokio::sync::Mutex<Option<()>> {
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
        let in_javascript = (key("t", "2").0, "javascript");
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
    fn a_tenant_whose_entries_all_run_takes_none_of_those_that_hold_less() {
        let parked = parked(3);
        let running = ["1", "2"].map(|session| parked.place(&key("large", session), &[]).unwrap());
        let small = left(&parked, &key("small", "1"));
        assert!(parked.place(&key("large", "3"), &[]).is_none());
        let kept = parked.all.lock().unwrap().get(&key("small", "1")).map(|entry| Arc::as_ptr(&entry.slot));
        assert_eq!(kept, Some(small));
        // What runs is let go of too, and ends where nobody finds it.
        parked.drop_of(|(owner, _)| owner.tenant == "large");
        assert_eq!((parked.len(), running.len()), (1, 2));
    }

    #[tokio::test]
    async fn a_call_that_waited_for_what_was_let_go_of_begins_afresh() {
        let wait = Duration::from_secs(60);
        let parked = Arc::new(super::Parked::<&str, u8>::new(Bounds::default()));
        let first = parked.hold(Place::named("1"), "python", wait).await.unwrap();
        let mut second = Box::pin(parked.hold(Place::named("1"), "python", wait));
        assert!(poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx).is_pending())).await);
        parked.drop_of_conversations("", &["1".into()]);
        first.put_back(7, 1);
        let second = second.await.unwrap();
        assert_eq!(second.kept(), None);
        second.put_back(8, 1);
        assert_eq!(parked.hold(Place::named("1"), "python", wait).await.unwrap().kept(), Some(&8));
    }

    #[tokio::test]
    async fn what_was_let_go_of_weighs_nothing_in_its_successors_place() {
        let wait = Duration::from_secs(60);
        let parked = Arc::new(super::Parked::<&str, u8>::new(Bounds::default()));
        let mut first = parked.hold(Place::named("1"), "python", wait).await.unwrap();
        parked.drop_of_conversations("", &["1".into()]);
        parked.hold(Place::named("1"), "python", wait).await.unwrap().put_back(2, 200);
        first.take();
        first.put_back(1, 20);
        assert_eq!(parked.all().values().map(|entry| entry.bytes).collect::<Vec<_>>(), [200]);
    }

    #[test]
    fn memory_is_given_back_by_the_tenant_that_holds_most_of_it() {
        let parked = parked(10);
        for (tenant, session, bytes) in [("many", "1", 5), ("many", "2", 5), ("large", "1", 60), ("many", "3", 40)] {
            let key = key(tenant, session);
            left(&parked, &key);
            let slot = Arc::clone(&parked.all()[&key].slot);
            parked.weigh(&key, &slot, bytes);
            drop(slot);
            parked.make_room();
        }
        let all = parked.all.lock().unwrap();
        let mut kept: Vec<(&str, &str)> =
            all.keys().map(|(owner, _)| (owner.tenant.as_str(), owner.workspace.as_str())).collect();
        kept.sort_unstable();
        assert_eq!(kept, [("many", "1"), ("many", "2"), ("many", "3")]);
    }
}
