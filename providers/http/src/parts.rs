//! Texts to vectors by several calls, where a server takes fewer texts at once than a client sends.
//!
//! Invariant: vectors stand in the order of the texts; the first fault ends it all and what came is dropped, so an
//! answer is whole or none; tokens are counted where every call counted them.

use std::pin::Pin;

use frontdesk_api::{Error, Result, chat::Usage, embed::Embeddings};
use futures::{StreamExt, TryStreamExt, stream};

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
    /// `Upstream` where it holds more or fewer vectors.
    pub fn part(&self, (vectors, tokens): (Vec<Vec<f32>>, Option<u64>), texts: usize) -> Result<Part> {
        if vectors.len() == texts {
            return Ok(Part { vectors, tokens });
        }
        let told = format!("{} vectors for {texts} inputs", vectors.len());
        Err(Error::upstream(format!("provider '{}' sent something that is not embeddings: {told}", self.id)))
    }

    /// The answer of all calls, of which some are made at once.
    ///
    /// # Errors
    /// The first of theirs.
    pub async fn embeddings(&self, model: String, calls: Vec<Call<'_>>) -> Result<Embeddings> {
        let numbered = calls.into_iter().enumerate();
        let calls: Vec<_> = numbered.map(|(place, call)| async move { call.await.map(|part| (place, part)) }).collect();
        let mut parts: Vec<(usize, Part)> = stream::iter(calls).buffer_unordered(AT_ONCE).try_collect().await?;
        parts.sort_by_key(|(place, _)| *place);
        let tokens = parts.iter().try_fold(0_u64, |all, (_, part)| Some(all.saturating_add(part.tokens?)));
        Ok(Embeddings {
            provider: self.id.clone(),
            model,
            raw: None,
            vectors: parts.into_iter().flat_map(|(_, part)| part.vectors).collect(),
            usage: tokens.map(|input_tokens| Usage { input_tokens, ..Usage::default() }),
            other_attempts: vec![],
            reuse: None,
        })
    }
}

#[cfg(test)]
mod tests;
