//! Files into knowledge stores and out as passages, on each database.

mod shop;

use frontdesk_api::{Cx, Kind, Memory as _, Order, PageRequest};
use frontdesk_memory::{Change, Chunking, Knowledge, Limits};
use frontdesk_store::testing::each_database;
use serde_json::{Map, json};
use shop::{Tenant, cx, knowledge, page};

/// A store with the given pages.
async fn filled(knowledge: &Knowledge, cx: &Cx, pages: &[(&str, &str)]) -> String {
    let id = knowledge.create_store(cx, "pages", Map::new()).await.expect("a store").id;
    for (name, text) in pages {
        let added = knowledge.add_file(cx, &id, page(name, text)).await.expect("added");
        assert_eq!(added.file.status, "completed", "{:?}", added.file.error);
    }
    id
}

async fn texts(knowledge: &Knowledge, cx: &Cx, store: &str, query: &str) -> Vec<String> {
    let found = knowledge.recall(cx, &[store.to_owned()], query, 10).await.expect("recalled");
    found.into_iter().map(|p| p.text).collect()
}

#[tokio::test]
async fn a_passage_names_the_page_it_stands_on() {
    each_database(|store| async move {
        let (knowledge, cx) = (knowledge(&store), cx(&store, Tenant::One).await);
        let id = knowledge.create_store(&cx, "pages", Map::new()).await.expect("a store").id;
        let mut upload = page(
            "returns.md",
            "# Returns\n\nYou can return any lamp within 30 days.\n\n## Money\n\nWe refund within 5 days.\n",
        );
        upload.url = Some("https://shop.example/returns".into());
        let added = knowledge.add_file(&cx, &id, upload).await.expect("added");
        assert_eq!((added.change, added.file.passages), (Change::New, 2));
        let found =
            knowledge.recall(&cx, std::slice::from_ref(&id), "How do I return a lamp?", 4).await.expect("recalled");
        let first = &found[0];
        assert_eq!(first.text, "You can return any lamp within 30 days.");
        assert_eq!((first.filename.as_str(), first.title.as_str()), ("returns.md", "Returns"));
        assert_eq!(first.url.as_deref(), Some("https://shop.example/returns"));
        assert_eq!((&first.store_id, &first.file_id), (&id, &added.file.file_id));
        assert!(first.score > 0.0 && first.score <= 1.0);
    })
    .await;
}

#[tokio::test]
async fn a_changed_page_is_found_as_it_is_now_and_the_same_page_is_read_once() {
    each_database(|store| async move {
        let (knowledge, cx) = (knowledge(&store), cx(&store, Tenant::One).await);
        let id =
            filled(&knowledge, &cx, &[("hours.md", "We open on Monday at nine."), ("other.md", "Parking is free.")])
                .await;
        let first = knowledge.list_store_files(&cx, &id, None, &PageRequest::default()).await.expect("listed");
        let again = knowledge.add_file(&cx, &id, page("hours.md", "We open on Monday at nine.")).await.expect("added");
        assert_eq!(again.change, Change::Unchanged);
        assert!(first.items.contains(&again.file));
        let changed =
            knowledge.add_file(&cx, &id, page("hours.md", "We open on Tuesday at ten.")).await.expect("added");
        assert_eq!(changed.change, Change::Replaced);
        assert_eq!(texts(&knowledge, &cx, &id, "open Tuesday").await, ["We open on Tuesday at ten."]);
        assert!(texts(&knowledge, &cx, &id, "open Monday").await.is_empty());
        let files = knowledge.list_store_files(&cx, &id, None, &PageRequest::default()).await.expect("listed");
        assert_eq!(files.items.len(), 2);
        let gone = knowledge.load_file(&cx, &again.file.file_id).await.expect_err("the old version is gone");
        assert_eq!(gone.kind, Kind::NotFound);
    })
    .await;
}

