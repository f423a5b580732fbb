//! Which Frontdesk this is.

pub mod show;
