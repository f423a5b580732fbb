//! The index over passages: rows that say which passage has which term.
//!
//! What a term is and which passage is best are decided by the search engine on top; this room keeps the
//! lists. Plain keys and equality only, so it behaves the same on both databases and under row-level
//! security. Invariant: a file's passages, terms and the totals of its store change in one transaction.

use std::collections::BTreeMap;

use frontdesk_api::Result;

use crate::{Conn, Doing as _, Tenant, Tx, on};

/// A passage.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredPassage {
    pub file_id: String,
    /// From 0 within the file.
    pub pos: i64,
    pub id: String,
    pub title: String,
    pub text: String,
}

/// A file as it goes into the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedFile {
    pub file_id: String,
    /// Code of the language its terms are in.
    pub language: String,
    pub passages: Vec<StoredPassage>,
    /// Terms in all passages, with repeats.
    pub length: i64,
    /// Distinct terms without spaces, with the engine's note of where they stand.
    pub postings: Vec<(String, String)>,
}

/// Totals of a store in one language.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct IndexedLanguage {
    pub language: String,
    pub passages: i64,
    pub length: i64,
}

#[derive(sqlx::FromRow)]
struct Held {
    language: String,
    passages: i64,
    length: i64,
    terms: String,
}

impl Tenant<'_> {
    /// Puts a file into the index of a store, in place of what was there of it.
    ///
    /// # Errors
    /// As any query.
    pub async fn index_file(&self, store_id: &str, file: &IndexedFile) -> Result<()> {
        let mut tx = self.write().await?;
        let held = hold(&mut tx, store_id, &file.file_id).await?;
        take_out(&mut tx, store_id, &file.file_id, &held).await?;
        put_in(&mut tx, store_id, file).await?;
        let mut change = BTreeMap::from([(held.language, (-held.passages, -held.length))]);
        let now = change.entry(file.language.clone()).or_default();
        now.0 += count(file.passages.len());
        now.1 += file.length;
        add_totals(&mut tx, store_id, change).await?;
        tx.commit().await
    }

    /// Takes a file out of the index of a store; one that is not in is left so.
    ///
    /// # Errors
    /// As any query.
    pub async fn unindex_file(&self, store_id: &str, file_id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        let held = hold(&mut tx, store_id, file_id).await?;
        take_out(&mut tx, store_id, file_id, &held).await?;
        add_totals(&mut tx, store_id, BTreeMap::from([(held.language, (-held.passages, -held.length))])).await?;
        on!(tx, conn => sqlx::query("DELETE FROM indexed_file WHERE tenant = $1 AND store_id = $2 AND file_id = $3")
            .bind(self.id()).bind(store_id).bind(file_id).execute(conn).await.map(|_| ()))
        .doing("take a file out of the index")?;
        tx.commit().await
    }

    /// Empties the index of a store.
    ///
    /// # Errors
    /// As any query.
    pub async fn unindex_store(&self, store_id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        for sql in [
            "DELETE FROM indexed_file WHERE tenant = $1 AND store_id = $2",
            "DELETE FROM indexed_language WHERE tenant = $1 AND store_id = $2",
            "DELETE FROM posting WHERE tenant = $1 AND store_id = $2",
            "DELETE FROM chunk WHERE tenant = $1 AND store_id = $2",
        ] {
            on!(tx, conn => sqlx::query(sql).bind(self.id()).bind(store_id).execute(conn).await.map(|_| ()))
                .doing("empty an index")?;
        }
        tx.commit().await
    }
}

/// The languages of a store with their totals, in the order of their codes.
///
/// # Errors
/// As any query.
pub async fn languages(tx: &mut Tx, store_id: &str) -> Result<Vec<IndexedLanguage>> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query_as("SELECT language, passages, length FROM indexed_language \
         WHERE tenant = $1 AND store_id = $2 AND passages > 0 ORDER BY language")
        .bind(&*tenant).bind(store_id).fetch_all(conn).await)
    .doing("read the totals of an index")
}

/// The files that have a term, with the engine's notes, in the order of their ids.
///
/// # Errors
/// As any query.
pub async fn postings(tx: &mut Tx, store_id: &str, term: &str) -> Result<Vec<(String, String)>> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query_as("SELECT file_id, hits FROM posting \
         WHERE tenant = $1 AND store_id = $2 AND term = $3 ORDER BY file_id")
        .bind(&*tenant).bind(store_id).bind(term).fetch_all(conn).await)
    .doing("search an index")
}

/// Terms of a store between `low` and `high` (both left out), in order, at most `limit`.
///
/// # Errors
/// As any query.
pub async fn terms_between(tx: &mut Tx, store_id: &str, low: &str, high: &str, limit: i64) -> Result<Vec<String>> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query_scalar("SELECT DISTINCT term FROM posting \
         WHERE tenant = $1 AND store_id = $2 AND term > $3 AND term < $4 ORDER BY term LIMIT $5")
        .bind(&*tenant).bind(store_id).bind(low).bind(high).bind(limit).fetch_all(conn).await)
    .doing("look words up in an index")
}

