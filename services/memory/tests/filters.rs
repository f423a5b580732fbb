//! Attributes of files, and searches among the files whose attributes pass, on each database.

mod shop;

use std::sync::Arc;

use async_trait::async_trait;
use frontdesk_api::{
    Cx, Index, Kind, Memory as _, Result,
    attributes::Attributes,
    clock::FixedClock,
    filter::{FileFilter, Filter, Test},
    id::CountingIds,
    memory::{Chunk, Hit, Passage, Within},
};
use frontdesk_memory::{Change, Knowledge, Upload};
use frontdesk_store::{Store, testing::each_database};
use frontdesk_vectors::FullText;
use serde_json::{Map, Value, json};
use shop::{Tenant, cx, knowledge};

fn attributes(pairs: &Value) -> Attributes {
    Attributes::new(pairs.as_object().cloned().expect("an object")).expect("attributes")
}

fn key(key: &str, test: Test) -> Filter {
    Filter::Key { key: key.into(), test }
}

/// Pages with attributes, in a store; the ids of store and files.
async fn filled(knowledge: &Knowledge, cx: &Cx, pages: &[(&str, &str, Value)]) -> (String, Vec<String>) {
    let id = knowledge.create_store(cx, "pages", Map::new()).await.expect("a store").id;
    let mut files = vec![];
    for (name, text, pairs) in pages {
        let file = knowledge.create_file(cx, name, "assistants", None, text.as_bytes()).await.expect("a file").id;
        let pairs = Some(attributes(pairs));
        let attached = knowledge.attach_file(cx, &id, &file, pairs.clone()).await.expect("attached");
        assert_eq!((attached.status.as_str(), Some(attached.attributes)), ("completed", pairs));
        files.push(file);
    }
    (id, files)
}

async fn found(knowledge: &Knowledge, cx: &Cx, store: &str, filter: Filter, query: &str, limit: usize) -> Vec<Passage> {
    let stores = [store.to_owned()];
    let filter = FileFilter { stores: stores.to_vec(), filter };
    knowledge.recall_from(cx, &stores, Some(&filter), query, limit).await.expect("recalled")
}

