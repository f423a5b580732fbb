//! Contents elsewhere than in rows: kept, read, cleared, and what becomes of them when somebody dies or a place is down.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use frontdesk_api::{
    Blobs, Contents, Cx, Error, Kind, Result,
    blobs::{Pieces, Place, whole},
    clock::FixedClock,
    code::{Bounds, Stored, Written},
    cx::Workspace,
    id::{CountingIds, RandomIds},
    provider::Health,
};
use frontdesk_memory::{At, Knowledge, Pace, Shelf, StoredFile};
use frontdesk_store::{
    Store, agents, claims, containers,
    testing::{each_database, two_tenants},
    turns::{self, OnInput, StoredTurn, TurnRequest},
};
use frontdesk_vectors::FullText;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Map, json};
use tokio::sync::Barrier;

/// A place in memory.
#[derive(Default)]
struct Heap {
    all: Mutex<BTreeMap<String, Vec<u8>>>,
    down: AtomicBool,
    /// Where those that put something wait for each other, before and after.
    meet: Option<Barrier>,
}

impl Heap {
    fn keys(&self) -> Vec<String> {
        self.all.lock().expect("unpoisoned").keys().cloned().collect()
    }

    fn reach(&self) -> Result<()> {
        if self.down.load(Ordering::SeqCst) { Err(Error::unavailable("the heap is down")) } else { Ok(()) }
    }

    /// Replaces every content.
    fn replace(&self, content: Option<&[u8]>) {
        let mut all = self.all.lock().expect("unpoisoned");
        match content {
            Some(content) => all.values_mut().for_each(|old| *old = content.to_vec()),
            None => all.clear(),
        }
    }
}

#[async_trait]
impl Blobs for Heap {
    async fn put(&self, cx: &Cx, key: &str, content: Pieces<'_>) -> Result<()> {
        self.reach()?;
        if cx.cancel.is_cancelled() || cx.deadline.is_some_and(|at| at <= Instant::now()) {
            return Err(Error::cancelled());
        }
        let all = content.try_collect::<Vec<_>>().await?.concat();
        if let Some(meet) = &self.meet {
            meet.wait().await;
        }
        self.all.lock().expect("unpoisoned").insert(format!("{}/{key}", cx.tenant), all);
        if let Some(meet) = &self.meet {
            meet.wait().await;
        }
        Ok(())
    }

    async fn get(&self, cx: &Cx, key: &str, range: Option<Range<u64>>) -> Result<Pieces<'static>> {
        self.reach()?;
        let found = self.all.lock().expect("unpoisoned").get(&format!("{}/{key}", cx.tenant)).cloned();
        let content = found.ok_or_else(|| Error::not_found("no such content"))?;
        let at = |n: u64| usize::try_from(n).expect("small");
        let part = range.map_or(0..content.len(), |range| at(range.start)..at(range.end));
        // In small pieces, as from a wire.
        let pieces: Vec<_> = content[part].chunks(3).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Ok(stream::iter(pieces).boxed())
    }

    async fn delete(&self, cx: &Cx, key: &str) -> Result<()> {
        self.reach()?;
        self.all.lock().expect("unpoisoned").remove(&format!("{}/{key}", cx.tenant));
        Ok(())
    }

    async fn health(&self) -> Health {
        Health::default()
    }
}

fn at(heap: &Arc<Heap>) -> At {
    Some(heap.clone())
}

/// Leases that have passed nearly as soon as they are taken.
const PASSED: Pace = Pace { lease: Duration::from_micros(4), look: Duration::from_secs(3600) };

fn shelf(store: &Store, places: &[(&str, At)]) -> Shelf {
    let places = places.iter().map(|(id, place)| ((*id).to_owned(), place.clone())).collect();
    Shelf::new(store.clone(), Arc::new(RandomIds), places)
}

