//! What every provider offers: asked for when somebody first wants to know, and again behind whoever asks later.
//!
//! Invariants: a list that was read once is answered with at once, until a newer one replaces it, and a refresh that
//! fails leaves it as it is; one provider is asked once at a time, and a provider that is slow or down holds up nobody
//! whose list is known. Nobody's own key or request goes into asking: a list is the house's.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use frontdesk_api::{Cx, Inference, inference::Model};
use futures::future::{Either, join_all, select};
use serde::Serialize;
use tokio::runtime::Handle;

use crate::time::Time;

/// Longest wait for one provider's list.
const PATIENCE: Duration = Duration::from_secs(3);

/// A list older than this is asked for again, while the old one is answered with.
pub(crate) const REFRESH: Duration = Duration::from_secs(60);

/// A list older than this is too old to answer with before its provider was asked: nobody wanted to know for long.
pub(crate) const STALE: Duration = Duration::from_secs(15 * 60);

/// A provider that said nothing in time is asked again behind whoever wants to know, this often at most.
const AGAIN: Duration = Duration::from_secs(10);

pub(crate) struct Catalog {
    shelves: Vec<Arc<Shelf>>,
    time: Arc<dyn Time>,
    /// Where lists are refreshed: a runtime that outlives requests. None: there was none, so callers wait.
    runtime: Option<Handle>,
    whole: Mutex<Whole>,
}

/// All lists as one, as they stood when their numbers of changes came to this.
#[derive(Default)]
struct Whole {
    changes: u64,
    models: Arc<[Model]>,
}

/// One provider's list.
struct Shelf {
    id: String,
    provider: Arc<dyn Inference>,
    held: Mutex<Held>,
    /// Held by who asks the provider.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Held {
    /// The last list that was read, and when.
    list: Option<(Instant, Arc<[Model]>)>,
    changes: u64,
    /// How often the provider has been asked.
    attempts: u64,
    /// When it was last asked.
    asked: Option<Instant>,
    /// Why the last attempt failed; None: it did not.
    error: Option<String>,
    /// The last attempt was given up: nobody waits for another.
    silent: bool,
}

/// A provider's list as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListInfo {
    /// Models on the last list that was read.
    pub count: usize,
    /// Since it was read; None: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_s: Option<u64>,
    /// Why the provider could not be asked again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Catalog {
    /// Lists are refreshed on the runtime this is called on.
    pub(crate) fn new(providers: &BTreeMap<String, Arc<dyn Inference>>, time: Arc<dyn Time>) -> Self {
        let shelves = providers.iter().map(|(id, provider)| Arc::new(Shelf::new(id, provider))).collect();
        Self { shelves, time, runtime: Handle::try_current().ok(), whole: Mutex::default() }
    }

    /// Every list as far as it is known.
    pub(crate) async fn models(&self) -> Arc<[Model]> {
        let now = self.time.now();
        let mut first = vec![];
        for shelf in &self.shelves {
            match shelf.need(now) {
                Need::Nothing => {}
                Need::Behind => match &self.runtime {
                    Some(runtime) => {
                        let (shelf, time) = (Arc::clone(shelf), Arc::clone(&self.time));
                        runtime.spawn(async move { shelf.refresh(&time).await });
                    }
                    None => first.push(shelf.refresh(&self.time)),
                },
                Need::First => first.push(shelf.refresh(&self.time)),
            }
        }
        join_all(first).await;
        self.whole()
    }

    fn whole(&self) -> Arc<[Model]> {
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        let lists: Vec<(u64, Option<Arc<[Model]>>)> = self
            .shelves
            .iter()
            .map(|shelf| {
                let held = shelf.held();
                (held.changes, held.list.as_ref().map(|(_, models)| Arc::clone(models)))
            })
            .collect();
        let changes = lists.iter().map(|(changes, _)| changes).sum();
        if whole.changes != changes {
            let models = lists.iter().filter_map(|(_, list)| list.as_ref()).flat_map(|list| list.iter().cloned());
            *whole = Whole { changes, models: models.collect() };
        }
        Arc::clone(&whole.models)
    }

    /// How the list of a provider is; None: there is no such provider.
    pub(crate) fn shown(&self, provider: &str) -> Option<ListInfo> {
        let shelf = self.shelves.iter().find(|shelf| shelf.id == provider)?;
        let (held, now) = (shelf.held(), self.time.now());
        let age_s = held.list.as_ref().map(|(read, _)| now.saturating_duration_since(*read).as_secs());
        let count = held.list.as_ref().map_or(0, |(_, models)| models.len());
        Some(ListInfo { count, age_s, error: held.error.clone() })
    }
}