fn names(passages: &[Passage]) -> Vec<&str> {
    let mut names: Vec<&str> = passages.iter().map(|p| p.filename.as_str()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_search_is_among_the_files_that_pass() {
    each_database(|store| async move {
        let (knowledge, cx) = (knowledge(&store), cx(&store, Tenant::One).await);
        let text = "Dogs are welcome in the garden.";
        let pages = [
            ("a.md", text, json!({ "lang": "de", "year": 2023, "public": true })),
            ("b.md", text, json!({ "lang": "en", "year": 2024.5, "public": false })),
            ("c.md", text, json!({ "lang": "en", "year": "2024" })),
            ("d.md", text, json!({})),
        ];
        let (id, _) = filled(&knowledge, &cx, &pages).await;
        let cases: [(Filter, &[&str]); 14] = [
            (key("lang", Test::Eq(json!("en"))), &["b.md", "c.md"]),
            (key("lang", Test::Ne(json!("en"))), &["a.md", "d.md"]),
            (key("lang", Test::In(vec![json!("de"), json!("fr")])), &["a.md"]),
            (key("lang", Test::Nin(vec![json!("de"), json!("fr")])), &["b.md", "c.md", "d.md"]),
            (key("lang", Test::Gt(json!("de"))), &["b.md", "c.md"]),
            (key("year", Test::Gt(json!(2023))), &["b.md"]),
            (key("year", Test::Gte(json!(2023))), &["a.md", "b.md"]),
            (key("year", Test::Lt(json!(2024))), &["a.md"]),
            (key("year", Test::Lte(json!("2024"))), &["c.md"]),
            (key("public", Test::Eq(json!(true))), &["a.md"]),
            (key("public", Test::Ne(json!(true))), &["b.md", "c.md", "d.md"]),
            (key("owner", Test::Eq(json!("x"))), &[]),
            (Filter::All(vec![key("lang", Test::Eq(json!("en"))), key("public", Test::Eq(json!(false)))]), &["b.md"]),
            (
                Filter::Any(vec![
                    key("lang", Test::Eq(json!("de"))),
                    Filter::All(vec![key("year", Test::Eq(json!("2024"))), key("public", Test::Ne(json!(true)))]),
                ]),
                &["a.md", "c.md"],
            ),
        ];
        for (filter, wanted) in cases {
            let passages = found(&knowledge, &cx, &id, filter.clone(), "Are dogs welcome?", 10).await;
            assert_eq!(names(&passages), wanted, "{filter:?}");
        }
        let german = found(&knowledge, &cx, &id, key("lang", Test::Eq(json!("de"))), "Are dogs welcome?", 10).await;
        assert_eq!(german[0].attributes, attributes(&pages[0].2));
    })
    .await;
}

#[tokio::test]
async fn the_best_are_chosen_among_the_files_that_pass_with_the_scores_they_have_anyway() {
    each_database(|store| async move {
        let (knowledge, cx) = (knowledge(&store), cx(&store, Tenant::One).await);
        let best = "# Dogs in the garden\n\nDogs are welcome in the garden.";
        let mut pages =
            vec![("late.md", "In spring dogs and cats are welcome in the rose garden.", json!({ "year": 2020 }))];
        pages.extend(["b.md", "c.md", "d.md"].map(|name| (name, best, json!({ "year": 2024 }))));
        let (id, _) = filled(&knowledge, &cx, &pages).await;
        let query = "Are dogs welcome in the garden?";
        let all = knowledge.recall(&cx, std::slice::from_ref(&id), query, 10).await.expect("recalled");
        assert_eq!((all.len(), all[3].filename.as_str()), (4, "late.md"), "it is the last of all");
        let old = found(&knowledge, &cx, &id, key("year", Test::Lt(json!(2024))), query, 1).await;
        assert_eq!(old, all[3..], "cut after the filter");
    })
    .await;
}

#[tokio::test]
async fn a_filter_is_for_the_stores_that_it_names() {
    each_database(|store| async move {
        let (knowledge, cx) = (knowledge(&store), cx(&store, Tenant::One).await);
        let (a, _) = filled(&knowledge, &cx, &[("a.md", "Dogs are welcome.", json!({ "lang": "de" }))]).await;
        let (b, _) = filled(&knowledge, &cx, &[("b.md", "Dogs are welcome.", json!({ "lang": "de" }))]).await;
        let filter = FileFilter { stores: vec![b.clone()], filter: key("lang", Test::Ne(json!("de"))) };
        let both = [a, b, "vs_none".to_owned()];
        let passages = knowledge.recall_from(&cx, &both[..2], Some(&filter), "dogs", 10).await.expect("recalled");
        assert_eq!(names(&passages), ["a.md"]);
        let missing = knowledge.recall_from(&cx, &both, Some(&filter), "dogs", 10).await.expect_err("no such store");
        assert!(missing.kind == Kind::NotFound && missing.message.contains("vs_none"), "{missing}");
    })
    .await;
}

#[tokio::test]
async fn attributes_are_changed_whole_and_stay_with_their_store() {
    each_database(|store| async move {
        let (knowledge, cx) = (knowledge(&store), cx(&store, Tenant::One).await);
        let set =
            json!({ "url": "https://shop.example/a", "year": 1.0, "long": 9_007_199_254_740_993_u64, "text": "\u{1}ü" });
        let (a, files) = filled(&knowledge, &cx, &[("a.md", "Dogs are welcome.", set.clone())]).await;
        let (b, _) = filled(&knowledge, &cx, &[]).await;
        let file = &files[0];
        let other = knowledge.attach_file(&cx, &b, file, None).await.expect("attached");
        assert!(other.attributes.is_empty() && other.url.is_none(), "another store says nothing of it");

        let again = knowledge.attach_file(&cx, &a, file, None).await.expect("attached again");
        assert_eq!(json!(again.attributes), set, "put in again without any it keeps them");
        assert_eq!(again.url.as_deref(), Some("https://shop.example/a"));
        let passages = knowledge.recall(&cx, std::slice::from_ref(&a), "dogs", 1).await.expect("recalled");
        assert_eq!((&json!(passages[0].attributes), &passages[0].url), (&set, &again.url));

        let changed =
            knowledge.set_attributes(&cx, &a, file, &attributes(&json!({ "lang": "de" }))).await.expect("set");
        assert_eq!((json!(changed.attributes), changed.url), (json!({ "lang": "de" }), None));
        let german = key("lang", Test::Eq(json!("de")));
        assert_eq!(found(&knowledge, &cx, &a, german.clone(), "dogs", 1).await.len(), 1);
        assert!(found(&knowledge, &cx, &b, german.clone(), "dogs", 1).await.is_empty());
        let replaced = knowledge.attach_file(&cx, &a, file, Some(attributes(&json!({ "n": 1 })))).await.expect("again");
        assert_eq!(json!(replaced.attributes), json!({ "n": 1 }));
        assert!(found(&knowledge, &cx, &a, german, "dogs", 1).await.is_empty());
        let missing = knowledge.set_attributes(&cx, &a, "file_none", &Attributes::default()).await.expect_err("not in");
        assert!(missing.kind == Kind::NotFound && missing.message.contains("file_none"), "{missing}");
    })
    .await;
}

#[tokio::test]
async fn a_page_keeps_its_address_and_its_new_version_its_attributes() {
    each_database(|store| async move {
        let (knowledge, cx) = (knowledge(&store), cx(&store, Tenant::One).await);
        let (id, _) = filled(&knowledge, &cx, &[]).await;
        let url = Some("https://shop.example/dogs".to_owned());
        let upload = |text: &str| Upload { url: url.clone(), ..shop::page("dogs.md", text) };
        let first = knowledge.add_file(&cx, &id, upload("Dogs are welcome.")).await.expect("added").file.file_id;
        let set = attributes(&json!({ "lang": "de" }));
        let changed = knowledge.set_attributes(&cx, &id, &first, &set).await.expect("set");
        assert_eq!((&changed.attributes, &changed.url), (&set, &url));
        let again = knowledge.attach_file(&cx, &id, &first, Some(set.clone())).await.expect("attached");
        assert_eq!((&again.attributes, &again.url), (&set, &url));
        let same = knowledge.add_file(&cx, &id, upload("Dogs are welcome.")).await.expect("added");
        assert_eq!((same.change, same.file.file_id), (Change::Unchanged, first.clone()));

        let newer = knowledge.add_file(&cx, &id, upload("Dogs are welcome in spring.")).await.expect("added");
        assert_eq!((newer.change, &newer.file.attributes, &newer.file.url), (Change::Replaced, &set, &url));
        let german = found(&knowledge, &cx, &id, key("lang", Test::Eq(json!("de"))), "dogs", 4).await;
        assert_eq!(german.iter().map(|p| p.text.as_str()).collect::<Vec<_>>(), ["Dogs are welcome in spring."]);

        let moved = attributes(&json!({ "url": "https://shop.example/pets" }));
        let moved = knowledge.set_attributes(&cx, &id, &newer.file.file_id, &moved).await.expect("set");
        assert_eq!(moved.url.as_deref(), Some("https://shop.example/pets"));
        let unsaid = knowledge.add_file(&cx, &id, shop::page("dogs.md", "Dogs stay out.")).await.expect("added");
        assert_eq!(unsaid.file.url, moved.url, "an attribute too");
    })
    .await;
}

#[tokio::test]
async fn another_tenant_filters_and_changes_nothing() {
    each_database(|store| async move {
        let knowledge = knowledge(&store);
        let (one, two) = (cx(&store, Tenant::One).await, cx(&store, Tenant::Two).await);
        let set = json!({ "lang": "de" });
        let (id, files) = filled(&knowledge, &one, &[("a.md", "Dogs are welcome.", set.clone())]).await;
        let filter = key("lang", Test::Eq(json!("de")));
        let asked = FileFilter { stores: vec![id.clone()], filter: filter.clone() };
        let stores = [id.clone()];
        let refused = [
            knowledge.recall_from(&two, &stores, Some(&asked), "dogs", 4).await.map(|_| ()),
            knowledge.set_attributes(&two, &id, &files[0], &Attributes::default()).await.map(|_| ()),
        ];
        for (i, answer) in refused.into_iter().enumerate() {
            assert_eq!(answer.expect_err("not theirs").kind, Kind::NotFound, "call {i}");
        }
        assert!(store.tenant(&two).admitted_files(&id, &filter).await.expect("asked").is_empty());
        assert!(!store.tenant(&two).set_attributes(&id, &files[0], &Attributes::default()).await.expect("asked"));
        let kept = knowledge.load_store_file(&one, &id, &files[0]).await.expect("a file");
        assert_eq!(json!(kept.attributes), set);
    })
    .await;
}

/// Every file loses its attributes while a search runs.
struct Forgetting {
    index: Arc<dyn Index>,
    store: Store,
}

#[async_trait]
impl Index for Forgetting {
    async fn put(&self, cx: &Cx, store_id: &str, file_id: &str, chunks: &[Chunk]) -> Result<()> {
        self.index.put(cx, store_id, file_id, chunks).await
    }

    async fn remove(&self, cx: &Cx, store_id: &str, file_id: &str) -> Result<()> {
        self.index.remove(cx, store_id, file_id).await
    }

    async fn clear(&self, cx: &Cx, store_id: &str) -> Result<()> {
        self.index.clear(cx, store_id).await
    }

    async fn search(&self, cx: &Cx, places: &[Within], query: &str, limit: usize) -> Result<Vec<Hit>> {
        let hits = self.index.search(cx, places, query, limit).await?;
        assert!(!hits.is_empty());
        for hit in &hits {
            self.store.tenant(cx).set_attributes(&hit.store_id, &hit.file_id, &Attributes::default()).await?;
        }
        Ok(hits)
    }
}

#[tokio::test]
async fn a_file_that_stops_passing_while_it_is_found_is_not_shown() {
    each_database(|store| async move {
        let index = Arc::new(Forgetting { index: FullText::shared(store.clone()), store: store.clone() });
        let (clock, ids) = (Arc::new(FixedClock::at(1_000_000)), Arc::new(CountingIds::default()));
        let knowledge = Knowledge::new(store.clone(), index, clock, ids);
        let cx = cx(&store, Tenant::One).await;
        let (id, _) = filled(&knowledge, &cx, &[("a.md", "Dogs are welcome.", json!({ "lang": "de" }))]).await;
        let passages = found(&knowledge, &cx, &id, key("lang", Test::Eq(json!("de"))), "dogs", 4).await;
        assert_eq!(passages, []);
    })
    .await;
}