#[tokio::test]
async fn a_bad_file_says_why_and_harms_no_other() {
    each_database(|store| async move {
        let (knowledge, cx) = (knowledge(&store), cx(&store, Tenant::One).await);
        let id = filled(&knowledge, &cx, &[("good.md", "We repair every lamp.")]).await;
        let seen = std::sync::Mutex::new(Vec::new());
        let uploads = vec![
            page("logo.png", "x"),
            page("empty.html", "<nav>x</nav>"),
            page("good.md", "\0"),
            page("more.md", "We paint walls."),
        ];
        let added = knowledge
            .add_files(&cx, &id, uploads, &|p| seen.lock().expect("unpoisoned").push((p.done, p.total, p.added.change)))
            .await
            .expect("tried");
        let codes: Vec<Option<&str>> = added.iter().map(|a| a.file.error_code.as_deref()).collect();
        assert_eq!(codes, [Some("unsupported_file"), Some("empty_file"), Some("invalid_file"), None]);
        assert!(added[0].file.error.as_deref().is_some_and(|e| e.contains("logo.png") && e.contains(".html")));
        let seen = seen.into_inner().expect("unpoisoned");
        assert_eq!(seen, [(1, 4, Change::Failed), (2, 4, Change::Failed), (3, 4, Change::Failed), (4, 4, Change::New)]);
        // The broken new version of a page leaves the old one in place.
        assert_eq!(texts(&knowledge, &cx, &id, "repair lamp").await, ["We repair every lamp."]);
        let counts = knowledge.load_store(&cx, &id).await.expect("loaded").files;
        assert_eq!((counts.completed, counts.failed, counts.in_progress, counts.total()), (2, 3, 0, 5));
        let failed =
            knowledge.list_store_files(&cx, &id, Some("failed"), &PageRequest::default()).await.expect("listed");
        assert_eq!(failed.items.len(), 3);
        // Mended, it takes the place of its failed self.
        let mended =
            knowledge.add_file(&cx, &id, page("empty.html", "<p>We sharpen knives.</p>")).await.expect("added");
        assert_eq!(mended.change, Change::Replaced);
        assert_eq!(knowledge.load_store(&cx, &id).await.expect("loaded").files.failed, 2);
    })
    .await;
}

#[tokio::test]
async fn limits_are_named() {
    each_database(|store| async move {
        let cx = cx(&store, Tenant::One).await;
        let limits = Limits { max_bytes: 40, max_page_bytes: 30, max_passages: 2 };
        let knowledge = knowledge(&store).with_limits(limits).with_chunking(Chunking { max_words: 3 });
        let id = filled(&knowledge, &cx, &[]).await;
        let refused = knowledge.add_file(&cx, &id, page("big.md", &"word ".repeat(7))).await.expect_err("too large");
        assert_eq!((refused.kind, refused.code.as_deref()), (Kind::TooLarge, Some("file_too_large")));
        assert!(refused.message.contains("'big.md'") && refused.message.contains("30"), "{refused}");
        let large = knowledge.create_file(&cx, "big.bin", "assistants", None, &[0; 41]).await.expect_err("too large");
        assert_eq!((large.kind, large.code.as_deref()), (Kind::TooLarge, Some("file_too_large")));
        assert!(large.message.contains("'big.bin'") && large.message.contains("40"), "{large}");
        let many = knowledge.add_file(&cx, &id, page("many.md", "a b c\n\nd e f\n\ng h i")).await.expect("added");
        assert_eq!(many.file.error_code.as_deref(), Some("file_too_large"));
        for name in ["", " ", "a\nb", &"x".repeat(256)] {
            let refused = knowledge.create_file(&cx, name, "assistants", None, b"x").await.expect_err("a bad name");
            assert_eq!(refused.param.as_deref(), Some("filename"));
        }
        // Large enough to keep, too large to read into a store.
        let kept = knowledge.create_file(&cx, "kept.md", "assistants", None, &[b'x'; 35]).await.expect("kept");
        let attached = knowledge.attach_file(&cx, &id, &kept.id, None).await.expect("attached");
        assert_eq!(attached.error_code.as_deref(), Some("file_too_large"));
    })
    .await;
}

#[tokio::test]
async fn what_is_deleted_is_not_found_again() {
    each_database(|store| async move {
        let (knowledge, cx) = (knowledge(&store), cx(&store, Tenant::One).await);
        let id = filled(&knowledge, &cx, &[("a.md", "Dogs are welcome."), ("b.md", "Cats are welcome.")]).await;
        let uploaded = knowledge
            .create_file(&cx, "c.md", "assistants", Some("text/markdown"), b"Birds are welcome.")
            .await
            .expect("created");
        knowledge.attach_file(&cx, &id, &uploaded.id, None).await.expect("attached");
        assert_eq!(texts(&knowledge, &cx, &id, "birds").await, ["Birds are welcome."]);
        assert_eq!(knowledge.load_content(&cx, &uploaded.id).await.expect("content"), &b"Birds are welcome."[..]);

        knowledge.remove_store_file(&cx, &id, &uploaded.id).await.expect("removed");
        assert!(texts(&knowledge, &cx, &id, "birds").await.is_empty());
        assert!(knowledge.load_file(&cx, &uploaded.id).await.is_ok(), "an uploaded file stays");
        let twice = knowledge.remove_store_file(&cx, &id, &uploaded.id).await.expect_err("not in any more");
        assert_eq!(twice.kind, Kind::NotFound);

        knowledge.attach_file(&cx, &id, &uploaded.id, None).await.expect("attached");
        knowledge.delete_file(&cx, &uploaded.id).await.expect("deleted");
        assert!(texts(&knowledge, &cx, &id, "birds").await.is_empty());

        knowledge.delete_store(&cx, &id).await.expect("deleted");
        let error = knowledge.recall(&cx, std::slice::from_ref(&id), "dogs", 4).await.expect_err("no such store");
        assert_eq!(error.kind, Kind::NotFound);
        assert!(error.message.contains(&id));
        assert!(knowledge.list_files(&cx, None, &PageRequest::default()).await.expect("listed").items.is_empty());
    })
    .await;
}