/// A passage by its place; None when it was replaced meanwhile.
///
/// # Errors
/// As any query.
pub async fn find_passage(tx: &mut Tx, store_id: &str, file_id: &str, pos: i64) -> Result<Option<StoredPassage>> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query_as("SELECT file_id, pos, id, title, text FROM chunk \
         WHERE tenant = $1 AND store_id = $2 AND file_id = $3 AND pos = $4")
        .bind(&*tenant).bind(store_id).bind(file_id).bind(pos).fetch_optional(conn).await)
    .doing("load a passage")
}

/// What is in the index of a file. Locks the file's row, making an empty one first, so that two writers
/// of the same file come one after the other.
async fn hold(tx: &mut Tx, store_id: &str, file_id: &str) -> Result<Held> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query_as("INSERT INTO indexed_file (tenant, store_id, file_id, language, passages, length, terms) \
         VALUES ($1, $2, $3, '', 0, 0, '') \
         ON CONFLICT (tenant, store_id, file_id) DO UPDATE SET file_id = excluded.file_id \
         RETURNING language, passages, length, terms")
        .bind(&*tenant).bind(store_id).bind(file_id).fetch_one(conn).await)
    .doing("look a file up in the index")
}

async fn take_out(tx: &mut Tx, store_id: &str, file_id: &str, held: &Held) -> Result<()> {
    let tenant = tx.tenant();
    let terms: Vec<&str> = held.terms.split_whitespace().collect();
    match tx.conn() {
        Conn::Postgres(conn) => {
            sqlx::query("DELETE FROM posting WHERE tenant = $1 AND store_id = $2 AND term = ANY($3) AND file_id = $4")
                .bind(&*tenant).bind(store_id).bind(&terms).bind(file_id).execute(conn).await.map(|_| ())
        }
        Conn::Sqlite(conn) => {
            let terms = serde_json::to_string(&terms).unwrap_or_default();
            sqlx::query("DELETE FROM posting WHERE tenant = $1 AND store_id = $2 AND term IN (SELECT value FROM json_each($3)) AND file_id = $4")
                .bind(&*tenant).bind(store_id).bind(terms).bind(file_id).execute(conn).await.map(|_| ())
        }
    }
    .doing("take a file's words out of the index")?;
    on!(tx, conn => sqlx::query("DELETE FROM chunk WHERE tenant = $1 AND store_id = $2 AND file_id = $3")
        .bind(&*tenant).bind(store_id).bind(file_id).execute(conn).await.map(|_| ()))
    .doing("take a file's passages out of the index")
}

async fn put_in(tx: &mut Tx, store_id: &str, file: &IndexedFile) -> Result<()> {
    let tenant = tx.tenant();
    for p in &file.passages {
        on!(tx, conn => sqlx::query("INSERT INTO chunk (tenant, store_id, file_id, pos, id, title, text) VALUES ($1, $2, $3, $4, $5, $6, $7)")
            .bind(&*tenant).bind(store_id).bind(&file.file_id).bind(p.pos).bind(&p.id).bind(&p.title).bind(&p.text)
            .execute(conn).await.map(|_| ()))
        .doing("store a passage")?;
    }
    let (terms, hits): (Vec<&str>, Vec<&str>) = file.postings.iter().map(|(t, h)| (t.as_str(), h.as_str())).unzip();
    match tx.conn() {
        Conn::Postgres(conn) => {
            sqlx::query("INSERT INTO posting (tenant, store_id, term, file_id, hits) SELECT $1, $2, new.term, $3, new.hits FROM unnest($4::text[], $5::text[]) AS new (term, hits)")
                .bind(&*tenant).bind(store_id).bind(&file.file_id).bind(&terms).bind(&hits).execute(conn).await.map(|_| ())
        }
        Conn::Sqlite(conn) => {
            let pairs = serde_json::to_string(&file.postings).unwrap_or_default();
            sqlx::query("INSERT INTO posting (tenant, store_id, term, file_id, hits) SELECT $1, $2, value ->> 0, $3, value ->> 1 FROM json_each($4)")
                .bind(&*tenant).bind(store_id).bind(&file.file_id).bind(pairs).execute(conn).await.map(|_| ())
        }
    }
    .doing("put a file's words into the index")?;
    on!(tx, conn => sqlx::query("UPDATE indexed_file SET language = $4, passages = $5, length = $6, terms = $7 \
         WHERE tenant = $1 AND store_id = $2 AND file_id = $3")
        .bind(&*tenant).bind(store_id).bind(&file.file_id).bind(&file.language).bind(count(file.passages.len()))
        .bind(file.length).bind(terms.join(" ")).execute(conn).await.map(|_| ()))
    .doing("note what is in the index")
}

async fn add_totals(tx: &mut Tx, store_id: &str, change: BTreeMap<String, (i64, i64)>) -> Result<()> {
    let tenant = tx.tenant();
    for (language, (passages, length)) in change {
        if language.is_empty() || (passages, length) == (0, 0) {
            continue;
        }
        on!(tx, conn => sqlx::query("INSERT INTO indexed_language (tenant, store_id, language, passages, length) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (tenant, store_id, language) DO UPDATE SET \
             passages = indexed_language.passages + excluded.passages, length = indexed_language.length + excluded.length")
            .bind(&*tenant).bind(store_id).bind(language).bind(passages).bind(length).execute(conn).await.map(|_| ()))
        .doing("count what is in the index")?;
    }
    Ok(())
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
