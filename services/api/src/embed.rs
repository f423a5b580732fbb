//! Embeddings: texts to vectors.
//!
//! Lossless as chats are: a client's bytes travel beside what they mean, and so do the provider's.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::{
    Effort, Error, Result,
    asked::Asked,
    chat::{Dialect, Source, Usage},
    reuse::Reuse,
};

/// The most inputs of one request (OpenAI's API reference, "Create embeddings"): no client of theirs sends more.
pub const MOST_INPUTS: usize = 2_048;

/// A request for vectors on its way to a provider. Clones share the client's bytes.
#[derive(Clone)]
pub struct EmbedRequest {
    /// As [`crate::ChatRequest::model`].
    pub model: String,
    asked: Asked<Embed>,
}

/// What is to be embedded. Members the house does not read ride in `extra`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Embed {
    /// A vector each; not empty.
    pub input: Vec<Input>,
    /// Numbers a vector shall have, where the model can choose; None: its own size.
    pub dimensions: Option<u32>,
    /// Everything else, by its member name.
    pub extra: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Text(String),
    /// By the model's own numbers.
    Tokens(Vec<u32>),
}

impl Embed {
    /// The input as texts, for a model that takes nothing else.
    ///
    /// # Errors
    /// `Invalid` naming `input`, where it is a model's own numbers or more than [`MOST_INPUTS`].
    pub fn texts(&self) -> Result<Vec<&str>> {
        if self.input.len() > MOST_INPUTS {
            let message = format!("'input' has {} texts: at most {MOST_INPUTS} go into a request", self.input.len());
            return Err(Error::invalid("input", message));
        }
        let texts = self.input.iter().map(|input| match input {
            Input::Text(text) => Ok(text.as_str()),
            Input::Tokens(_) => {
                let message = "'input' holds tokens, and the model of this provider reads texts: send those";
                Err(Error::invalid("input", message))
            }
        });
        texts.collect()
    }
}

impl EmbedRequest {
    /// A request made in the house: the vectors are wanted, not the bytes of an answer.
    #[must_use]
    pub fn typed(model: impl Into<String>, embed: Embed) -> Self {
        Self { model: model.into(), asked: Asked::typed(embed) }
    }

    /// A client's request, kept as its bytes.
    #[must_use]
    pub fn from_source(model: impl Into<String>, source: Source<Embed>) -> Self {
        Self { model: model.into(), asked: Asked::sent(source) }
    }

    /// The same request for another model.
    #[must_use]
    pub fn to(&self, model: impl Into<String>) -> Self {
        Self { model: model.into(), asked: self.asked.clone() }
    }

    #[must_use]
    pub fn source(&self) -> Option<&Source<Embed>> {
        self.asked.source()
    }

    /// Whether a provider that answers in `dialect` must read the vectors: its bytes are of no use to the caller.
    #[must_use]
    pub fn needs_vectors(&self, dialect: Dialect) -> bool {
        self.source().is_none_or(|source| source.dialect != dialect)
    }

    /// The typed request; decodes the source on first use.
    ///
    /// # Errors
    /// `Invalid` naming the member.
    pub fn embed(&self) -> Result<&Embed> {
        self.asked.read()
    }

    /// About how many bytes are to be embedded.
    #[must_use]
    pub fn size(&self) -> usize {
        let length = |input: &Input| match input {
            Input::Text(text) => text.len(),
            Input::Tokens(tokens) => 4 * tokens.len(),
        };
        match self.source() {
            Some(source) => source.bytes.len(),
            None => self.embed().map_or(0, |embed| embed.input.iter().map(length).sum()),
        }
    }
}

/// A provider's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// Id of the provider that answers.
    pub provider: String,
    /// The model name upstream was asked for.
    pub model: String,
    /// The provider's own bytes and whose JSON they are; None: there is no such answer to pass on.
    pub raw: Option<(Dialect, Bytes)>,
    /// `[n_inputs][dims]`; empty where [`EmbedRequest::needs_vectors`] is false for the dialect of `raw`.
    pub vectors: Vec<Vec<f32>>,
    /// Output tokens are zero. None: the provider did not count.
    pub usage: Option<Usage>,
    /// What it took to get this answer.
    pub effort: Effort,
    /// As [`crate::chat::ReplyHead::reuse`].
    pub reuse: Option<Reuse>,
}
