//! Full-text search over chunks in the store.
//!
//! An implementation of [`frontdesk_api::Index`]: words are read and ranked here, the lists lie in the
//! store. It exists so that a shop without an embedding model finds its pages, and so that an answer of
//! nothing can be trusted. Invariant: the same pages and the same question give the same passages in the
//! same order on SQLite and on Postgres.

mod index;
mod score;
pub mod text;

pub use index::FullText;
