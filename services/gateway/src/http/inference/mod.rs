//! Llama Stack's own inference routes: the same models in its shapes.

pub mod batch;
pub mod chat_completion;
pub mod completion;
pub mod embeddings;
