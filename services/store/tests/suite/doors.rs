//! Transactions: what is committed holds, what is dropped never was, and nothing in between leaks.

use frontdesk_api::{Clock as _, Cx, Kind, clock::SystemClock};
use frontdesk_store::{
    Dialect, NewKey, Store, StoredTenant, on, sqlx,
    testing::{each_database, on_postgres, two_tenants},
};

async fn add(tx: &mut frontdesk_store::Tx, id: &str) -> sqlx::Result<()> {
    on!(tx, conn => sqlx::query("INSERT INTO tenant (id, name, created_at) VALUES ($1, 'n', 0)").bind(id).execute(conn).await.map(|_| ()))
}

async fn exists(store: &Store, id: &str) -> bool {
    store.system().find_tenant(id).await.expect("read").is_some()
}

#[tokio::test]
async fn only_what_is_committed_holds() {
    each_database(async |store: Store| {
        let mut dropped = store.system().write().await.expect("a turn");
        add(&mut dropped, "dropped").await.expect("written");
        drop(dropped);
        let mut kept = store.system().write().await.expect("the next turn");
        add(&mut kept, "kept").await.expect("written");
        kept.commit().await.expect("committed");
        assert!(!exists(&store, "dropped").await);
        assert!(exists(&store, "kept").await);
    })
    .await;
}

#[tokio::test]
async fn a_reading_door_does_not_write() {
    each_database(async |store: Store| {
        let cx = Cx::internal("default", "r");
        for mut tx in [store.system().read().await.expect("open"), store.tenant(&cx).read().await.expect("open")] {
            add(&mut tx, "sneaked").await.expect_err("reading only");
        }
        assert!(!exists(&store, "sneaked").await);
    })
    .await;
}

