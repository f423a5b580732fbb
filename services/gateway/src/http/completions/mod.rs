//! Text completions.

pub mod create;
