//! Reranking: which of some documents answer a query best.
//!
//! Lossless as chats are: a client's bytes travel beside what they mean, and so do the provider's.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::{
    Effort, Error, Result,
    asked::Asked,
    chat::{Dialect, Source, Usage},
};

/// A request for an order on its way to a provider. Clones share the client's bytes.
#[derive(Clone)]
pub struct RerankRequest {
    /// As [`crate::ChatRequest::model`].
    pub model: String,
    asked: Asked<Rerank>,
}

/// What is to be put in order. Members the house does not read ride in `extra`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rerank {
    pub query: String,
    /// As they were sent: a text, or an object with members of text. Not empty.
    pub documents: Vec<Value>,
    /// How many of the best to tell; None: all.
    pub top_n: Option<usize>,
    /// Whether the answer repeats the documents.
    pub return_documents: bool,
    /// The members of objects that count, in this order; empty: `text`.
    pub rank_fields: Vec<String>,
    /// Everything else, by its member name.
    pub extra: Map<String, Value>,
}

impl Rerank {
    /// The documents as texts, for a model that takes nothing else: an object is its `text`, or its `rank_fields` in
    /// their order, a line each (`title: …`) where there are several.
    ///
    /// # Errors
    /// `Invalid` naming the document that has none of them.
    pub fn texts(&self) -> Result<Vec<String>> {
        let fields = self.rank_fields.as_slice();
        let text = |(i, document): (usize, &Value)| {
            let member = |name: &str| document.get(name).and_then(Value::as_str);
            let found = match (document, fields) {
                (Value::String(text), _) => Some(text.clone()),
                (_, []) => member("text").map(str::to_owned),
                (_, [one]) => member(one).map(str::to_owned),
                (_, many) => {
                    let lines: Vec<String> =
                        many.iter().filter_map(|name| Some(format!("{name}: {}", member(name)?))).collect();
                    (!lines.is_empty()).then(|| lines.join("\n"))
                }
            };
            found.ok_or_else(|| {
                let names = if fields.is_empty() { "text".into() } else { fields.join(", ") };
                let at = format!("documents[{i}]");
                let message = format!("'{at}' has no text that the model of this provider could read: give it {names}");
                Error::invalid(at, message)
            })
        };
        self.documents.iter().enumerate().map(text).collect()
    }
}

impl RerankRequest {
    /// A request made in the house: the ranking is wanted, not the bytes of an answer.
    #[must_use]
    pub fn typed(model: impl Into<String>, rerank: Rerank) -> Self {
        Self { model: model.into(), asked: Asked::typed(rerank) }
    }

    /// A client's request, kept as its bytes.
    #[must_use]
    pub fn from_source(model: impl Into<String>, source: Source<Rerank>) -> Self {
        Self { model: model.into(), asked: Asked::sent(source) }
    }

    /// The same request for another model.
    #[must_use]
    pub fn to(&self, model: impl Into<String>) -> Self {
        Self { model: model.into(), asked: self.asked.clone() }
    }

    #[must_use]
    pub fn source(&self) -> Option<&Source<Rerank>> {
        self.asked.source()
    }

    /// Whether a provider that answers in `dialect` must read the ranking: its bytes are of no use to the caller.
    #[must_use]
    pub fn needs_ranking(&self, dialect: Dialect) -> bool {
        self.source().is_none_or(|source| source.dialect != dialect)
    }

    /// The typed request; decodes the source on first use.
    ///
    /// # Errors
    /// `Invalid` naming the member.
    pub fn rerank(&self) -> Result<&Rerank> {
        self.asked.read()
    }

    /// About how many bytes are to be read.
    #[must_use]
    pub fn size(&self) -> usize {
        let length = |document: &Value| document.as_str().map_or_else(|| document.to_string().len(), str::len);
        match self.source() {
            Some(source) => source.bytes.len(),
            None => {
                self.rerank().map_or(0, |asked| asked.query.len() + asked.documents.iter().map(length).sum::<usize>())
            }
        }
    }
}

/// A document's place in the order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// Which of the request's documents, from 0.
    pub index: usize,
    /// Higher is better; models have scales of their own.
    pub score: f64,
}

/// A provider's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// Id of the provider that answers.
    pub provider: String,
    /// The model name upstream was asked for.
    pub model: String,
    /// The provider's own bytes and whose JSON they are; None: there is no such answer to pass on.
    pub raw: Option<(Dialect, Bytes)>,
    /// Best first, at most `top_n`; empty where [`RerankRequest::needs_ranking`] is false for the dialect of `raw`.
    pub results: Vec<Ranked>,
    /// Output tokens are zero. None: the provider did not count.
    pub usage: Option<Usage>,
    /// What it took to get this answer.
    pub effort: Effort,
}
