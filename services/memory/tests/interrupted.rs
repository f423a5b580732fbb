//! Files whose reading is cut: by a client that leaves, a server that stops, a process that dies.

mod shop;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use frontdesk_api::{
    Cx, Error, Ids, Index, Kind, Memory as _, Result,
    clock::FixedClock,
    id::CountingIds,
    memory::{Chunk, Hit, Within},
};
use frontdesk_memory::{Change, Knowledge};
use frontdesk_store::{Store, readings::Reader, testing::each_database};
use frontdesk_vectors::FullText;
use serde_json::Map;
use shop::{Tenant, cx, page};
use tokio::sync::Semaphore;

/// A search engine that takes a file in only when it is let.
struct Gate {
    index: Arc<dyn Index>,
    /// Files that stand before the gate, or did.
    came: Semaphore,
    pass: Semaphore,
    inside: AtomicUsize,
    most: AtomicUsize,
}

impl Gate {
    fn before(store: &Store) -> Arc<Self> {
        Arc::new(Self {
            index: FullText::shared(store.clone()),
            came: Semaphore::new(0),
            pass: Semaphore::new(0),
            inside: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        })
    }

    /// Waits until a file is about to be taken in.
    async fn one_came(&self) {
        self.came.acquire().await.expect("open").forget();
    }

    fn open(&self) {
        self.pass.add_permits(1_000);
    }
}

#[async_trait]
impl Index for Gate {
    async fn put(&self, cx: &Cx, store_id: &str, file_id: &str, chunks: &[Chunk]) -> Result<()> {
        let here = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(here, Ordering::SeqCst);
        self.came.add_permits(1);
        self.pass.acquire().await.expect("open").forget();
        let done = self.index.put(cx, store_id, file_id, chunks).await;
        self.inside.fetch_sub(1, Ordering::SeqCst);
        done
    }

    async fn remove(&self, cx: &Cx, store_id: &str, file_id: &str) -> Result<()> {
        self.index.remove(cx, store_id, file_id).await
    }

    async fn clear(&self, cx: &Cx, store_id: &str) -> Result<()> {
        self.index.clear(cx, store_id).await
    }

    async fn search(&self, cx: &Cx, places: &[Within], query: &str, limit: usize) -> Result<Vec<Hit>> {
        self.index.search(cx, places, query, limit).await
    }
}

/// Two gateways over one database; ids come from one place, as random ones would differ.
struct House {
    gate: Arc<Gate>,
    /// Its files stop before the gate.
    gated: Knowledge,
    other: Knowledge,
}

impl House {
    fn over(store: &Store) -> Self {
        let (gate, ids, clock) = (Gate::before(store), Arc::new(CountingIds::default()), Arc::new(FixedClock::at(1)));
        let knowledge = |index: Arc<dyn Index>| {
            let ids: Arc<dyn Ids> = ids.clone();
            Knowledge::new(store.clone(), index, clock.clone(), ids)
        };
        Self { gated: knowledge(gate.clone()), other: knowledge(FullText::shared(store.clone())), gate }
    }

    /// An empty store and a file that is not in it.
    async fn store_and_file(&self, cx: &Cx, text: &str) -> (String, String) {
        let store = self.other.create_store(cx, "pages", Map::new()).await.expect("a store");
        let file = self.other.create_file(cx, "a.md", "assistants", None, text.as_bytes()).await.expect("a file");
        (store.id, file.id)
    }

    async fn status(&self, cx: &Cx, store: &str, file: &str) -> String {
        self.other.load_store_file(cx, store, file).await.expect("in the store").status
    }

    async fn found(&self, cx: &Cx, store: &str, query: &str) -> Vec<String> {
        let found = self.other.recall(cx, &[store.to_owned()], query, 10).await.expect("recalled");
        found.into_iter().map(|p| p.text).collect()
    }
}

/// As a process leaves it that died while it read: the lease has passed.
async fn half_way(store: &Store, cx: &Cx, store_id: &str, file_id: &str) {
    let dead = Reader { id: "reader_dead", micros: -1 };
    store.tenant(cx).attach_file(store_id, file_id, None, 1, dead).await.expect("attached");
}

