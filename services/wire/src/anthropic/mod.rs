//! Anthropic's Messages wire. `outbound*`: towards a server that speaks it, writing requests and reading answers.
//! The others: towards a client that speaks it, reading requests and writing answers and errors.
//!
//! Source of the shapes: Anthropic's API reference, "Messages", and the types of the official SDK.

pub mod answer;
pub mod batch;
mod citations;
mod content;
pub mod error;
pub mod outbound_answer;
pub mod outbound_error;
mod outbound_parts;
pub mod outbound_request;
pub mod peek;
pub mod request;
pub mod stream;