/// What reading a list calls for.
enum Need {
    Nothing,
    /// To ask the provider while the list is answered with.
    Behind,
    /// To ask the provider before there is anything to answer with.
    First,
}

impl Shelf {
    fn new(id: &str, provider: &Arc<dyn Inference>) -> Self {
        let (held, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { id: id.to_owned(), provider: Arc::clone(provider), held, turn }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A need that is told counts as met: the next caller does not ask beside this one.
    fn need(&self, now: Instant) -> Need {
        let mut held = self.held();
        let since = |moment: Option<Instant>| moment.map(|moment| now.saturating_duration_since(moment));
        let Some(age) = since(held.list.as_ref().map(|(read, _)| *read)) else {
            if !held.silent {
                // One that was never read is wanted by every caller: the provider may be back a moment later.
                return Need::First;
            }
            if since(held.asked).is_some_and(|asked| asked < AGAIN) {
                return Need::Nothing;
            }
            held.asked = Some(now);
            return Need::Behind;
        };
        if age < REFRESH || since(held.asked).is_some_and(|asked| asked < REFRESH) {
            return Need::Nothing;
        }
        held.asked = Some(now);
        if age < STALE || held.silent { Need::Behind } else { Need::First }
    }

    /// Asks the provider, unless that was done while this waited for its turn.
    async fn refresh(&self, time: &Arc<dyn Time>) {
        let before = self.held().attempts;
        let _turn = self.turn.lock().await;
        if self.held().attempts != before {
            return;
        }
        self.held().asked = Some(time.now());
        let cx = Cx::internal("", "models");
        let asked = self.provider.models(&cx);
        let (answer, silent) = match select(asked, time.sleep(PATIENCE)).await {
            Either::Left((answer, _)) => (answer.map_err(|e| e.message), false),
            Either::Right(_) => (Err(format!("no list within {} s", PATIENCE.as_secs())), true),
        };
        let mut held = self.held();
        held.attempts += 1;
        held.silent = silent;
        match answer {
            Ok(models) => {
                if held.list.as_ref().is_none_or(|(_, old)| **old != *models) {
                    held.changes += 1;
                }
                held.list = Some((time.now(), models.into()));
                held.error = None;
            }
            Err(error) => {
                tracing::warn!(provider = self.id, error, "cannot list the models of a provider");
                held.error = Some(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use frontdesk_api::{ChatReply, ChatRequest, Error, Result, inference::ModelKind};
    use tokio::{sync::Notify, task::yield_now};

    use super::*;
    use crate::tests::stage::{Hand, Shared};

    /// Lists one model more each time it is asked, or fails; answers when it is let.
    #[derive(Default)]
    struct Growing {
        asked: AtomicUsize,
        fails: Mutex<bool>,
        waits: Option<Notify>,
    }

    #[async_trait]
    impl Inference for Growing {
        async fn chat(&self, _: &Cx, _: ChatRequest) -> Result<ChatReply> {
            Err(Error::unavailable("never asked"))
        }

        async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
            assert_eq!(cx.tenant, "", "nobody's own request");
            let times = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            if let Some(gate) = &self.waits {
                gate.notified().await;
            }
            if *self.fails.lock().expect("unpoisoned") {
                return Err(Error::unavailable("down"));
            }
            let model = |n: usize| Model {
                id: format!("up/{n}"),
                provider: "up".into(),
                upstream_id: n.to_string(),
                kind: ModelKind::Llm,
                created: 0,
                description: None,
            };
            Ok((1..=times).map(model).collect())
        }
    }

    fn catalog(provider: &Arc<Growing>, hand: &Arc<Hand>) -> Catalog {
        let providers = BTreeMap::from([("up".to_owned(), Arc::clone(provider) as Arc<dyn Inference>)]);
        Catalog::new(&providers, Arc::new(Shared(Arc::clone(hand))))
    }

    /// Lets what runs beside the test go on until the provider was asked so often and nobody is at it any more.
    async fn settled(catalog: &Catalog, provider: &Growing, asked: usize) {
        while provider.asked.load(Ordering::SeqCst) < asked || catalog.shelves[0].turn.try_lock().is_err() {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_list_is_answered_with_while_its_successor_is_fetched() {
        let (up, hand) = (Arc::new(Growing::default()), Hand::still());
        let catalog = catalog(&up, &hand);
        assert_eq!(up.asked.load(Ordering::SeqCst), 0, "nobody wanted to know");
        assert_eq!(catalog.models().await.len(), 1);
        hand.pass(REFRESH - Duration::from_secs(1));
        assert_eq!((catalog.models().await.len(), up.asked.load(Ordering::SeqCst)), (1, 1));
        hand.pass(Duration::from_secs(1));
        // Both are answered at once, and one of them sends for the new list.
        assert_eq!((catalog.models().await.len(), catalog.models().await.len()), (1, 1));
        settled(&catalog, &up, 2).await;
        assert_eq!((catalog.models().await.len(), up.asked.load(Ordering::SeqCst)), (2, 2));
        hand.pass(STALE);
        assert_eq!(catalog.models().await.len(), 3, "too old to answer with");
    }

    #[tokio::test]
    async fn a_refresh_that_fails_keeps_the_last_list_and_says_so() {
        let (up, hand) = (Arc::new(Growing::default()), Hand::still());
        let catalog = catalog(&up, &hand);
        assert_eq!(catalog.shown("up"), Some(ListInfo { count: 0, age_s: None, error: None }));
        catalog.models().await;
        *up.fails.lock().expect("unpoisoned") = true;
        for (wait, asked) in [(REFRESH, 2), (STALE, 3)] {
            hand.pass(wait);
            assert_eq!(catalog.models().await.len(), 1);
            settled(&catalog, &up, asked).await;
            // Not again at once.
            assert_eq!((catalog.models().await.len(), up.asked.load(Ordering::SeqCst)), (1, asked));
        }
        let age_s = Some((REFRESH + STALE).as_secs());
        assert_eq!(catalog.shown("up"), Some(ListInfo { count: 1, age_s, error: Some("down".into()) }));
        *up.fails.lock().expect("unpoisoned") = false;
        hand.pass(REFRESH);
        assert_eq!(catalog.models().await.len(), 4);
        assert_eq!(catalog.shown("up"), Some(ListInfo { count: 4, age_s: Some(0), error: None }));
        assert_eq!(catalog.shown("down"), None);
    }

    #[tokio::test]
    async fn who_comes_first_asks_for_all_who_wait() {
        let (up, hand) = (Arc::new(Growing { waits: Some(Notify::new()), ..Growing::default() }), Hand::still());
        let catalog = catalog(&up, &hand);
        let gate = up.waits.as_ref().expect("a gate");
        let opened = async {
            yield_now().await;
            gate.notify_one();
        };
        *up.fails.lock().expect("unpoisoned") = true;
        let (a, b, ()) = futures::join!(catalog.models(), catalog.models(), opened);
        assert_eq!((a.len(), b.len(), up.asked.load(Ordering::SeqCst)), (0, 0, 1));
        *up.fails.lock().expect("unpoisoned") = false;
        gate.notify_one();
        assert_eq!(catalog.models().await.len(), 2, "it may be back a moment later");
    }

    #[tokio::test]
    async fn a_provider_that_says_nothing_is_waited_for_a_little() {
        let (up, hand) = (Arc::new(Growing { waits: Some(Notify::new()), ..Growing::default() }), Hand::new());
        let catalog = catalog(&up, &hand);
        assert_eq!(catalog.models().await.len(), 0);
        assert_eq!(hand.waited(), [PATIENCE]);
        assert_eq!(catalog.shown("up").and_then(|list| list.error).as_deref(), Some("no list within 3 s"));
    }

    #[tokio::test]
    async fn a_provider_that_said_nothing_is_not_waited_for_again() {
        let (up, hand) = (Arc::new(Growing { waits: Some(Notify::new()), ..Growing::default() }), Hand::new());
        let catalog = catalog(&up, &hand);
        for _ in 0..3 {
            assert_eq!(catalog.models().await.len(), 0);
        }
        assert_eq!((hand.waited(), up.asked.load(Ordering::SeqCst)), (vec![PATIENCE], 1));
        up.waits.as_ref().expect("a gate").notify_one();
        hand.pass(AGAIN);
        assert_eq!(catalog.models().await.len(), 0, "asked behind this one");
        settled(&catalog, &up, 2).await;
        assert_eq!((catalog.models().await.len(), catalog.shown("up").and_then(|list| list.error)), (2, None));
    }
}
