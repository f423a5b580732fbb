//! Who reads a file into a knowledge store: held, taken over, given back, noted by one.

use frontdesk_api::{Cx, attributes::Attributes, blobs::Place};
use frontdesk_store::{
    Store,
    files::StoredFile,
    knowledge::VectorStore,
    readings::{Ingested, Reader, Unread},
    testing::{each_database, two_tenants},
};
use serde_json::Map;

/// A store `vs` with files of these ids, read by `reader`.
async fn filled(store: &Store, cx: &Cx, files: &[&str], reader: Reader<'_>) {
    let tenant = store.tenant(cx);
    let shelf = VectorStore { id: "vs".into(), name: "vs".into(), metadata: Map::new(), created_at: 1 };
    tenant.add_vector_store(&shelf).await.expect("a store");
    for id in files {
        let file = StoredFile {
            id: (*id).into(),
            filename: (*id).into(),
            purpose: "assistants".into(),
            media_type: None,
            bytes: 1,
            hash: vec![0; 32],
            created_at: 1,
            expires_at: None,
        };
        tenant
            .add_store_file("vs", &file, &Place::Row("x".into()), None, &Attributes::default(), reader)
            .await
            .expect("a file");
    }
}

fn unread(cx: &Cx, file: &str) -> Unread {
    Unread { tenant: cx.tenant.clone(), store_id: "vs".into(), file_id: file.into() }
}

const DEAD: Reader<'_> = Reader { id: "dead", micros: -1 };
const ALIVE: Reader<'_> = Reader { id: "alive", micros: 3_600_000_000 };

#[tokio::test]
async fn files_nobody_holds_are_listed_over_all_tenants_page_by_page() {
    each_database(async |store: Store| {
        let (a, b) = two_tenants(&store).await;
        filled(&store, &a, &["f1", "f2"], DEAD).await;
        filled(&store, &b, &["f1", "f2"], DEAD).await;
        store.tenant(&a).note_ingested("vs", "f2", "dead", &Ingested::Completed { passages: 1 }).await.expect("noted");
        store.tenant(&b).take_unread("vs", "f1", ALIVE).await.expect("held");
        let all = store.system().unread_files(None, 10).await.expect("listed");
        assert_eq!(all, [unread(&a, "f1"), unread(&b, "f2")]);
        let first = store.system().unread_files(None, 1).await.expect("listed");
        let rest = store.system().unread_files(first.last(), 10).await.expect("listed");
        assert_eq!((first, rest), (all[..1].to_vec(), all[1..].to_vec()));
        assert_eq!(store.system().end_readings().await.expect("ended"), 3);
        assert_eq!(store.system().unread_files(None, 10).await.expect("listed").len(), 3);
    })
    .await;
}

#[tokio::test]
async fn one_takes_a_file_over_and_only_the_last_reader_notes_its_end() {
    each_database(async |store: Store| {
        let (a, b) = two_tenants(&store).await;
        filled(&store, &a, &["f1"], DEAD).await;
        let tenant = store.tenant(&a);
        assert_eq!(store.tenant(&b).take_unread("vs", "f1", ALIVE).await.expect("asked"), None, "not theirs");
        assert_eq!(tenant.take_unread("vs", "f1", ALIVE).await.expect("asked"), Some(2));
        assert_eq!(tenant.take_unread("vs", "f1", Reader { id: "late", ..ALIVE }).await.expect("asked"), None);
        let failed = Ingested::Failed { code: "c".into(), message: "m".into() };
        assert!(!tenant.note_ingested("vs", "f1", "dead", &failed).await.expect("asked"));
        assert!(tenant.note_ingested("vs", "f1", "alive", &Ingested::Completed { passages: 7 }).await.expect("asked"));
        let file = tenant.find_store_file("vs", "f1").await.expect("read").expect("there");
        assert_eq!((file.status.as_str(), file.passages), ("completed", 7));
        assert_eq!(tenant.take_unread("vs", "f1", ALIVE).await.expect("asked"), None, "it was read");
    })
    .await;
}

#[tokio::test]
async fn a_reader_renews_and_gives_back_what_it_has_not_read() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        filled(&store, &a, &["f1", "f2", "f3"], DEAD).await;
        let tenant = store.tenant(&a);
        tenant.note_ingested("vs", "f1", "dead", &Ingested::Completed { passages: 1 }).await.expect("noted");
        tenant.take_unread("vs", "f3", ALIVE).await.expect("taken over");
        assert_eq!(tenant.keep_reading("vs", Reader { id: "dead", ..ALIVE }).await.expect("renewed"), 1);
        assert_eq!(store.system().unread_files(None, 10).await.expect("listed"), []);
        assert_eq!(tenant.leave_unread("vs", "dead").await.expect("given back"), 1);
        assert_eq!(store.system().unread_files(None, 10).await.expect("listed"), [unread(&a, "f2")]);
        // It had begun once, and that does not count.
        assert_eq!(tenant.take_unread("vs", "f2", ALIVE).await.expect("asked"), Some(1));
    })
    .await;
}
