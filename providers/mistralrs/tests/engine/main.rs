//! The engine with real weights, through the built binary: the worker as its clients see it, as a process, under its
//! supervisor, and from a GGUF file.
//!
//! It needs the binary and no feature of this crate, so running it compiles no second engine (tests/run.sh, lane engine).
#![allow(clippy::unwrap_used)] // Also in helpers of tests.

mod common;
mod embeddings;
mod gguf;
mod images;
mod lifecycle;
mod memory;
mod supervisor;
mod worker;
