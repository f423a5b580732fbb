//! OpenAI's wire, chats first: reading requests without touching them, splicing the few members a
//! gateway must change, decoding answers, and writing requests and answers of our own.
//!
//! Source of the shapes: OpenAI's API reference, "Chat", and what the official SDK sends.

pub mod answer;
pub mod batch;
pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod encode;
pub mod error;
pub mod filter;
pub mod peek;
pub mod responses;
pub mod splice;

/// The mark that ends a chat stream.
pub const DONE: &[u8] = b"[DONE]";
