//! Conversations with an agent, in Llama Stack's shape (`session`).

pub mod create;
pub mod delete;
pub mod list;
pub mod show;
