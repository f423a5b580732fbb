//! Texts to vectors by several calls, where a server takes fewer texts at once than a client sends.
//!
//! Invariants: vectors stand in the order of the texts, are of one size and hold numbers alone; the first fault ends it
//! all and what came is dropped, so an answer is whole or none, and the fault says what was paid for until then; tokens
//! are counted where every call counted them.

use std::{pin::Pin, time::Duration};

use frontdesk_api::{Attempt, Effort, Error, Result, attempt::Outcome, chat::Usage, embed::Embeddings};
use futures::{StreamExt, stream};

use crate::Upstream;

/// Calls of one request that are under way at once: as many as shorten a long list, and few enough that one request
/// does not use up what an account may ask in a second.
const AT_ONCE: usize = 8;

/// What one call gave.
#[derive(Debug, Default)]
pub struct Part {
    /// `[n_texts][dims]`.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens that were read; None: the server did not count.
    pub tokens: Option<u64>,
}

/// A call that was not made yet.
pub type Call<'a> = Pin<Box<dyn Future<Output = Result<Part>> + Send + 'a>>;

impl Upstream {
    /// The part that a call for `texts` texts gave.
    ///
    /// # Errors
    /// `Upstream` where it holds more or fewer vectors, or what is none.
    pub fn part(&self, (vectors, tokens): (Vec<Vec<f32>>, Option<u64>), texts: usize) -> Result<Part> {
        if vectors.len() != texts {
            return Err(self.no_embeddings(&format!("{} vectors for {texts} inputs", vectors.len())));
        }
        if vectors.iter().any(|vector| vector.is_empty() || vector.iter().any(|number| !number.is_finite())) {
            return Err(self.no_embeddings("a vector without numbers"));
        }
        Ok(Part { vectors, tokens })
    }

    /// That an answer is no vectors, and why.
    #[must_use]
    pub fn no_embeddings(&self, why: &str) -> Error {
        Error::upstream(format!("provider '{}' sent something that is not embeddings: {why}", self.id))
    }

    /// The answer of all calls, of which some are made at once.
    ///
    /// # Errors
    /// The first of theirs, with the tokens that calls before it counted; `Upstream` for vectors of several sizes.
    pub async fn embeddings(&self, model: String, calls: Vec<Call<'_>>) -> Result<Embeddings> {
        let numbered = calls.into_iter().enumerate();
        let calls: Vec<_> = numbered.map(|(place, call)| async move { call.await.map(|part| (place, part)) }).collect();
        let mut calls = stream::iter(calls).buffer_unordered(AT_ONCE);
        let mut parts: Vec<(usize, Part)> = vec![];
        while let Some(done) = calls.next().await {
            match done {
                Ok(part) => parts.push(part),
                Err(error) => return Err(self.paid(error, model, &parts)),
            }
        }
        parts.sort_by_key(|(place, _)| *place);
        let mut sizes = parts.iter().flat_map(|(_, part)| &part.vectors).map(Vec::len);
        let size = sizes.next();
        if sizes.any(|other| Some(other) != size) {
            return Err(self.paid(self.no_embeddings("vectors of several sizes"), model, &parts));
        }
        let tokens = parts.iter().try_fold(0_u64, |all, (_, part)| Some(all.saturating_add(part.tokens?)));
        Ok(Embeddings {
            provider: self.id.clone(),
            model,
            raw: None,
            vectors: parts.into_iter().flat_map(|(_, part)| part.vectors).collect(),
            usage: tokens.map(|input_tokens| Usage { input_tokens, ..Usage::default() }),
            effort: Effort::default(),
            reuse: None,
        })
    }

    /// The fault that ends it, and what the parts are known to have cost.
    fn paid(&self, error: Error, model: String, parts: &[(usize, Part)]) -> Error {
        let input_tokens = parts.iter().filter_map(|(_, part)| part.tokens).fold(0, u64::saturating_add);
        if input_tokens == 0 {
            return error;
        }
        let (outcome, usage) = (Outcome::Failed(error.kind), Some(Usage { input_tokens, ..Usage::default() }));
        error.with_tried(vec![Attempt { provider: self.id.clone(), model, outcome, took: Duration::ZERO, usage }])
    }
}

#[cfg(test)]
mod tests;
