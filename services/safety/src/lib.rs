//! Which shields run at which stage, and what a verdict does.
//!
//! It exists so that agents say where a text stands and learn what may be shown, and never how a shield
//! works. Invariant: a shield that fails, or answers nonsense, stops the text (fail-closed), unless its
//! entry says `on_error: allow`.

mod redact;
mod registry;

pub use registry::{Entry, OnError, ShieldInfo, Shields};
