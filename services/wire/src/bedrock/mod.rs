//! Amazon Bedrock's Converse wire, towards the server: writing requests, reading answers and errors. Beside it what
//! models that do not chat are asked through `InvokeModel`: vectors and orders.
//!
//! Source of the shapes: the service model `bedrock-runtime` of botocore (`Converse`, `ConverseStream`,
//! `CountTokens`) and the pages of Amazon Bedrock's API reference of those names.

pub mod answer;
pub mod embeddings;
pub mod error;
mod parts;
pub mod request;
pub mod rerank;
