//! Contents outside the database: held while they are written, kept by the row that names them, cleared when none does.

use frontdesk_api::{Cx, Kind, Result, blobs::Place};
use frontdesk_store::{
    Store,
    blobs::{Holding, Loose},
    files::StoredFile,
    testing::{each_database, two_tenants},
};

const HOUR: i64 = 3_600_000_000;
/// A lease that has passed.
const PASSED: i64 = -1;

async fn name(store: &Store, cx: &Cx, file: &str, key: &str) -> Result<()> {
    let file = StoredFile {
        id: file.into(),
        filename: "a.txt".into(),
        purpose: "assistants".into(),
        media_type: None,
        bytes: 3,
        hash: vec![0; 32],
        created_at: 1,
        expires_at: None,
    };
    store.tenant(cx).add_file(&file, &Place::Blob(key.into())).await
}

/// What is found loose, held for an hour from then on.
async fn loose(store: &Store) -> Vec<(String, String)> {
    let mut found = store.system().claim_loose_blobs(HOUR, 100).await.expect("claimed");
    found.sort();
    found.into_iter().map(|Loose { tenant, key, .. }| (tenant, key)).collect()
}

fn of_a(keys: &[&str]) -> Vec<(String, String)> {
    keys.iter().map(|key| ("tenant_a".to_owned(), (*key).to_owned())).collect()
}

#[tokio::test]
async fn a_blob_is_kept_by_the_row_that_names_it_and_loose_when_that_goes() {
    each_database(async |store: Store| {
        let (cx, other) = two_tenants(&store).await;
        let tenant = store.tenant(&cx);
        for (tenant, lease) in [(&tenant, HOUR), (&store.tenant(&other), HOUR)] {
            tenant.begin_blob("b1", "s3", lease).await.expect("noted");
        }
        assert_eq!(tenant.begin_blob("b1", "s3", HOUR).await.expect_err("taken").kind, Kind::Conflict);
        name(&store, &cx, "f1", "b1").await.expect("kept");
        let placed = tenant.find_content("f1").await.expect("there");
        assert_eq!((placed.content, placed.place.as_str(), placed.bytes), (Place::Blob("b1".into()), "s3", 3));
        assert_eq!(store.tenant(&other).find_content("f1").await.expect_err("another's").kind, Kind::NotFound);
        assert_eq!(store.system().holdings().await.expect("asked"), [Holding { place: "s3".into(), kept: 1 }]);
        // A key is named once.
        assert_eq!(name(&store, &cx, "f2", "b1").await.expect_err("named").kind, Kind::Unavailable);
        assert_eq!(tenant.find_content("f2").await.expect_err("rolled back").kind, Kind::NotFound);
        assert_eq!(loose(&store).await, []);
        tenant.delete_file("f1").await.expect("deleted");
        assert_eq!(loose(&store).await, of_a(&["b1"]));
        assert_eq!(loose(&store).await, [], "it is in somebody's hands");
        tenant.note_cleared("b1", PASSED).await.expect("noted");
        assert_eq!(loose(&store).await, [], "it is gone");
        assert!(store.tenant(&other).hold_blob("b1", HOUR).await.expect("asked"), "the other tenant's is not");
    })
    .await;
}

#[tokio::test]
async fn a_blob_whose_writer_gives_no_sign_is_never_kept_and_is_cleared_twice() {
    each_database(async |store: Store| {
        let (cx, _) = two_tenants(&store).await;
        let tenant = store.tenant(&cx);
        for key in ["alive", "asleep"] {
            tenant.begin_blob(key, "s3", PASSED).await.expect("noted");
        }
        assert!(tenant.hold_blob("alive", HOUR).await.expect("asked"));
        assert_eq!(loose(&store).await, of_a(&["asleep"]));
        assert!(!tenant.hold_blob("asleep", HOUR).await.expect("asked"));
        assert_eq!(name(&store, &cx, "f", "asleep").await.expect_err("lost").kind, Kind::Unavailable);
        tenant.let_go_of_blob("asleep").await.expect("nothing to let go of");
        assert_eq!(loose(&store).await, [], "whoever clears it holds it");
        tenant.note_cleared("asleep", PASSED).await.expect("noted");
        assert_eq!(loose(&store).await, of_a(&["asleep"]), "once more");
        tenant.note_cleared("asleep", PASSED).await.expect("noted");
        assert_eq!(loose(&store).await, []);
        name(&store, &cx, "f", "alive").await.expect("kept");
    })
    .await;
}

#[tokio::test]
async fn what_an_earlier_process_was_writing_or_let_go_of_is_loose_at_once() {
    each_database(async |store: Store| {
        let (cx, _) = two_tenants(&store).await;
        let tenant = store.tenant(&cx);
        for key in ["kept", "let go of", "written"] {
            tenant.begin_blob(key, "s3", HOUR).await.expect("noted");
        }
        name(&store, &cx, "f", "kept").await.expect("kept");
        tenant.let_go_of_blob("let go of").await.expect("let go of");
        assert_eq!(loose(&store).await, of_a(&["let go of"]));
        // That one was in the hands of the process, too, when it died.
        assert_eq!(store.system().end_blob_leases().await.expect("ended"), 2);
        assert_eq!(loose(&store).await, of_a(&["let go of", "written"]));
    })
    .await;
}
