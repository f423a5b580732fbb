//! What a model can do once it is loaded: the wall between requests and the library that computes.

use std::sync::Arc;

use frontdesk_api::{Result, embed::Input};

use crate::folder::Folder;

/// How a model is loaded. Reads the whole of it, so it is called on a thread that computes.
///
/// # Errors
/// `Unavailable` saying which file is missing or wrong.
pub type Load = fn(&Folder) -> Result<Arc<dyn Encoder>>;

/// What a model is to read.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    One(&'a Input),
    /// A query and a document.
    Pair(&'a str, &'a str),
}

/// A text as the model reads it, its special tokens included; not longer than the model takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    pub ids: Vec<u32>,
    /// 0 for the first text, 1 for the second of a pair.
    pub types: Vec<u32>,
    /// Something was left out at the end.
    pub cut: bool,
}

/// A loaded model. Both work on the calling thread.
pub trait Encoder: Send + Sync {
    /// # Errors
    /// `Invalid` for a token that the model does not have.
    fn tokens(&self, ask: Ask<'_>) -> Result<Tokens>;

    /// What the model makes of each: `[batch][dims]`; of a cross-encoder one number, the score. They are padded to the
    /// longest of them, so those of about the same length belong together.
    ///
    /// # Errors
    /// `Internal`.
    fn run(&self, batch: &[&Tokens]) -> Result<Vec<Vec<f32>>>;
}
