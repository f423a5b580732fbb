//! Llama Stack's wire, as llama-stack-client 0.2.12 reads and writes it.
//!
//! Shapes are typed so that the gateway can document them; each is made from the domain (or turned into
//! it) by a plain function. What Frontdesk knows beyond the protocol rides in one extra member,
//! `frontdesk`, which that client ignores. The oracle of every shape is the client's own models
//! (tests/conformance/test_llama_stack_shapes.py).
//!
//! Invariant: the turn stream is a pure projection of a turn's events; it makes nothing up and reuses
//! their sequence numbers.

pub mod agent;
pub mod content;
pub mod inference_answer;
pub mod inference_batch;
pub mod inference_request;
pub mod message;
pub mod rerank;
pub mod safety;
pub mod sampling;
pub mod step;
pub mod stream;
pub mod tool;
pub mod turn;
