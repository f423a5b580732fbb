//! Places in a turn's work at which a test can end the process, so that every order of dying is tried.
//!
//! Safe in the product because nothing there can set it: a [`Fault`] is a value of [`crate::Deps`], no configuration,
//! no request and no variable reaches it, and the gateway's wiring passes None. What it costs is one look at a None.

use std::sync::Arc;

use futures::future::BoxFuture;

/// Where a turn's work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The intent of a step is true; its work has not begun.
    AfterIntent,
    /// The work of a step is done and nothing of it is written.
    AfterEffect,
    /// Everything of a transaction is written, and it is not true yet.
    BeforeCommit,
    /// A transaction is true and nobody was told.
    AfterCommit,
}

/// Called at each point. It may never return.
pub type Fault = Arc<dyn Fn(Point) -> BoxFuture<'static, ()> + Send + Sync>;
