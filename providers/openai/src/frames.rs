//! What an OpenAI-compatible server's answer means, event by event.

use frontdesk_api::{ChatEvent, Result};
use frontdesk_http::frames::{Piece, Reads, not_an_answer};
use frontdesk_wire::openai::{
    DONE,
    answer::{self, Decoded},
    error,
};

/// Reads one answer.
pub(crate) struct Reader {
    provider: String,
    wants_events: bool,
    first: bool,
}

impl Reader {
    /// Without `wants_events` only usage is looked for.
    pub(crate) fn new(provider: &str, wants_events: bool) -> Self {
        Self { provider: provider.to_owned(), wants_events, first: true }
    }

    fn decode(&self, json: &[u8]) -> Result<Decoded> {
        if !self.wants_events && !answer::mentions_usage(json) {
            return Ok(Decoded::default());
        }
        let decoded = if self.wants_events { answer::decode(json, self.first) } else { answer::decode_usage(json) };
        let decoded = decoded.map_err(|e| not_an_answer(&self.provider, e))?;
        match decoded.error {
            Some(fault) => Err(error::in_stream(&self.provider, &fault)),
            None => Ok(decoded),
        }
    }
}

impl Reads for Reader {
    fn whole(&mut self, body: &[u8]) -> Result<Vec<ChatEvent>> {
        Ok(self.decode(body)?.events)
    }

    fn event(&mut self, data: &[u8]) -> Result<Piece> {
        if data.trim_ascii() == DONE {
            return Ok(Piece::default());
        }
        let decoded = self.decode(data)?;
        self.first = false;
        Ok(Piece { events: decoded.events, usage_only: decoded.usage_only })
    }
}
