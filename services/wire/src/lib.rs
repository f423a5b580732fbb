//! The JSON of others: OpenAI's, Anthropic's, Google's, Bedrock's, Llama Stack's. Wire to domain and back, bytes in and frames out.
//!
//! Invariant: no I/O, and nothing a client sent is lost: what we do not know rides along as it came.

pub mod anthropic;
pub mod bedrock;
pub mod eventstream;
mod fault;
mod fields;
pub mod gemini;
pub mod llama_stack;
pub mod members;
pub mod openai;
pub mod rerank;
pub mod sse;
pub mod status;
pub mod surrogates;
pub mod thoughts;
mod writes;

pub use writes::Writes;