fn knowledge(store: &Store, shelf: &Shelf) -> Knowledge {
    let index = FullText::shared(store.clone());
    Knowledge::new(store.clone(), index, Arc::new(FixedClock::at(1)), Arc::new(RandomIds)).with_shelf(shelf.clone())
}

async fn upload(knowledge: &Knowledge, cx: &Cx, content: &str) -> StoredFile {
    knowledge.create_file(cx, "a.md", "assistants", None, content.as_bytes()).await.expect("a file")
}

async fn part(shelf: &Shelf, cx: &Cx, file: &str, range: Range<u64>) -> Bytes {
    shelf.open(cx, file, Some(range)).await.expect("there").whole().await.expect("read")
}

#[tokio::test]
async fn a_file_is_read_where_it_was_put_wherever_new_ones_go() {
    each_database(async |store: Store| {
        let (cx, other) = two_tenants(&store).await;
        let heap = Arc::new(Heap::default());
        let in_rows = knowledge(&store, &shelf(&store, &[]));
        let old = upload(&in_rows, &cx, "Cats are welcome.").await;
        let shelf_at_heap = shelf(&store, &[("heap", at(&heap))]);
        let at_heap = knowledge(&store, &shelf_at_heap);
        let new = upload(&at_heap, &cx, "Dogs are welcome.").await;
        assert_eq!((heap.keys().len(), new.bytes), (1, 17));
        assert_eq!(new.hash, blake3::hash(b"Dogs are welcome.").as_bytes());
        // Back to rows, as a place of its own; what was put elsewhere stays readable.
        let back = knowledge(&store, &shelf(&store, &[("rows", None), ("heap", at(&heap))]));
        let newest = upload(&back, &cx, "Birds are welcome.").await;
        assert_eq!(heap.keys().len(), 1);
        for (file, said) in [(&old, "Cats"), (&new, "Dogs"), (&newest, "Birds")] {
            let content = back.load_content(&cx, &file.id).await.expect("there");
            assert_eq!(content, format!("{said} are welcome.").as_bytes());
            assert_eq!(back.load_content(&other, &file.id).await.expect_err("another's").kind, Kind::NotFound);
        }
        for file in [&old, &new] {
            assert_eq!(part(&shelf_at_heap, &cx, &file.id, 5..8).await, &b"are"[..]);
            assert_eq!(part(&shelf_at_heap, &cx, &file.id, 9..99).await, &b"welcome."[..]);
            assert_eq!(part(&shelf_at_heap, &cx, &file.id, 40..99).await, &b""[..]);
        }
        // A store finds what lies there.
        let vs = back.create_store(&cx, "pets", Map::new()).await.expect("a store");
        for file in [&old, &new] {
            let read = back.attach_file(&cx, &vs.id, &file.id, None).await.expect("read");
            assert_eq!(read.status, "completed", "{:?}", read.error);
        }
        let lost = in_rows.load_content(&cx, &new.id).await.expect_err("nobody knows the heap");
        assert_eq!((lost.kind, lost.code.as_deref()), (Kind::Upstream, Some("file_store_not_configured")));
        assert!(lost.message.contains("'heap'") && lost.message.contains(&new.id), "{lost}");
    })
    .await;
}

#[tokio::test]
async fn what_a_deleted_file_or_a_refused_upload_leaves_is_cleared() {
    each_database(async |store: Store| {
        let (cx, other) = two_tenants(&store).await;
        let heap = Arc::new(Heap::default());
        let shelf = shelf(&store, &[("heap", at(&heap))]);
        let knowledge = knowledge(&store, &shelf);
        let mine = upload(&knowledge, &cx, "mine").await;
        upload(&knowledge, &other, "theirs").await;
        let refused = knowledge.create_file(&cx, "a.md", "", None, b"no purpose").await.expect_err("refused");
        assert_eq!(refused.param.as_deref(), Some("purpose"));
        let broken = stream::iter([Ok(Bytes::from("half")), Err(Error::cancelled())]).boxed();
        assert_eq!(knowledge.receive(&cx, "a.md", broken).await.expect_err("broke off").kind, Kind::Cancelled);
        assert_eq!(heap.keys().len(), 3);
        heap.down.store(true, Ordering::SeqCst);
        knowledge.delete_file(&cx, &mine.id).await.expect("deleted, whatever is down");
        assert_eq!(shelf.sweep().await.expect("looked"), 0);
        heap.down.store(false, Ordering::SeqCst);
        // What could not be cleared is left alone for the time of a lease.
        assert_eq!(shelf.sweep().await.expect("looked"), 0);
        store.system().end_blob_leases().await.expect("ended");
        assert_eq!(shelf.sweep().await.expect("looked"), 3);
        let left = heap.keys();
        assert!(left.len() == 1 && left[0].starts_with(&other.tenant), "{left:?}");
    })
    .await;
}

