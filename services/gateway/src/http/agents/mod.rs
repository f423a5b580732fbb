//! Agents: created, listed, shown and deleted in Llama Stack's shape; changed, exported, imported and replayed as specs.

pub mod create;
pub mod delete;
pub mod document;
pub mod export;
pub mod import;
pub mod list;
pub mod replay;
pub mod show;
pub mod update;
pub mod versions;
mod yaml;
