//! What was tried for an answer: one entry for each time a provider was asked.
//!
//! A route may ask again, ask another target, or ask two at once; each of these may cost money. Whoever counts
//! requests or money finds here what the answer alone does not show.

use std::time::Duration;

use serde::Serialize;

use crate::{Kind, chat::Usage};

/// A provider was asked, and this came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Id of the provider.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    pub outcome: Outcome,
    /// From asking to the outcome.
    pub took: Duration,
    /// Tokens that the attempt is known to have cost. None: nothing is known, which for `Outrun` is not nothing:
    /// its prompt was read.
    pub usage: Option<Usage>,
}

/// What it took to get an answer. Nothing from a provider itself: whoever asked it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effort {
    /// From asking the provider that answers to the beginning of its answer.
    pub took: Duration,
    /// Attempts beside that one: those that failed before it, and those it outran.
    pub others: Vec<Attempt>,
}

impl Effort {
    /// For how long a provider was waited for. Attempts that failed came one after another; one that was outrun went on
    /// beside the one that answers.
    #[must_use]
    pub fn waited(&self) -> Duration {
        let (failed, outrun): (Vec<_>, Vec<_>) = self.others.iter().partition(|other| other.outcome != Outcome::Outrun);
        let failed: Duration = failed.iter().map(|other| other.took).sum();
        failed + outrun.iter().map(|other| other.took).max().map_or(self.took, |took| took.max(self.took))
    }
}

/// How an attempt ended that did not become the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The provider failed, or was silent for too long.
    Failed(Kind),
    /// Another target, asked at the same time, was quicker; this one was dropped.
    Outrun,
}

/// The attempts of a request that failed, in the order they were made; the last one's failure is the error's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tried(pub Vec<Attempt>);