#[tokio::test]
async fn a_content_whose_writer_died_is_cleared_and_never_named() {
    each_database(async |store: Store| {
        let (cx, _) = two_tenants(&store).await;
        let heap = Arc::new(Heap::default());
        let alive = shelf(&store, &[("heap", at(&heap))]);
        // As good as dead once it has put: nothing holds what it wrote.
        let dying = alive.clone().with_pace(PASSED);
        let kept = dying.put(&cx, whole("written, not named")).await.expect("put");
        let held = alive.put(&cx, whole("in good hands")).await.expect("put");
        assert_eq!(heap.keys().len(), 2);
        while alive.sweep().await.expect("looked") == 0 {
            tokio::task::yield_now().await;
        }
        let Place::Blob(key) = &held.place else { panic!("not in a row") };
        assert_eq!(heap.keys(), [format!("{}/{key}", cx.tenant)]);
        let knowledge = knowledge(&store, &alive);
        let late = knowledge.create_file_of(&cx, "a.md", "assistants", None, None, kept).await.expect_err("too late");
        assert_eq!(late.kind, Kind::Unavailable);
        assert_eq!(knowledge.list_files(&cx, None, &Default::default()).await.expect("listed").items, []);
        let file = knowledge.create_file_of(&cx, "a.md", "assistants", None, None, held).await.expect("in time");
        assert_eq!(knowledge.load_content(&cx, &file.id).await.expect("there"), &b"in good hands"[..]);
    })
    .await;
}

#[tokio::test]
async fn a_content_that_is_not_what_was_stored_is_never_given_out_as_if_it_were() {
    let store = Store::temporary().await.expect("a store");
    let (cx, _) = two_tenants(&store).await;
    let heap = Arc::new(Heap::default());
    let shelf = shelf(&store, &[("heap", at(&heap))]);
    let knowledge = knowledge(&store, &shelf);
    let file = upload(&knowledge, &cx, "as it was").await;
    let vs = knowledge.create_store(&cx, "pages", Map::new()).await.expect("a store");
    for (now, how) in [
        (Some(&b"as it is!"[..]), "not what was stored"),
        (Some(b"as it"), "ends too early"),
        (Some(b"as it was and is"), "longer"),
        (None, "no such content"),
    ] {
        heap.replace(now);
        let error = knowledge.load_content(&cx, &file.id).await.expect_err(how);
        assert_eq!((error.kind, error.code.as_deref()), (Kind::Upstream, Some("file_content_damaged")), "{error}");
        assert!(error.message.contains(how) && error.message.contains(&file.id), "{error}");
        // Reading it into a store fails for good, and says why.
        let read = knowledge.attach_file(&cx, &vs.id, &file.id, None).await.expect("noted");
        assert_eq!((read.status.as_str(), read.error_code.as_deref()), ("failed", Some("file_content_damaged")));
    }
}

