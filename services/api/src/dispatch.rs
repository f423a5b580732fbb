//! How the processes of one installation wake each other: a turn can be claimed, a turn is to stop.
//!
//! Rows say what is to be done; a word here says only that looking is worth it now. Invariant: a word that is lost,
//! doubled or late costs latency and nothing else, so whoever listens also looks by itself now and then.

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::Result;

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// A turn waits for a worker: one word for each, never one for a token.
    Claimable,
    /// Whoever works on this turn is to stop it.
    Stop { tenant: String, turn: String },
}

#[async_trait]
pub trait Dispatch: Send + Sync {
    /// Says it to everyone who listens, this process included.
    ///
    /// # Errors
    /// `Unavailable` when it could not be said: those it was meant for find the rows later.
    async fn tell(&self, word: &Word) -> Result<()>;

    /// What is said from now on, without end. Words that may have been missed (a connection broke, too many at once)
    /// show as one `Claimable`. Dropping the stream stops listening.
    fn listen(&self) -> BoxStream<'static, Word>;
}
