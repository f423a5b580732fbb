//! What the tests share: two tenants, pages, the sample shop and the second shop.
#![allow(dead_code)] // each test file uses its part

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use frontdesk_api::{Cx, clock::FixedClock, id::CountingIds};
use frontdesk_memory::{Knowledge, Upload};
use frontdesk_store::{Store, StoredTenant};
use frontdesk_vectors::FullText;
use serde_json::Map;

#[derive(Debug, Clone, Copy)]
pub enum Tenant {
    One,
    Two,
}

/// The caller of a tenant that exists.
pub async fn cx(store: &Store, tenant: Tenant) -> Cx {
    let id = format!("{tenant:?}").to_lowercase();
    store
        .system()
        .ensure_tenant(&StoredTenant { id: id.clone(), name: id.clone(), created_at: 0 })
        .await
        .expect("a tenant");
    Cx::internal(id, "test")
}

/// Ids that count, so that both databases see the same ones.
pub fn knowledge(store: &Store) -> Knowledge {
    let index = FullText::shared(store.clone());
    Knowledge::new(store.clone(), index, Arc::new(FixedClock::at(1_000_000)), Arc::new(CountingIds::default()))
}

pub fn page(filename: &str, text: &str) -> Upload {
    Upload { filename: filename.into(), media_type: None, url: None, content: text.as_bytes().to_vec() }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The pages of a folder, in the order of their names.
pub fn pages_of(folder: &str) -> Vec<Upload> {
    let entries = std::fs::read_dir(root().join(folder)).expect("the folder of pages");
    let mut pages: Vec<Upload> = entries
        .map(|e| e.expect("an entry"))
        .map(|e| Upload {
            filename: e.file_name().to_string_lossy().into_owned(),
            media_type: None,
            url: None,
            content: std::fs::read(e.path()).expect("a page"),
        })
        .collect();
    pages.sort_by(|a, b| a.filename.cmp(&b.filename));
    pages
}

/// A store with these pages.
pub async fn store_of(knowledge: &Knowledge, cx: &Cx, pages: Vec<Upload>) -> String {
    let id = knowledge.create_store(cx, "shop", Map::new()).await.expect("a store").id;
    for added in knowledge.add_files(cx, &id, pages, &|_| {}).await.expect("added") {
        assert_eq!(added.file.status, "completed", "{}: {:?}", added.file.filename, added.file.error);
    }
    id
}

/// 200 pages of one text that differ in the model's number, its volume and its price.
pub fn kettles() -> Vec<Upload> {
    (0..200)
        .map(|i| {
            let (model, volume, price) = (101 + i, 10 + i % 8, 39 + i % 50);
            let text = format!(
                "# Wasserkocher K-{model}\n\nDer Wasserkocher K-{model} fasst {},{} Liter und kostet € {price},90. Er ist sofort lieferbar.\n\n\
                 ## Pflege\n\nEntkalken Sie den Wasserkocher K-{model} einmal im Monat mit Zitronensäure.\n",
                volume / 10,
                volume % 10
            );
            page(&format!("k-{model}.md"), &text)
        })
        .collect()
}

/// Lines `question => page` or `question => nothing` of a list.
pub fn questions(list: &str) -> Vec<(String, Option<String>)> {
    let lines = list.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty());
    lines
        .map(|l| l.split_once(" => ").expect("question => page"))
        .map(|(ask, page)| (ask.to_owned(), (page != "nothing").then(|| page.to_owned())))
        .collect()
}