#[tokio::test]
async fn a_file_whose_place_is_down_is_read_into_its_store_when_that_is_back() {
    each_database(async |store: Store| {
        let (cx, _) = two_tenants(&store).await;
        let heap = Arc::new(Heap::default());
        let knowledge = knowledge(&store, &shelf(&store, &[("heap", at(&heap))]));
        let file = upload(&knowledge, &cx, "Dogs are welcome.").await;
        let vs = knowledge.create_store(&cx, "pets", Map::new()).await.expect("a store");
        heap.down.store(true, Ordering::SeqCst);
        let error = knowledge.attach_file(&cx, &vs.id, &file.id, None).await.expect_err("out of reach");
        assert_eq!(error.kind, Kind::Unavailable);
        // More often than reading a file is begun before it counts as unreadable.
        for _ in 0..5 {
            assert_eq!(knowledge.resume().await.expect("looked"), 0);
        }
        heap.down.store(false, Ordering::SeqCst);
        assert_eq!(knowledge.resume().await.expect("looked"), 1);
        let read = knowledge.load_store_file(&cx, &vs.id, &file.id).await.expect("in the store");
        assert_eq!(read.status, "completed", "{:?}", read.error);
    })
    .await;
}

#[tokio::test]
async fn a_file_whose_time_is_over_is_deleted_also_from_its_stores() {
    each_database(async |store: Store| {
        let (cx, other) = two_tenants(&store).await;
        let heap = Arc::new(Heap::default());
        let shelf = shelf(&store, &[("heap", at(&heap))]);
        let hour = Duration::from_secs(3600);
        let at_time = |now| {
            let index = FullText::shared(store.clone());
            let clock = Arc::new(FixedClock::at(now));
            Knowledge::new(store.clone(), index, clock, Arc::new(RandomIds)).with_shelf(shelf.clone())
        };
        let knowledge = at_time(1);
        let mut files = vec![];
        for (cx, keep) in [(&cx, Some(hour)), (&other, Some(hour)), (&cx, Some(2 * hour)), (&cx, None)] {
            let kept = knowledge.receive(cx, "a.md", whole("Dogs are welcome.")).await.expect("kept");
            let file = knowledge.create_file_of(cx, "a.md", "assistants", None, keep, kept).await.expect("a file");
            let micros = |keep: Duration| i64::try_from(keep.as_micros()).expect("small");
            assert_eq!(file.expires_at, keep.map(|keep| file.created_at + micros(keep)));
            assert_eq!(knowledge.load_file(cx, &file.id).await.expect("there"), file);
            files.push(file.id);
        }
        let vs = knowledge.create_store(&cx, "pets", Map::new()).await.expect("a store");
        knowledge.attach_file(&cx, &vs.id, &files[0], None).await.expect("read");
        assert_eq!(at_time(3_600_000_000).expire().await.expect("looked"), 0);
        assert_eq!(at_time(3_700_000_000).expire().await.expect("looked"), 2);
        let left = knowledge.list_files(&cx, None, &Default::default()).await.expect("listed").items;
        let left: BTreeSet<String> = left.into_iter().map(|file| file.id).collect();
        assert_eq!(left, files[2..].iter().cloned().collect());
        assert_eq!(knowledge.load_store_file(&cx, &vs.id, &files[0]).await.expect_err("gone").kind, Kind::NotFound);
        shelf.sweep().await.expect("looked");
        assert_eq!(heap.keys().len(), 2);
    })
    .await;
}

/// Who runs code in a response, whose row is written.
async fn coder(store: &Store, cx: &Cx) -> Cx {
    let mut tx = store.tenant(cx).write().await.expect("a transaction");
    agents::ensure_inline(&mut tx, 1).await.expect("the agent of none");
    let turn = json!({ "id": "r1", "session_id": null, "agent_id": agents::INLINE, "agent_version": 1, "parent": null,
                       "state": "running", "created_at": 1 });
    let turn = StoredTurn {
        turn: serde_json::from_value(turn).expect("a turn"),
        pos: 0,
        epoch: 1,
        next_seq: 0,
        request: TurnRequest::default(),
        cancel_requested: false,
        on_input: OnInput::Finish,
        stored: true,
    };
    turns::add(&mut tx, &turn, None, 60_000_000).await.expect("a turn");
    tx.commit().await.expect("written");
    let workspace = Workspace { id: "r1".into(), ..Workspace::default() };
    Cx { workspace: Some(workspace), turn: Some("r1".into()), turn_epoch: 1, agent: Some("a".into()), ..cx.clone() }
}

