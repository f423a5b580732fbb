//! Amazon Bedrock's Converse wire, towards the server: writing requests, reading answers and errors.
//!
//! Source of the shapes: the service model `bedrock-runtime` of botocore (`Converse`, `ConverseStream`,
//! `CountTokens`) and the pages of Amazon Bedrock's API reference of those names.

pub mod answer;
pub mod error;
mod parts;
pub mod request;
