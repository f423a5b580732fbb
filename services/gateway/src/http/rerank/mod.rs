//! Reranking.

pub mod create;
pub mod ogx;
