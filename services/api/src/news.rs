//! What a tool tells beside its result, for whoever waits for it: how far it is, and what a text cannot carry.
//!
//! Invariant: telling takes no time and fails nothing; who does not listen, or not fast enough, misses some of it.

use std::{fmt, sync::Arc};

use serde_json::{Number, Value};

/// A piece of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Word {
    Progress(Progress),
    /// The whole result as a server of the Model Context Protocol gave it (`content`, `structuredContent`, `isError`), its
    /// secrets struck out: pictures and sounds, which the text that models read only names.
    Result(Value),
}

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

/// Whom it is told to.
#[derive(Clone)]
pub struct News(Arc<dyn Fn(Word) + Send + Sync>);

impl News {
    pub fn new(tell: impl Fn(Word) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub fn tell(&self, word: Word) {
        (self.0)(word);
    }
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("News")
    }
}
