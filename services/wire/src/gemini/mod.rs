//! Google's Gemini wire (`generateContent`), towards a server that speaks it: the Gemini API and Vertex AI. Writes
//! requests, reads answers and errors; a whole answer and an event of a stream have one shape. Beside it, embeddings.
//!
//! Source of the shapes: Google's API reference, "Generating content", and the types of the official SDK `google-genai`.

pub mod answer;
pub mod calls;
pub mod embeddings;
pub mod error;
mod generation;
mod grounding;
mod parts;
pub mod request;
mod tokens;