const BOUNDS: Bounds = Bounds { file: 9, run: 12, files: 3, container: 20, keep: Duration::from_secs(60) };

async fn keep(knowledge: &Knowledge, cx: &Cx, run: &str, files: &[(&str, &str)]) -> Result<Stored> {
    let written = files.iter().map(|(name, content)| {
        let (name, content) = ((*name).to_owned(), Bytes::copy_from_slice(content.as_bytes()));
        Written { name, content }
    });
    let kept = knowledge.keep_written(cx, run, written.collect(), &BOUNDS).await;
    kept.map(|stored| stored.expect("a container"))
}

async fn held(store: &Store, cx: &Cx, container: &str) -> Vec<String> {
    let mut tx = store.tenant(cx).read().await.expect("a transaction");
    containers::files(&mut tx, container).await.expect("listed").into_iter().map(|file| file.id).collect()
}

#[tokio::test]
async fn what_a_run_wrote_is_kept_though_its_callers_time_is_over() {
    each_database(async |store: Store| {
        let (cx, _) = two_tenants(&store).await;
        let knowledge = knowledge(&store, &shelf(&store, &[("heap", at(&Arc::new(Heap::default())))]));
        let run = Cx { deadline: Some(Instant::now()), ..coder(&store, &cx).await };
        run.cancel.cancel();
        let kept = keep(&knowledge, &run, "k1", &[("a.csv", "one"), ("b.csv", "two")]).await.expect("kept");
        assert!(kept.files.iter().all(Result::is_ok), "{:?}", kept.files);
    })
    .await;
}

