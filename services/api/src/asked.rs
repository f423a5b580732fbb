//! What a client asked for: its bytes, and what they mean, decoded when someone must look inside.
//!
//! Invariant: the bytes are never changed here, and are decoded at most once a request.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use crate::{
    Error, Kind, Result,
    chat::{Chat, Dialect},
};

/// What a client sent, and how to read it.
#[derive(Clone)]
pub struct Source<T = Chat> {
    pub dialect: Dialect,
    /// The request body, byte for byte.
    pub bytes: Bytes,
    /// The codec of `dialect`; runs at most once a request.
    pub decode: fn(&[u8]) -> Result<T>,
    pub marks: Marks,
}

/// Where in a request's bytes the values stand that a passthrough may replace, as whoever looked at it first found
/// them: nobody parses it again for that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// The value of `model`, its quotation marks included.
    pub model: Range<usize>,
    /// The value of OpenAI's `stream_options`, where there is one.
    pub stream_options: Option<Range<usize>>,
    /// The value of OpenAI's `store`, where there is one.
    pub store: Option<Range<usize>>,
    /// The value of OpenAI's `metadata` of a chat, where there is one.
    pub metadata: Option<Range<usize>>,
}

/// A client's bytes, or a request made in the house. Clones share both.
#[derive(Clone)]
pub(crate) struct Asked<T> {
    source: Option<Source<T>>,
    typed: OnceLock<Arc<T>>,
}

impl<T> Asked<T> {
    pub(crate) fn typed(value: T) -> Self {
        Self { source: None, typed: OnceLock::from(Arc::new(value)) }
    }

    pub(crate) fn sent(source: Source<T>) -> Self {
        Self { source: Some(source), typed: OnceLock::new() }
    }

    pub(crate) fn source(&self) -> Option<&Source<T>> {
        self.source.as_ref()
    }

    /// Decodes the source on first use.
    pub(crate) fn read(&self) -> Result<&T> {
        if let Some(typed) = self.typed.get() {
            return Ok(typed);
        }
        let source = self.source.as_ref().ok_or_else(|| Error::new(Kind::Internal, "a request without a body"))?;
        let decoded = (source.decode)(&source.bytes)?;
        Ok(self.typed.get_or_init(|| Arc::new(decoded)))
    }
}
