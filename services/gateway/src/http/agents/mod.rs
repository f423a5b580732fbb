//! Agents in Llama Stack's shape: created, listed, shown, deleted.

pub mod create;
pub mod delete;
pub mod list;
pub mod show;
