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
