//! Answering a question with passages and where they come from.
//!
//! Invariant: a passage's file, name and address are read from the rows at the moment of asking; the
//! model has no say in them.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use frontdesk_api::{
    Cx, Error, Memory, Result,
    filter::FileFilter,
    memory::{Passage, Within},
};
use frontdesk_store::knowledge::StoreFile;

use crate::Knowledge;

/// Most passages of one answer.
const MOST: usize = 50;

#[async_trait]
impl Memory for Knowledge {
    async fn recall_from(
        &self,
        cx: &Cx,
        stores: &[String],
        filter: Option<&FileFilter>,
        query: &str,
        limit: usize,
    ) -> Result<Vec<Passage>> {
        if limit == 0 || limit > MOST {
            return Err(Error::invalid("limit", format!("a search gives 1 to {MOST} passages")));
        }
        let tenant = self.store.tenant(cx);
        let mut places = Vec::new();
        for store_id in stores.iter().collect::<BTreeSet<_>>() {
            tenant.load_vector_store(store_id).await?;
            let files = match filter.and_then(|filter| filter.of(store_id)) {
                None => None,
                Some(filter) => Some(tenant.admitted_files(store_id, filter).await?),
            };
            places.push(Within { store_id: store_id.clone(), files });
        }
        let mut files: HashMap<(String, String), Option<StoreFile>> = HashMap::new();
        let mut passages = Vec::new();
        for hit in self.index.search(cx, &places, query, limit).await? {
            let key = (hit.store_id, hit.file_id);
            if !files.contains_key(&key) {
                let found = tenant.find_store_file(&key.0, &key.1).await?;
                files.insert(key.clone(), found);
            }
            // Out of the store, its passages not yet out of the index.
            let Some(Some(file)) = files.get(&key) else { continue };
            // Its attributes may have changed since: what is shown has passed.
            if filter.and_then(|filter| filter.of(&key.0)).is_some_and(|filter| !filter.admits(&file.attributes)) {
                continue;
            }
            passages.push(Passage {
                store_id: key.0,
                file_id: key.1,
                filename: file.filename.clone(),
                title: hit.chunk.title,
                url: file.url.clone(),
                attributes: file.attributes.clone(),
                chunk_id: hit.chunk.id,
                text: hit.chunk.text,
                score: hit.score,
            });
        }
        Ok(passages)
    }
}