#[tokio::test]
async fn what_a_run_wrote_is_kept_once_however_often_the_run_is_made_and_goes_with_its_container() {
    each_database(async |store: Store| {
        let (cx, other) = two_tenants(&store).await;
        let heap = Arc::new(Heap::default());
        let shelf = shelf(&store, &[("heap", at(&heap))]);
        let knowledge = knowledge(&store, &shelf);
        let run = coder(&store, &cx).await;
        let first = keep(&knowledge, &run, "k1", &[("a.csv", "one"), ("b.csv", "two")]).await.expect("kept");
        let again = keep(&knowledge, &run, "k1", &[("a.csv", "one"), ("b.csv", "TWO")]).await.expect("kept");
        assert_eq!((&again.container_id, &again.files[0]), (&first.container_id, &first.files[0]), "as it was");
        assert_ne!(again.files[1], first.files[1], "another content");
        let ids = [again.files[1].clone().expect("an id"), again.files[0].clone().expect("an id")];
        assert_eq!(held(&store, &run, &first.container_id).await, ids);
        shelf.sweep().await.expect("looked");
        assert_eq!(heap.keys().len(), 2, "what the first attempt left is cleared");
        // Of another run it is a newer file, and the same one where nothing changed.
        let third = keep(&knowledge, &run, "k2", &[("a.csv", "1"), ("b.csv", "TWO")]).await.expect("kept");
        assert!(third.files[0] != first.files[0] && third.files[1] == again.files[1]);
        for (id, content) in [(&third.files[0], "1"), (&first.files[0], "one")] {
            let opened = knowledge.open_container_file(&run, id.as_ref().expect("an id"), None).await.expect("there");
            assert_eq!(opened.whole().await.expect("read"), content);
        }
        let id = third.files[0].clone().expect("an id");
        assert!(knowledge.open_container_file(&other, &id, None).await.is_err());
        assert_eq!(knowledge.load_file(&cx, &id).await.expect_err("no uploaded file").kind, Kind::NotFound);
        // Made again it writes nothing: what it left goes, and a run that left nothing is not looked at.
        assert!(keep(&knowledge, &run, "k2", &[]).await.expect("looked at").files.is_empty());
        assert_eq!(held(&store, &run, &first.container_id).await, ids);
        assert!(knowledge.keep_written(&run, "k2", vec![], &BOUNDS).await.expect("looked at").is_none());
        // Its time is over.
        let index = FullText::shared(store.clone());
        let at_time = |now| {
            let clock = Arc::new(FixedClock::at(now));
            Knowledge::new(store.clone(), index.clone(), clock, Arc::new(RandomIds)).with_shelf(shelf.clone())
        };
        assert_eq!(at_time(60_000_000).expire_containers().await.expect("looked"), 0);
        assert_eq!(at_time(61_000_000).expire_containers().await.expect("looked"), 1);
        shelf.sweep().await.expect("looked");
        assert!(heap.keys().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_worker_whose_turn_was_taken_changes_nothing_of_what_its_runs_left() {
    each_database(async |store: Store| {
        let (cx, _) = two_tenants(&store).await;
        let heap = Arc::new(Heap::default());
        let shelf = shelf(&store, &[("heap", at(&heap))]);
        let knowledge = knowledge(&store, &shelf);
        let first = coder(&store, &cx).await;
        let mut tx = store.tenant(&cx).write().await.expect("a transaction");
        let turn_epoch = claims::take_unheld(&mut tx, "r1").await.expect("asked").expect("nobody holds it").epoch;
        tx.commit().await.expect("written");
        let second = Cx { turn_epoch, ..first.clone() };
        let kept = keep(&knowledge, &second, "k1", &[("a.csv", "new")]).await.expect("kept");
        for files in [&[("a.csv", "old")][..], &[("a.csv", "new")], &[]] {
            let late = keep(&knowledge, &first, "k1", files).await.expect_err("the turn is another's");
            assert_eq!((late.kind, late.code.as_deref()), (Kind::Conflict, Some("turn_taken_over")));
        }
        assert_eq!(held(&store, &first, &kept.container_id).await, [kept.files[0].clone().expect("an id")]);
        shelf.sweep().await.expect("looked");
        assert_eq!(heap.keys().len(), 1, "what came late is cleared");
    })
    .await;
}

#[tokio::test]
async fn what_stays_of_an_earlier_attempt_counts_and_what_was_deleted_meanwhile_is_not_told_as_kept() {
    each_database(async |store: Store| {
        let (cx, _) = two_tenants(&store).await;
        let heap = Arc::new(Heap { meet: Some(Barrier::new(2)), ..Heap::default() });
        let meet = async || {
            heap.meet.as_ref().expect("a barrier").wait().await;
        };
        let knowledge = knowledge(&store, &shelf(&store, &[("heap", at(&heap))]));
        let in_rows = Knowledge::new(
            store.clone(),
            FullText::shared(store.clone()),
            Arc::new(FixedClock::at(1)),
            Arc::new(RandomIds),
        );
        let run = coder(&store, &cx).await;
        let first = keep(&in_rows, &run, "k1", &[("a", "123456"), ("b", "123456")]).await.expect("kept");
        let kept = keep(&in_rows, &run, "k2", &[("c", "12345678")]).await.expect("kept");
        let why = Err("the files of a container may have 20 bytes together".to_owned());
        let again = keep(&in_rows, &run, "k2", &[("c", "12345678"), ("d", "1")]).await.expect("looked at");
        assert_eq!(again.files, [kept.files[0].clone(), why]);

        let delete = async |id: &str| {
            store.tenant(&cx).delete_container_file(&kept.container_id, id).await.expect("deleted");
        };
        delete(first.files[0].as_ref().expect("an id")).await;
        let deleted = async {
            meet().await;
            delete(kept.files[0].as_ref().expect("an id")).await;
            meet().await;
        };
        let files = [("c", "12345678"), ("d", "2")];
        let (told, ()) = tokio::join!(keep(&knowledge, &run, "k3", &files), deleted);
        let told = told.expect("looked at").files;
        assert_eq!(told[0], Err("the same file was there, and was deleted meanwhile".to_owned()));
        assert!(told[1].is_ok(), "{told:?}");
    })
    .await;
}

#[tokio::test]
async fn of_a_file_that_is_too_large_for_a_container_no_more_is_read() {
    each_database(async |store: Store| {
        let (cx, _) = two_tenants(&store).await;
        let heap = Arc::new(Heap::default());
        let shelf = shelf(&store, &[("heap", at(&heap))]);
        let knowledge = knowledge(&store, &shelf);
        let run = coder(&store, &cx).await;
        let container = keep(&knowledge, &run, "k1", &[("a.csv", "one")]).await.expect("kept").container_id;
        let mebibyte = Bytes::from(vec![0; 1 << 20]);
        let (mut pieces, unread) = (vec![mebibyte; 8], || unreachable!("it is read on"));
        pieces.push(Bytes::from_static(b"x"));
        let endless = stream::iter(pieces).chain(stream::once(async move { unread() })).map(Ok).boxed();
        let refused = knowledge.receive_for_container(&cx, "b.csv", endless).await.expect_err("too large");
        assert_eq!((refused.kind, refused.code.as_deref()), (Kind::TooLarge, Some("file_too_large")));
        assert!(refused.message.contains("8388608 bytes"), "{refused}");
        assert_eq!(held(&store, &run, &container).await.len(), 1);
        shelf.sweep().await.expect("looked");
        assert_eq!(heap.keys().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn two_runs_at_once_put_no_more_into_a_container_than_it_holds() {
    each_database(async |store: Store| {
        let (cx, _) = two_tenants(&store).await;
        let heap = Arc::new(Heap { meet: Some(Barrier::new(2)), ..Heap::default() });
        let shelf = shelf(&store, &[("heap", at(&heap))]);
        let (knowledge, bounds) = (knowledge(&store, &shelf), Bounds { container: 12, ..BOUNDS });
        let run = coder(&store, &cx).await;
        let mut tx = store.tenant(&run).write().await.expect("a transaction");
        containers::claim(&mut tx, &run, "cntr_1", None, 1).await.expect("claimed").expect("a container");
        tx.commit().await.expect("written");
        let keep = async |key: &str| {
            let file = Written { name: key.to_owned(), content: Bytes::from_static(b"12345678") };
            knowledge.keep_written(&run, key, vec![file], &bounds).await.expect("looked at").expect("a container")
        };
        let (one, other) = tokio::join!(keep("k1"), keep("k2"));
        let told: Vec<_> = one.files.into_iter().chain(other.files).collect();
        let why = "the files of a container may have 12 bytes together".to_owned();
        assert!(told.iter().filter(|fate| fate.is_ok()).count() == 1 && told.contains(&Err(why)), "{told:?}");
        assert_eq!(held(&store, &run, &one.container_id).await.len(), 1);
        shelf.sweep().await.expect("looked");
        assert_eq!(heap.keys().len(), 1, "the other's content is cleared");
    })
    .await;
}

#[tokio::test]
async fn what_lies_in_the_folder_of_code_is_told_the_oldest_first_without_what_is_gone() {
    each_database(async |store: Store| {
        let (cx, other) = two_tenants(&store).await;
        let heap = Arc::new(Heap::default());
        let (index, clock) = (FullText::shared(store.clone()), Arc::new(FixedClock::at(1)));
        // They sort as they were made.
        let knowledge = Knowledge::new(store.clone(), index, clock, Arc::new(CountingIds::default()));
        let knowledge = knowledge.with_shelf(shelf(&store, &[("heap", at(&heap))]));
        let run = coder(&store, &cx).await;
        let (uploaded, gone) = (upload(&knowledge, &cx, "one").await, upload(&knowledge, &cx, "two").await);
        let first = keep(&knowledge, &run, "k1", &[("a.csv", "one")]).await.expect("kept");
        let container = first.container_id;
        let put = async |name: &str| {
            let kept = knowledge.receive_for_container(&cx, name, whole("three")).await.expect("received");
            knowledge.put_into_container(&cx, &container, name, kept).await.expect("put").id
        };
        let (put, deleted) = (put("b.csv").await, put("c.csv").await);
        let second = keep(&knowledge, &run, "k2", &[("a.csv", "1")]).await.expect("kept");
        store.tenant(&cx).delete_container_file(&container, &deleted).await.expect("deleted");
        knowledge.delete_file(&cx, &gone.id).await.expect("deleted");
        let workspace = Workspace {
            files: vec![uploaded.id.clone(), gone.id.clone()],
            container: Some(container.clone()),
            ..Workspace::default()
        };
        let there = async |cx: &Cx, run: &str| {
            let cx = Cx { workspace: Some(workspace.clone()), ..cx.clone() };
            let files = knowledge.code_files(&cx, run).await.expect("listed").into_iter();
            files.map(|file| (file.id, file.bytes, file.by_code)).collect::<Vec<_>>()
        };
        let id = |stored: &std::result::Result<String, String>| stored.clone().expect("an id");
        let all = [
            (uploaded.id.clone(), 3, false),
            (id(&first.files[0]), 3, true),
            (put.clone(), 5, false),
            (id(&second.files[0]), 1, true),
        ];
        assert_eq!(there(&run, "k3").await, all);
        assert_eq!(there(&run, "k2").await, all[..3], "made again it begins as it did");
        assert_eq!(there(&other, "k3").await, []);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_kept_says_why_and_leaves_nothing() {
    each_database(async |store: Store| {
        let (cx, _) = two_tenants(&store).await;
        let heap = Arc::new(Heap::default());
        let shelf = shelf(&store, &[("heap", at(&heap))]);
        let knowledge = knowledge(&store, &shelf);
        let run = coder(&store, &cx).await;
        let why =
            |stored: Stored| stored.files.into_iter().map(|file| file.err().unwrap_or_default()).collect::<Vec<_>>();
        let ten = "0123456789";
        let files = [("a", ten), ("b", "12345678"), ("c", "12345"), ("d", "1"), ("e", "2"), ("f", "3"), ("a\nb", "")];
        let told = why(keep(&knowledge, &run, "k1", &files).await.expect("kept"));
        let want = [
            "a file may have 9 bytes",
            "",
            "the files of a run may have 12 bytes together",
            "",
            "",
            "3 files of a run are kept",
            "its name is none: too long, empty, with a folder or with control characters",
        ];
        assert_eq!(told, want);
        let told = why(keep(&knowledge, &run, "k2", &[("b", "87654321"), ("c", "xyz")]).await.expect("kept"));
        assert_eq!(told, ["", "the files of a container may have 20 bytes together"]);
        let outside = [("../up", "1"), ("a/b", "1"), ("a\\b", "1"), ("..", "1"), (".", "1"), ("", "1")];
        let told = why(keep(&knowledge, &run, "k5", &outside).await.expect("looked at"));
        assert!(told.iter().all(|why| why.starts_with("its name is none")), "{told:?}");
        heap.down.store(true, Ordering::SeqCst);
        let told = why(keep(&knowledge, &run, "k3", &[("d", "9")]).await.expect("the run counts"));
        assert_eq!(told, ["it could not be stored now"]);
        heap.down.store(false, Ordering::SeqCst);
        // Its response is gone meanwhile, and with it what it wrote.
        store.tenant(&cx).delete_response("r1").await.expect("deleted");
        let gone = keep(&knowledge, &run, "k4", &[("z", "z")]).await.expect_err("nobody's");
        assert_eq!(gone.code.as_deref(), Some("turn_not_found"));
        shelf.sweep().await.expect("looked");
        assert!(heap.keys().is_empty(), "{:?}", heap.keys());
    })
    .await;
}