#[tokio::test]
async fn another_tenant_finds_nothing_and_changes_nothing() {
    each_database(|store| async move {
        let knowledge = knowledge(&store);
        let (one, two) = (cx(&store, Tenant::One).await, cx(&store, Tenant::Two).await);
        let id = filled(&knowledge, &one, &[("a.md", "The password of the safe is green.")]).await;
        let file = knowledge.list_files(&one, None, &PageRequest::default()).await.expect("listed").items[0].id.clone();
        let refused = [
            knowledge.recall(&two, std::slice::from_ref(&id), "password safe", 4).await.map(|_| ()),
            knowledge.load_store(&two, &id).await.map(|_| ()),
            knowledge.update_store(&two, &id, Some("x"), None).await.map(|_| ()),
            knowledge.delete_store(&two, &id).await,
            knowledge.add_file(&two, &id, page("b.md", "x")).await.map(|_| ()),
            knowledge.load_file(&two, &file).await.map(|_| ()),
            knowledge.load_content(&two, &file).await.map(|_| ()),
            knowledge.delete_file(&two, &file).await,
            knowledge.load_store_file(&two, &id, &file).await.map(|_| ()),
            knowledge.remove_store_file(&two, &id, &file).await,
            knowledge.list_store_files(&two, &id, None, &PageRequest::default()).await.map(|_| ()),
        ];
        for (i, answer) in refused.into_iter().enumerate() {
            assert_eq!(answer.expect_err("not theirs").kind, Kind::NotFound, "call {i}");
        }
        let own = filled(&knowledge, &two, &[]).await;
        let theirs = knowledge.attach_file(&two, &own, &file, None).await.expect_err("not their file");
        assert_eq!(theirs.kind, Kind::NotFound);
        assert!(knowledge.list_files(&two, None, &PageRequest::default()).await.expect("listed").items.is_empty());
        assert_eq!(texts(&knowledge, &one, &id, "password safe").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn lists_page_by_id_and_stores_keep_their_metadata() {
    each_database(|store| async move {
        let (knowledge, cx) = (knowledge(&store), cx(&store, Tenant::One).await);
        let metadata = json!({ "team": "north", "n": 1 }).as_object().cloned().expect("an object");
        for name in ["a", "b", "c"] {
            knowledge.create_store(&cx, name, metadata.clone()).await.expect("a store");
        }
        let page = |after: Option<String>| PageRequest { after, limit: 2, order: Order::Asc };
        let first = knowledge.list_stores(&cx, &page(None)).await.expect("listed");
        assert!(first.more);
        let rest =
            knowledge.list_stores(&cx, &page(first.items.last().map(|s| s.store.id.clone()))).await.expect("listed");
        let names: Vec<&str> = first.items.iter().chain(&rest.items).map(|s| s.store.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(rest.items[0].store.metadata, metadata);
        let renamed = knowledge.update_store(&cx, &rest.items[0].store.id, Some("d"), None).await.expect("renamed");
        assert_eq!((renamed.store.name.as_str(), &renamed.store.metadata), ("d", &metadata));
    })
    .await;
}

#[tokio::test]
async fn several_stores_are_searched_as_one() {
    each_database(|store| async move {
        let (knowledge, cx) = (knowledge(&store), cx(&store, Tenant::One).await);
        let a = filled(
            &knowledge,
            &cx,
            &[("a.md", "# Dogs\n\nDogs are welcome in the garden."), ("x.md", "We paint walls.")],
        )
        .await;
        let b = filled(
            &knowledge,
            &cx,
            &[("b.md", "Les chiens sont les bienvenus dans le jardin."), ("c.md", "Dogs pay nothing on the boat.")],
        )
        .await;
        let both = [a.clone(), b.clone(), a.clone()];
        let found = knowledge.recall(&cx, &both, "Are dogs welcome in the garden?", 10).await.expect("recalled");
        assert_eq!(found[0].store_id, a);
        assert_eq!(found.iter().filter(|p| p.store_id == a).count(), 1, "a store named twice is searched once");
        let french = knowledge
            .recall(&cx, &both, "Les chiens sont-ils les bienvenus dans le jardin ?", 1)
            .await
            .expect("recalled");
        assert_eq!(french.first().map(|p| p.filename.as_str()), Some("b.md"));
        assert!(knowledge.recall(&cx, &both, "dogs", 0).await.is_err(), "a limit of nothing is a mistake");
    })
    .await;
}
