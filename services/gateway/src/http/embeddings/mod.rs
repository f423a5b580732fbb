//! Embeddings.

pub mod create;
