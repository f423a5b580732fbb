//! OpenAI's text completions, from before chats: requests routed by a look, read as a chat for providers that have
//! no such API, and answers written back in their shape.
//!
//! Source of the shapes: OpenAI's API reference, "Completions" (legacy), and the types of the official SDK.

pub mod encode;
pub mod request;
