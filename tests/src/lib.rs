//! The harness of the end-to-end tests: the binary as a process, a scripted upstream, a database per test.
//!
//! It exists so that a test reads as what a client does and sees, and nothing else.
//! Invariants: everything speaks to loopback only; nothing waits for a span of time, only for an
//! event (every wait has a limit that fails by naming what it waited for); what a test started ends
//! with it, by process id.

pub mod database;
pub mod frontdesk;
pub mod process;
pub mod scripted;

pub use database::{Database, Lane};
pub use frontdesk::{Frontdesk, Options};
pub use process::Process;
pub use scripted::{Ended, Scripted, Seen};

/// How long any wait may take before the test fails by naming what it waited for.
///
/// Generous on purpose: it is a net under a hung process on a busy machine, never a measurement.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
