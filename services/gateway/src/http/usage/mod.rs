//! What was used and what it cost.

pub mod list;
