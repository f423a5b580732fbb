//! What a tool tells while it is at work, for whoever waits for it.
//!
//! Invariant: telling takes no time and fails nothing; who does not listen, or not fast enough, misses some of it.

use std::{fmt, sync::Arc};

use serde_json::Number;

/// How far a call is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Grows; in units of the tool's own.
    pub progress: Number,
    /// Where it ends; None: that is not known.
    pub total: Option<Number>,
    /// For people.
    pub message: Option<String>,
}

/// Whom the progress of a call is told to.
#[derive(Clone)]
pub struct News(Arc<dyn Fn(Progress) + Send + Sync>);

impl News {
    pub fn new(tell: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub fn tell(&self, progress: Progress) {
        (self.0)(progress);
    }
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("News")
    }
}
