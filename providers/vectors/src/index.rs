//! The search engine: terms of passages into the store's lists, questions to ranked passages.
//!
//! Invariant: which passages come back and in which order is decided by [`crate::score`] from what the
//! lists say, never by the database, so both databases answer the same.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use frontdesk_api::{
    Cx, Error, Result,
    memory::{Chunk, Hit, Index, Within},
};
use frontdesk_store::{
    Store, Tx,
    passages::{self, IndexedFile, StoredPassage},
};

use crate::{
    score::{Place, Postings, Seen},
    text::{Concept, Language, index_terms, prefix_of, question},
};

/// Characters of a question that are read; nobody asks more in one breath.
const LONGEST_QUESTION: usize = 8_000;
/// Compounds that one word of a question may stand for, and how much they count.
const COMPOUNDS: i64 = 12;
const COMPOUND: f64 = 0.7;

/// Full-text search over the passages in the store.
#[derive(Clone)]
pub struct FullText {
    store: Store,
}

impl FullText {
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Ready to be shared.
    #[must_use]
    pub fn shared(store: Store) -> Arc<dyn Index> {
        Arc::new(Self::new(store))
    }
}

#[async_trait]
impl Index for FullText {
    async fn put(&self, cx: &Cx, store_id: &str, file_id: &str, chunks: &[Chunk]) -> Result<()> {
        let (id, chunks) = (file_id.to_owned(), chunks.to_vec());
        // Reading words is work for a thread that may be busy.
        let file = tokio::task::spawn_blocking(move || index(&id, &chunks)).await;
        let file = file.map_err(|e| Error::internal(format!("could not read the words of the file '{file_id}'"), e))?;
        self.store.tenant(cx).index_file(store_id, &file).await
    }

    async fn remove(&self, cx: &Cx, store_id: &str, file_id: &str) -> Result<()> {
        self.store.tenant(cx).unindex_file(store_id, file_id).await
    }

    async fn clear(&self, cx: &Cx, store_id: &str) -> Result<()> {
        self.store.tenant(cx).unindex_store(store_id).await
    }

    async fn search(&self, cx: &Cx, places: &[Within], query: &str, limit: usize) -> Result<Vec<Hit>> {
        let query: String = query.chars().take(LONGEST_QUESTION).collect();
        let tenant = self.store.tenant(cx);
        let mut tx = tenant.read().await?;
        let mut found: Vec<Found> = Vec::new();
        for place in places {
            found.extend(search_store(&mut tx, place, &query).await?);
        }
        found.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.place().cmp(&b.place())));
        let mut hits = Vec::new();
        for one in found {
            if hits.len() == limit {
                break;
            }
            let Some(p) = passages::find_passage(&mut tx, &one.store_id, &one.file_id, one.pos).await? else {
                continue;
            };
            let chunk = Chunk { id: p.id, pos: p.pos, title: p.title, text: p.text };
            hits.push(Hit { store_id: one.store_id, file_id: one.file_id, chunk, score: one.score });
        }
        Ok(hits)
    }
}

/// A relevant passage before it is loaded.
struct Found {
    store_id: String,
    file_id: String,
    pos: i64,
    score: f64,
}

impl Found {
    fn place(&self) -> (&str, &str, i64) {
        (&self.store_id, &self.file_id, self.pos)
    }
}

/// The relevant passages of a store. Files that are not to be searched count in how rare a word is all the same, so what
/// is found is as good as it would be among them.
async fn search_store(tx: &mut Tx, within: &Within, query: &str) -> Result<Vec<Found>> {
    let Within { store_id, files: only } = within;
    if only.as_ref().is_some_and(HashSet::is_empty) {
        return Ok(vec![]);
    }
    let spoken = Language::detect(query);
    let mut best: BTreeMap<(String, i64), f64> = BTreeMap::new();
    for totals in passages::languages(tx, store_id).await? {
        let mut sentences = question(query, Language::of_code(&totals.language), spoken);
        for concept in sentences.iter_mut().flatten() {
            add_compounds(tx, store_id, concept).await?;
        }
        let mut lists = Lists { passages: totals.passages, length: totals.length, ..Lists::default() };
        for (term, _) in sentences.iter().flatten().flat_map(|c| &c.terms) {
            lists.read(tx, store_id, term).await?;
        }
        let (files, postings) = lists.done();
        for sentence in &sentences {
            for ((file, pos), score) in postings.rank(sentence) {
                let Some(file_id) = files.get(file) else { continue };
                if only.as_ref().is_some_and(|only| !only.contains(file_id)) {
                    continue;
                }
                let held = best.entry((file_id.clone(), pos)).or_default();
                *held = held.max(score);
            }
        }
    }
    let found =
        best.into_iter().map(|((file_id, pos), score)| Found { store_id: store_id.clone(), file_id, pos, score });
    Ok(found.collect())
}

