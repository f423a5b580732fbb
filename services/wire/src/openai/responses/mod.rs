//! OpenAI's Responses and Conversations over our turns: a response is a turn, a conversation is a session.
//!
//! Requests become items and what the model is asked with; events become OpenAI's stream and, folded, its response
//! object. Pure functions both ways. Source of the shapes: OpenAI's API reference, "Responses" and "Conversations", and
//! the types of its official packages.

pub mod allowed;
pub mod code;
pub mod compaction;
pub mod conversation;
pub mod count;
pub mod input;
pub mod item;
pub mod logprobs;
pub mod mcp;
pub mod parts;
pub mod prompt;
pub mod request;
pub mod stream;
pub mod tools;
pub mod web;