#[tokio::test]
async fn a_reader_sees_one_moment() {
    let store = Store::temporary().await.expect("a store");
    let mut reader = store.system().read().await.expect("open");
    let count = async |tx: &mut frontdesk_store::Tx| -> i64 {
        on!(tx, conn => sqlx::query_scalar("SELECT count(*) FROM tenant").fetch_one(conn).await).expect("counted")
    };
    assert_eq!(count(&mut reader).await, 0);
    let mut writer = store.system().write().await.expect("a writer beside the reader");
    add(&mut writer, "later").await.expect("written");
    writer.commit().await.expect("committed");
    assert_eq!(count(&mut reader).await, 0, "the reader stays in its moment");
    drop(reader);
    assert!(exists(&store, "later").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_one_file_take_turns() {
    // Each reads a number and writes the next: one lost turn and the sum is short.
    const WRITERS: i64 = 40;
    let store = Store::temporary().await.expect("a store");
    let zero = StoredTenant { id: "counter".into(), name: "0".into(), created_at: 0 };
    store.system().add_tenant(&zero).await.expect("written");
    let tasks: Vec<_> = (0..WRITERS)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut tx = store.system().write().await.expect("a turn");
                let n: String = on!(tx, conn => sqlx::query_scalar("SELECT name FROM tenant WHERE id = 'counter'").fetch_one(conn).await).expect("read");
                tokio::task::yield_now().await;
                let next = (n.parse::<i64>().expect("a number") + 1).to_string();
                on!(tx, conn => sqlx::query("UPDATE tenant SET name = $1 WHERE id = 'counter'").bind(next).execute(conn).await.map(|_| ())).expect("written");
                tx.commit().await.expect("committed");
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a writer");
    }
    let counter = store.system().find_tenant("counter").await.expect("read").expect("there");
    assert_eq!(counter.name, WRITERS.to_string());
}

#[tokio::test]
async fn work_that_is_cancelled_anywhere_changes_nothing_and_blocks_nobody() {
    // Polled a growing number of times and then dropped: begin, statement and commit are each cut somewhere.
    each_database(async |store: Store| {
        for polls in 0..40 {
            let id = format!("cut_{polls}");
            let mut work = Box::pin(async {
                let mut tx = store.system().write().await.expect("a turn");
                add(&mut tx, &id).await.expect("written");
                std::future::pending::<()>().await;
                tx.commit().await
            });
            for _ in 0..polls {
                assert!(futures::poll!(&mut work).is_pending());
                tokio::task::yield_now().await;
            }
            drop(work);
            let after = format!("after_{polls}");
            let mut tx = store.system().write().await.expect("the next turn");
            add(&mut tx, &after).await.expect("written");
            tx.commit().await.expect("committed");
            assert!(!exists(&store, &id).await, "cut after {polls} polls");
            assert!(exists(&store, &after).await, "after {polls} polls");
        }
    })
    .await;
}

#[tokio::test]
async fn a_commit_that_is_cancelled_leaves_the_next_one_whole() {
    each_database(async |store: Store| {
        for polls in 0..30 {
            let id = format!("cut_{polls}");
            let mut work = Box::pin(async {
                let mut tx = store.system().write().await.expect("a turn");
                add(&mut tx, &id).await.expect("written");
                tx.commit().await
            });
            for _ in 0..polls {
                if futures::poll!(&mut work).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(work);
            let after = StoredTenant { id: format!("after_{polls}"), name: "n".into(), created_at: 0 };
            store.system().add_tenant(&after).await.expect("the next writer");
            assert!(exists(&store, &after.id).await);
        }
    })
    .await;
}

#[tokio::test]
async fn a_doomed_transaction_does_not_claim_to_be_committed() {
    on_postgres(async |store: Store| {
        let mut tx = store.system().write().await.expect("a turn");
        add(&mut tx, "twice").await.expect("once");
        add(&mut tx, "twice").await.expect_err("twice");
        tx.commit().await.expect_err("nothing was written");
        assert!(!exists(&store, "twice").await);
    })
    .await;
}

#[tokio::test]
async fn what_exists_is_a_conflict_and_what_refers_to_nothing_too() {
    each_database(async |store: Store| {
        let tenant = StoredTenant { id: "shop".into(), name: "Shop".into(), created_at: 0 };
        store.system().add_tenant(&tenant).await.expect("once");
        let twice = store.system().add_tenant(&tenant).await.expect_err("twice");
        assert_eq!(
            (twice.kind, twice.message.as_str()),
            (Kind::Conflict, "could not create the tenant 'shop': it exists already")
        );
        let cx = Cx::internal("nobody", "r");
        let orphan = store.tenant(&cx).add_key(&key("key_1", 1)).await.expect_err("no such tenant");
        assert_eq!(orphan.kind, Kind::Conflict);
    })
    .await;
}

fn key(id: &str, hash: u8) -> NewKey {
    NewKey { id: id.into(), name: id.into(), hash: [hash; 32], scopes: vec![], created_at: 0, expires_at: None }
}

#[tokio::test]
async fn one_tenants_keys_are_not_anothers() {
    each_database(async |store: Store| {
        let (a, b) = two_tenants(&store).await;
        store.tenant(&a).add_key(&key("key_1", 1)).await.expect("a's");
        let doors = (store.tenant(&a), store.tenant(&b));
        assert!(doors.0.find_key("key_1").await.expect("read").is_some());
        assert!(doors.1.find_key("key_1").await.expect("read").is_none());
        assert!(doors.1.list_keys(&Default::default()).await.expect("read").items.is_empty());
        assert_eq!(doors.1.revoke_key("key_1", 5).await.expect_err("not b's").kind, Kind::NotFound);
        let kept = doors.0.find_key("key_1").await.expect("read").expect("there");
        assert_eq!(kept.revoked_at, None);
        // The same id in another tenant is another key; the same hash would be the same key.
        doors.1.add_key(&key("key_1", 2)).await.expect("b's own");
        assert_eq!(doors.1.add_key(&key("key_2", 1)).await.expect_err("a's hash").kind, Kind::Conflict);
    })
    .await;
}

#[tokio::test]
async fn the_databases_clock_is_a_clock() {
    each_database(async |store: Store| {
        let mut tx = store.system().read().await.expect("open");
        let (first, second) = (tx.now().await.expect("now"), store.now(&mut tx).await.expect("later"));
        assert!(first <= second, "{first} {second}");
        // Both run on this machine, so a wrong unit would be off by a factor of a thousand.
        assert!((first - SystemClock.now()).abs() < 3_600_000_000, "{first}");
        assert!(store.place().starts_with(if store.dialect() == Dialect::Sqlite { "SQLite " } else { "Postgres " }));
    })
    .await;
}