/// In German and Dutch, `Versand` also asks for `Versandkosten`.
async fn add_compounds(tx: &mut Tx, store_id: &str, concept: &mut Concept) -> Result<()> {
    let Some((low, high)) = concept.terms.first().and_then(|(term, _)| prefix_of(term)) else { return Ok(()) };
    for term in passages::terms_between(tx, store_id, &low, &high, COMPOUNDS).await? {
        if !concept.terms.iter().any(|(t, _)| *t == term) {
            concept.terms.push((term, COMPOUND));
        }
    }
    Ok(())
}

/// What the lists say of the asked terms; files are numbered as they turn up.
#[derive(Default)]
struct Lists {
    passages: i64,
    length: i64,
    files: Vec<String>,
    numbers: HashMap<String, usize>,
    seen: HashMap<String, BTreeMap<Place, Seen>>,
}

impl Lists {
    async fn read(&mut self, tx: &mut Tx, store_id: &str, term: &str) -> Result<()> {
        if self.seen.contains_key(term) {
            return Ok(());
        }
        let mut places = BTreeMap::new();
        for (file_id, hits) in passages::postings(tx, store_id, term).await? {
            let next = self.files.len();
            let file = *self.numbers.entry(file_id.clone()).or_insert(next);
            if file == next {
                self.files.push(file_id);
            }
            for (pos, seen) in hits.split(' ').filter_map(read_hit) {
                places.insert((file, pos), seen);
            }
        }
        self.seen.insert(term.to_owned(), places);
        Ok(())
    }

    fn done(self) -> (Vec<String>, Postings) {
        let total = |n: i64| u64::try_from(n).unwrap_or(0);
        (self.files, Postings { passages: total(self.passages), length: total(self.length), seen: self.seen })
    }
}

/// A file's passages as terms.
fn index(file_id: &str, chunks: &[Chunk]) -> IndexedFile {
    let whole: String = chunks.iter().flat_map(|c| [c.title.as_str(), "\n", c.text.as_str(), "\n"]).collect();
    let language = Language::detect(&whole);
    let mut lists: BTreeMap<String, BTreeMap<i64, Seen>> = BTreeMap::new();
    let mut length = 0usize;
    for chunk in chunks {
        let text = index_terms(&chunk.text, language);
        let here = u32::try_from(text.len()).unwrap_or(u32::MAX);
        length += text.len();
        let unseen = Seen { title: 0, text: 0, length: here };
        for term in text {
            lists.entry(term).or_default().entry(chunk.pos).or_insert(unseen).text += 1;
        }
        for term in index_terms(&chunk.title, language) {
            lists.entry(term).or_default().entry(chunk.pos).or_insert(unseen).title += 1;
        }
    }
    let postings = lists
        .into_iter()
        .map(|(term, places)| (term, places.iter().map(write_hit).collect::<Vec<_>>().join(" ")))
        .collect();
    let stored = |c: &Chunk| StoredPassage {
        file_id: file_id.to_owned(),
        pos: c.pos,
        id: c.id.clone(),
        title: c.title.clone(),
        text: c.text.clone(),
    };
    IndexedFile {
        file_id: file_id.to_owned(),
        language: language.code().to_owned(),
        passages: chunks.iter().map(stored).collect(),
        length: i64::try_from(length).unwrap_or(i64::MAX),
        postings,
    }
}

/// `pos.title.text.length`, as the store keeps it.
fn write_hit((pos, seen): (&i64, &Seen)) -> String {
    format!("{pos}.{}.{}.{}", seen.title, seen.text, seen.length)
}

fn read_hit(hit: &str) -> Option<(i64, Seen)> {
    let mut parts = hit.split('.');
    let pos = parts.next()?.parse().ok()?;
    let mut number = || parts.next().and_then(|p| p.parse().ok());
    Some((pos, Seen { title: number()?, text: number()?, length: number()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_reads_as_it_was_written() {
        let seen = Seen { title: 1, text: 3, length: 42 };
        assert_eq!(read_hit(&write_hit((&7, &seen))), Some((7, seen)));
        assert_eq!(read_hit("7.1"), None);
        assert_eq!(read_hit(""), None);
    }

    #[test]
    fn a_term_without_white_space_is_all_the_store_sees() {
        let chunk = Chunk {
            id: "c".into(),
            pos: 0,
            title: "T\u{a0}x".into(),
            text: "K 137 a\u{2003}b l'été 三十日 e\u{301}".into(),
        };
        let file = index("f", &[chunk]);
        assert!(file.postings.iter().all(|(term, _)| !term.contains(char::is_whitespace)), "{:?}", file.postings);
    }
}
