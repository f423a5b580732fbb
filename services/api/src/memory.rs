//! Memory: what the agent can look up. Citations come from here, never from the model.
//!
//! `Memory` is what agents see; an `Index` is one search engine under it.

use std::collections::HashSet;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Cx, Result, attributes::Attributes, filter::FileFilter};

#[async_trait]
pub trait Memory: Send + Sync {
    /// The passages of the named knowledge stores that answer `query`, best first, at most `limit`.
    /// Empty when nothing there is relevant: the caller must be able to trust that.
    ///
    /// # Errors
    /// `NotFound` naming the store.
    async fn recall(&self, cx: &Cx, stores: &[String], query: &str, limit: usize) -> Result<Vec<Passage>> {
        self.recall_from(cx, stores, None, query, limit).await
    }

    /// As [`Memory::recall`], out of the files alone that `filter` lets through: the best of them, however many better
    /// passages other files have.
    ///
    /// # Errors
    /// As [`Memory::recall`].
    async fn recall_from(
        &self,
        cx: &Cx,
        stores: &[String],
        filter: Option<&FileFilter>,
        query: &str,
        limit: usize,
    ) -> Result<Vec<Passage>>;
}

/// A piece of a document, with where it came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Passage {
    pub store_id: String,
    pub file_id: String,
    pub filename: String,
    /// Title of the page or section.
    pub title: String,
    /// Address of the page, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Of its file, as they were when it was found.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    #[schema(value_type = Object)]
    pub attributes: Attributes,
    pub chunk_id: String,
    pub text: String,
    /// 0 to 1, higher is better; comparable within one answer only.
    pub score: f64,
}

/// A search engine over chunks.
#[async_trait]
pub trait Index: Send + Sync {
    /// Makes the chunks of a document findable, replacing earlier ones of the same document.
    async fn put(&self, cx: &Cx, store_id: &str, file_id: &str, chunks: &[Chunk]) -> Result<()>;

    /// Removes a document's chunks.
    async fn remove(&self, cx: &Cx, store_id: &str, file_id: &str) -> Result<()>;

    /// Removes everything of a store.
    async fn clear(&self, cx: &Cx, store_id: &str) -> Result<()>;

    /// Best first, at most `limit`; only relevant ones. A store stands in `places` once.
    async fn search(&self, cx: &Cx, places: &[Within], query: &str, limit: usize) -> Result<Vec<Hit>>;
}

/// A knowledge store to search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Within {
    pub store_id: String,
    /// The only files to search, by id; None: all. Scores are the same in either case.
    pub files: Option<HashSet<String>>,
}

/// A chunk as it is indexed.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    pub id: String,
    /// 0-based place in its document.
    pub pos: i64,
    /// Heading path the chunk stands under.
    pub title: String,
    pub text: String,
}

/// A found chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    pub store_id: String,
    pub file_id: String,
    pub chunk: Chunk,
    pub score: f64,
}
