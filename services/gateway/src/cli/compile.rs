//! `frontdesk compile-component`: the child process in which a tool's component is compiled.
//!
//! Everything it is told comes on stdin from the server that started it; see `frontdesk_wasm::compile`.

pub(super) use frontdesk_wasm::compile::{COMMAND, run};