#[tokio::test]
async fn a_client_that_leaves_does_not_end_the_reading() {
    each_database(|store| async move {
        let (house, cx) = (House::over(&store), cx(&store, Tenant::One).await);
        let (id, file) = house.store_and_file(&cx, "Dogs are welcome.").await;
        let mut attach = Box::pin(house.gated.attach_file(&cx, &id, &file, None));
        tokio::select! {
            biased;
            _ = &mut attach => panic!("it passed the gate"),
            () = house.gate.one_came() => {}
        }
        drop(attach);
        assert_eq!(house.status(&cx, &id, &file).await, "in_progress");
        house.gate.open();
        // Waits for what still runs.
        house.gated.shutdown(Duration::from_secs(60)).await;
        assert_eq!(house.status(&cx, &id, &file).await, "completed");
        assert_eq!(house.found(&cx, &id, "dogs").await, ["Dogs are welcome."]);
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_gives_a_file_back_and_the_next_start_reads_it() {
    each_database(|store| async move {
        let (house, cx) = (House::over(&store), cx(&store, Tenant::One).await);
        let (id, file) = house.store_and_file(&cx, "Dogs are welcome.").await;
        // More often than a file may be begun: a shutdown does not count.
        for _ in 0..5 {
            let stopped = House::over(&store);
            let attached = async { stopped.gated.attach_file(&cx, &id, &file, None).await.expect("attached") };
            let stop = async {
                stopped.gate.one_came().await;
                stopped.gated.shutdown(Duration::ZERO).await;
            };
            let (attached, ()) = tokio::join!(attached, stop);
            assert_eq!(attached.status, "in_progress", "what the client is told");
            let late = stopped.gated.attach_file(&cx, &id, &file, None).await.expect_err("it is closed");
            assert_eq!(late.kind, Kind::Unavailable);
        }
        assert_eq!(house.other.resume().await.expect("resumed"), 1);
        assert_eq!(house.status(&cx, &id, &file).await, "completed");
        assert_eq!(house.found(&cx, &id, "dogs").await, ["Dogs are welcome."]);
        assert_eq!(house.other.resume().await.expect("nothing is left"), 0);
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_file_that_is_read_on() {
    each_database(|store| async move {
        let (house, cx) = (House::over(&store), cx(&store, Tenant::One).await);
        let (id, file) = house.store_and_file(&cx, "Dogs are welcome.").await;
        half_way(&store, &cx, &id, &file).await;
        let stop = async {
            house.gate.one_came().await;
            // The gate stays shut: a shutdown that waited would wait for long.
            house.gated.shutdown(Duration::from_secs(3_600)).await;
        };
        let (resumed, ()) = tokio::join!(house.gated.resume(), stop);
        assert_eq!(resumed.expect("stopped"), 0);
        assert_eq!(house.other.resume().await.expect("resumed"), 1);
        assert_eq!(house.status(&cx, &id, &file).await, "completed");
    })
    .await;
}

#[tokio::test]
async fn every_file_a_dead_process_left_is_read_a_few_at_a_time_whatever_one_of_them_is() {
    each_database(|store| async move {
        let house = House::over(&store);
        let callers = [cx(&store, Tenant::One).await, cx(&store, Tenant::Two).await];
        let mut left = Vec::new();
        for cx in &callers {
            let id = house.other.create_store(cx, "pages", Map::new()).await.expect("a store").id;
            for (name, text) in
                [("a.md", "We repair lamps."), ("b.png", "x"), ("c.md", "\0"), ("d.md", "We paint walls.")]
            {
                let file =
                    house.other.create_file(cx, name, "assistants", None, text.as_bytes()).await.expect("a file");
                half_way(&store, cx, &id, &file.id).await;
                left.push((cx, id.clone(), file.id, name));
            }
        }
        house.gate.open();
        assert_eq!(house.gated.resume().await.expect("resumed"), left.len());
        for (cx, id, file, name) in &left {
            let file = house.other.load_store_file(cx, id, file).await.expect("in the store");
            let readable = matches!(*name, "a.md" | "d.md");
            assert_eq!(file.status, if readable { "completed" } else { "failed" }, "{name}");
            assert_eq!(file.error.is_some_and(|e| e.contains(name)), !readable, "{name}");
        }
        for (cx, id, ..) in &left {
            assert_eq!(house.found(cx, id, "repair lamps").await, ["We repair lamps."]);
        }
        assert!(house.gate.most.load(Ordering::SeqCst) <= 2, "two at a time leave places for clients");
    })
    .await;
}

#[tokio::test]
async fn a_file_that_ends_every_process_that_reads_it_is_given_up() {
    each_database(|store| async move {
        let (house, cx) = (House::over(&store), cx(&store, Tenant::One).await);
        let (id, file) = house.store_and_file(&cx, "Dogs are welcome.").await;
        half_way(&store, &cx, &id, &file).await;
        let tenant = store.tenant(&cx);
        for begun in [2, 3] {
            let dies = Reader { id: "reader_dies", micros: -1 };
            assert_eq!(tenant.take_unread(&id, &file, dies).await.expect("taken over"), Some(begun));
        }
        assert_eq!(house.other.resume().await.expect("given up"), 1);
        let given_up = house.other.load_store_file(&cx, &id, &file).await.expect("in the store");
        assert_eq!((given_up.status.as_str(), given_up.error_code.as_deref()), ("failed", Some("server_error")));
        assert!(given_up.error.is_some_and(|e| e.contains("a.md") && e.contains("3 times")));
        // Put in again it has new chances.
        let again = house.other.attach_file(&cx, &id, &file, None).await.expect("attached");
        assert_eq!((again.status.as_str(), again.error), ("completed", None));
    })
    .await;
}

#[tokio::test]
async fn a_gateway_leaves_a_file_alone_that_another_reads_and_takes_it_once_that_one_is_lost() {
    each_database(|store| async move {
        let (house, cx) = (House::over(&store), cx(&store, Tenant::One).await);
        let (id, file) = house.store_and_file(&cx, "Dogs are welcome.").await;
        let slow = async { house.gated.attach_file(&cx, &id, &file, None).await.expect("attached") };
        let other = async {
            house.gate.one_came().await;
            assert_eq!(house.other.resume().await.expect("it is held"), 0);
            // The slow one counts as dead, but is not: both read.
            store.system().end_readings().await.expect("the lease passed");
            assert_eq!(house.other.resume().await.expect("taken over"), 1);
            assert_eq!(house.status(&cx, &id, &file).await, "completed");
            house.gate.open();
        };
        let (attached, ()) = tokio::join!(slow, other);
        assert_eq!((attached.status.as_str(), attached.passages), ("completed", 1));
        assert_eq!(house.found(&cx, &id, "dogs").await, ["Dogs are welcome."]);
    })
    .await;
}

#[tokio::test]
async fn a_file_taken_out_while_it_is_read_leaves_nothing_and_put_in_again_it_is_whole() {
    each_database(|store| async move {
        let (house, cx) = (House::over(&store), cx(&store, Tenant::One).await);
        let (id, file) = house.store_and_file(&cx, "Dogs are welcome.").await;
        let slow = async { house.gated.attach_file(&cx, &id, &file, None).await };
        let other = async {
            house.gate.one_came().await;
            house.other.remove_store_file(&cx, &id, &file).await.expect("taken out");
            house.gate.open();
        };
        let (gone, ()) = tokio::join!(slow, other);
        assert_eq!(gone.expect_err("not in any more").kind, Kind::NotFound);
        let index = FullText::new(store.clone());
        let place = Within { store_id: id.clone(), files: None };
        let left = index.search(&cx, &[place], "dogs welcome", 10).await.expect("searched");
        assert!(left.is_empty(), "{left:?}");

        let again = House::over(&store);
        let slow = async { again.gated.attach_file(&cx, &id, &file, None).await.expect("attached") };
        let other = async {
            again.gate.one_came().await;
            house.other.remove_store_file(&cx, &id, &file).await.expect("taken out");
            house.other.attach_file(&cx, &id, &file, None).await.expect("put in again");
            again.gate.open();
        };
        let (attached, ()) = tokio::join!(slow, other);
        assert_eq!(attached.status, "completed");
        assert_eq!(house.found(&cx, &id, "dogs").await, ["Dogs are welcome."]);
    })
    .await;
}

#[tokio::test]
async fn a_new_version_whose_reader_died_still_takes_the_place_of_the_old_one() {
    each_database(|store| async move {
        let (house, cx) = (House::over(&store), cx(&store, Tenant::One).await);
        let id = house.other.create_store(&cx, "pages", Map::new()).await.expect("a store").id;
        let old = house.other.add_file(&cx, &id, page("hours.md", "We open at nine.")).await.expect("added");
        let stop = async {
            house.gate.one_came().await;
            house.gated.shutdown(Duration::ZERO).await;
        };
        let (cut, ()) = tokio::join!(house.gated.add_file(&cx, &id, page("hours.md", "We open at ten.")), stop);
        assert_eq!(cut.expect_err("cut off").kind, Kind::Unavailable);
        assert_eq!(house.found(&cx, &id, "when open").await, ["We open at nine."]);
        assert_eq!(house.other.resume().await.expect("resumed"), 1);
        assert_eq!(house.found(&cx, &id, "when open").await, ["We open at ten."]);
        let gone = house.other.load_file(&cx, &old.file.file_id).await.expect_err("the old version is gone");
        assert_eq!(gone.kind, Kind::NotFound);
        let same = house.other.add_file(&cx, &id, page("hours.md", "We open at ten.")).await.expect("added");
        assert_eq!(same.change, Change::Unchanged);
    })
    .await;
}

#[tokio::test]
async fn all_files_of_one_request_are_in_before_the_first_is_read() {
    each_database(|store| async move {
        let (house, cx) = (House::over(&store), cx(&store, Tenant::One).await);
        let (id, first) = house.store_and_file(&cx, "Dogs are welcome.").await;
        let second =
            house.other.create_file(&cx, "b.md", "assistants", None, b"Cats are welcome.").await.expect("a file");
        let files = [first, second.id];
        let stop = async {
            house.gate.one_came().await;
            house.gated.shutdown(Duration::ZERO).await;
        };
        let (attached, ()) = tokio::join!(house.gated.attach_files(&cx, &id, &files), stop);
        attached.expect("they are in");
        let counts = house.other.load_store(&cx, &id).await.expect("loaded").files;
        assert_eq!((counts.in_progress, counts.total()), (2, 2));
        assert_eq!(house.other.resume().await.expect("resumed"), 2);
        let none = house.other.attach_files(&cx, &id, &[files[0].clone(), "file_none".into()]).await;
        assert_eq!(none.expect_err("not there").kind, Kind::NotFound);
    })
    .await;
}

/// Fails as told, the first time.
struct Ill(Arc<dyn Index>, std::sync::Mutex<Option<Error>>);

#[async_trait]
impl Index for Ill {
    async fn put(&self, cx: &Cx, store_id: &str, file_id: &str, chunks: &[Chunk]) -> Result<()> {
        let error = self.1.lock().expect("unpoisoned").take();
        match error {
            Some(error) => Err(error),
            None => self.0.put(cx, store_id, file_id, chunks).await,
        }
    }

    async fn remove(&self, cx: &Cx, store_id: &str, file_id: &str) -> Result<()> {
        self.0.remove(cx, store_id, file_id).await
    }

    async fn clear(&self, cx: &Cx, store_id: &str) -> Result<()> {
        self.0.clear(cx, store_id).await
    }

    async fn search(&self, cx: &Cx, places: &[Within], query: &str, limit: usize) -> Result<Vec<Hit>> {
        self.0.search(cx, places, query, limit).await
    }
}

#[tokio::test]
async fn an_error_that_passes_leaves_the_file_to_be_read_and_another_one_fails_it() {
    each_database(|store| async move {
        let (house, cx) = (House::over(&store), cx(&store, Tenant::One).await);
        let (id, file) = house.store_and_file(&cx, "Dogs are welcome.").await;
        let ill = |error: Error| {
            let index = Arc::new(Ill(FullText::shared(store.clone()), std::sync::Mutex::new(Some(error))));
            Knowledge::new(store.clone(), index, Arc::new(FixedClock::at(1)), Arc::new(CountingIds::default()))
        };
        let busy = ill(Error::unavailable("the index is busy"));
        let told = busy.attach_file(&cx, &id, &file, None).await.expect_err("busy");
        assert_eq!((told.kind, house.status(&cx, &id, &file).await.as_str()), (Kind::Unavailable, "in_progress"));
        store.system().end_readings().await.expect("the lease passed");
        assert_eq!(busy.resume().await.expect("resumed"), 1);
        assert_eq!(house.status(&cx, &id, &file).await, "completed");

        let refusing = ill(Error::invalid("text", "the index cannot keep this text"));
        let told = refusing.attach_file(&cx, &id, &file, None).await.expect("it is in");
        assert_eq!((told.status.as_str(), told.error.as_deref()), ("failed", Some("the index cannot keep this text")));
    })
    .await;
}

#[tokio::test]
async fn a_start_reads_on_by_itself() {
    let store = Store::temporary().await.expect("a store");
    let (house, cx) = (House::over(&store), cx(&store, Tenant::One).await);
    let (id, file) = house.store_and_file(&cx, "Dogs are welcome.").await;
    // Killed a moment ago: its lease lasts, but on SQLite nobody else can be there.
    let killed = Reader { id: "reader_dead", micros: 3_600_000_000 };
    store.tenant(&cx).attach_file(&id, &file, None, 1, killed).await.expect("attached");
    assert_eq!(house.other.resume().await.expect("it is held"), 0);
    assert_eq!(house.other.recover().await.expect("begun"), 1);
    while house.status(&cx, &id, &file).await == "in_progress" {
        tokio::task::yield_now().await;
    }
    assert_eq!(house.found(&cx, &id, "dogs").await, ["Dogs are welcome."]);
}
