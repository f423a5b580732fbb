//! Registered tools, by name.

pub mod list;
pub mod show;
