//! Knowledge: files, ingestion, chunking, retrieval.
//!
//! Files go in as bytes and come out as passages that can be quoted, with the page they stand on. It
//! exists so that an agent says what the shop has written, and nothing else. Invariants: a file that
//! cannot be read harms no other file and says why; a file that was put in is read to its end, whoever
//! leaves or dies meanwhile; a page that changed is found as it is now, never as it was and is both; a
//! passage names the file it really comes from.

pub mod chunk;
pub mod containers;
pub mod document;
mod files;
mod gather;
mod ingest;
mod reading;
mod recall;
mod sentence;
mod shelf;
mod stores;
mod sweep;
mod work;

use std::sync::Arc;

use frontdesk_api::{Clock, Ids, Index};
use frontdesk_store::Store;

use crate::work::Work;

pub use chunk::Chunking;
pub use frontdesk_store::{
    files::StoredFile,
    knowledge::{StoreFile, VectorStore},
};
pub use ingest::{Added, Change, Progress, Upload};
pub use shelf::{At, Pace, Shelf};
pub use stores::{FileCounts, KnowledgeStore};

/// The files and knowledge stores of all tenants. Clones share everything.
#[derive(Clone)]
pub struct Knowledge {
    store: Store,
    shelf: Shelf,
    index: Arc<dyn Index>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    limits: Limits,
    chunking: Chunking,
    work: Arc<Work>,
}

/// What one file may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of a file to keep; 32 MiB unless told.
    pub max_bytes: usize,
    /// Of a page to read into a knowledge store; 4 MiB unless told.
    pub max_page_bytes: usize,
    /// Of one page; 5,000 unless told.
    pub max_passages: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: 32 << 20, max_page_bytes: 4 << 20, max_passages: 5_000 }
    }
}

impl Knowledge {
    #[must_use]
    pub fn new(store: Store, index: Arc<dyn Index>, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        Self {
            shelf: Shelf::new(store.clone(), ids.clone(), vec![]),
            store,
            index,
            clock,
            ids,
            limits: Limits::default(),
            chunking: Chunking::default(),
            work: Arc::default(),
        }
    }

    /// Contents elsewhere than in the rows of their files, as they are without it.
    #[must_use]
    pub fn with_shelf(self, shelf: Shelf) -> Self {
        Self { shelf, ..self }
    }

    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    #[must_use]
    pub fn with_chunking(self, chunking: Chunking) -> Self {
        Self { chunking, ..self }
    }
}
