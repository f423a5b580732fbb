//! Opening: fresh, again, twice, and on every kind of wrong database.

use std::net::TcpListener;

use frontdesk_api::{Error, Kind};
use frontdesk_store::{
    Doing as _, Options, Store, StoredTenant, on, sqlx,
    testing::{FreshDatabase, server},
};

fn shop() -> StoredTenant {
    StoredTenant { id: "shop".into(), name: "Shop".into(), created_at: 1 }
}

async fn refused(options: &Options) -> Error {
    match Store::open(options).await {
        Ok(store) => panic!("{} opened", store.place()),
        Err(error) => error,
    }
}

#[tokio::test]
async fn rows_are_there_after_opening_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options::at(folder.path().join("not/yet/there"));
    let store = Store::open(&options).await.expect("fresh");
    store.system().add_tenant(&shop()).await.expect("written");
    store.close().await;
    drop(store);
    let store = Store::open(&options).await.expect("again");
    assert_eq!(store.system().find_tenant("shop").await.expect("read"), Some(shop()));
}

#[tokio::test]
async fn a_scratch_store_is_another_one_and_goes_with_its_last_clone_or_the_next_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options::at(folder.path());
    let scratches = || {
        let entries = std::fs::read_dir(folder.path()).expect("the folder");
        entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("scratch-")).count()
    };
    let store = Store::open(&options).await.expect("fresh");
    let scratch = store.scratch().await.expect("a scratch store");
    scratch.system().add_tenant(&shop()).await.expect("written");
    assert_eq!((scratches(), store.system().find_tenant("shop").await.expect("read")), (1, None));
    drop(scratch);
    assert_eq!(scratches(), 0);
    // What a killed process leaves.
    std::fs::create_dir(folder.path().join("scratch-x")).expect("a folder");
    std::fs::write(folder.path().join("scratch-x/frontdesk.db"), "words").expect("a file");
    drop(store);
    let _store = Store::open(&options).await.expect("again");
    assert_eq!(scratches(), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_was_made_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options::at(folder.path().join("data"));
    let store = Store::open(&options).await.expect("fresh");
    let mode = std::fs::metadata(&options.data_dir).expect("the folder").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let _scratch = store.scratch().await.expect("a scratch store");
    let entries = std::fs::read_dir(&options.data_dir).expect("the folder").flatten();
    let scratch = entries.into_iter().find(|entry| entry.file_name().to_string_lossy().starts_with("scratch-"));
    let mode = scratch.expect("its folder").metadata().expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn one_server_per_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options::at(folder.path());
    let first = Store::open(&options).await.expect("the first");
    let error = refused(&options).await;
    assert_eq!(error.kind, Kind::Conflict);
    assert!(error.message.contains(&folder.path().display().to_string()), "{error}");
    assert!(error.message.contains(&format!("process {}", std::process::id())), "{error}");
    first.close().await;
    drop(first);
    Store::open(&options).await.expect("the folder is free again");
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let store = Store::temporary().await.expect("a store");
    store.close().await;
    let read = store.system().read().await.err().expect("closed");
    let write = store.system().write().await.err().expect("closed");
    assert_eq!((read.kind, write.kind), (Kind::Unavailable, Kind::Unavailable));
}

/// Opens, runs `spoil` on the database, and opens again.
async fn after(spoil: &'static str, options: &Options) -> Error {
    let store = Store::open(options).await.expect("fresh");
    let mut tx = store.system().write().await.expect("a transaction");
    on!(tx, conn => sqlx::query(spoil).execute(conn).await.map(|_| ())).doing("spoil the schema").expect("spoilt");
    tx.commit().await.expect("committed");
    store.close().await;
    drop(store);
    refused(options).await
}

/// Each on a SQLite folder and, where there is a server, on a Postgres database of its own.
async fn after_each(spoil: &'static str, check: impl Fn(Error)) {
    let folder = tempfile::tempdir().expect("a folder");
    check(after(spoil, &Options::at(folder.path())).await);
    let Some(server) = server() else { return };
    let fresh = FreshDatabase::make(&server).await;
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { database_url: Some(fresh.url.clone()), ..Options::at(folder.path()) };
    let error = after(spoil, &options).await;
    fresh.drop().await;
    check(error);
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_both_versions() {
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         SELECT 9001, 'from the future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
    let known = newest_known();
    after_each(newer, |error| {
        assert_eq!((error.kind, error.code.as_deref()), (Kind::Invalid, Some("schema_too_new")));
        assert!(
            error.message.contains("version 9001") && error.message.contains(&format!("up to {known}:")),
            "{error}"
        );
    })
    .await;
}

/// The highest number in the migrations folder.
fn newest_known() -> i64 {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/sqlite");
    let names = std::fs::read_dir(folder).expect("the migrations").map(|f| f.expect("a file").file_name());
    names.filter_map(|n| n.to_str()?.split_once('_')?.0.parse().ok()).max().expect("a migration")
}

#[tokio::test]
async fn a_migration_that_was_changed_is_refused() {
    let changed = "UPDATE _sqlx_migrations SET checksum = (SELECT checksum FROM _sqlx_migrations WHERE version = 2) WHERE version = 1";
    after_each(changed, |error| {
        assert_eq!((error.kind, error.code.as_deref()), (Kind::Invalid, Some("schema_changed")));
        assert!(error.message.contains("migration 1 was changed"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("frontdesk.db");
    let text = "these are my notes, not a database; there are quite a lot of them. ".repeat(100);
    std::fs::write(&file, &text).expect("written");
    let error = refused(&Options::at(folder.path())).await;
    assert!(error.message.contains(&file.display().to_string()), "{error}");
    assert_eq!(std::fs::read_to_string(&file).expect("still there"), text);
}

#[tokio::test]
async fn a_folder_that_is_a_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("data");
    std::fs::write(&file, "x").expect("written");
    let error = refused(&Options::at(&file)).await;
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.message.contains(&file.display().to_string()), "{error}");
}

#[tokio::test]
async fn an_unreachable_server_is_named_without_the_password() {
    // A port that was free a moment ago and that nobody listens on.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("postgres://clerk:hunter2secret@127.0.0.1:{port}/shop");
    let options = Options { database_url: Some(url), ..Options::at(folder.path()) };
    let error = refused(&options).await;
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.message.contains("'shop'") && error.message.contains(&format!("127.0.0.1:{port}")), "{error}");
    let everything = format!("{error} {error:?} {options:?}");
    assert!(!everything.contains("hunter2secret"), "{everything}");
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_without_the_password() {
    let folder = tempfile::tempdir().expect("a folder");
    for url in ["mysql://clerk:hunter2secret@localhost/shop", "postgres://clerk:hunter2secret@localhost:notaport/shop"]
    {
        let options = Options { database_url: Some(url.into()), ..Options::at(folder.path()) };
        let error = refused(&options).await;
        assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some("database_url")));
        assert!(!format!("{error:?}").contains("hunter2secret"), "{error:?}");
    }
}

#[tokio::test]
async fn a_missing_postgres_database_is_named() {
    let Some(server) = server() else { return };
    let fresh = FreshDatabase::make(&server).await;
    let gone = fresh.url.clone();
    fresh.drop().await;
    let folder = tempfile::tempdir().expect("a folder");
    let error = refused(&Options { database_url: Some(gone), ..Options::at(folder.path()) }).await;
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.message.contains("does not exist") && error.message.contains("frontdesk_test_"), "{error}");
}
