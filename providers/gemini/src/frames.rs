//! What Gemini's answer means, whole or event by event: both have one shape.

use frontdesk_api::{ChatEvent, Error, Result};
use frontdesk_http::frames::{Piece, Reads, not_an_answer};
use frontdesk_wire::gemini::{answer::Answer, error};

/// Reads one answer. No client speaks this dialect, so every event is decoded.
pub(crate) struct Reader {
    provider: String,
    /// The caller wants to know where the answer itself begins.
    wants_preamble: bool,
    answer: Answer,
}

impl Reader {
    pub(crate) fn new(provider: &str, wants_preamble: bool, answer: Answer) -> Self {
        Self { provider: provider.to_owned(), wants_preamble, answer }
    }

    fn read(&mut self, json: &[u8]) -> Result<Vec<ChatEvent>> {
        let decoded = self.answer.read(json).map_err(|e| not_an_answer(&self.provider, e))?;
        match decoded.error {
            Some(fault) => Err(error::in_stream(&self.provider, &fault)),
            None => Ok(decoded.events),
        }
    }
}

impl Reads for Reader {
    /// An answer without a candidate, whose prompt was not blocked either, is none.
    fn whole(&mut self, body: &[u8]) -> Result<Vec<ChatEvent>> {
        let events = self.read(body)?;
        if events.iter().any(ChatEvent::is_content) {
            return Ok(events);
        }
        Err(Error::upstream(format!("provider '{}' sent an answer that holds none", self.provider)))
    }

    fn event(&mut self, data: &[u8]) -> Result<Piece> {
        let events = self.read(data)?;
        let preamble = !events.iter().any(ChatEvent::is_content);
        // Usage never comes alone here: it rides on the events that speak.
        Ok(Piece { events, usage_only: false, preamble, ends: false })
    }

    fn wants_preamble(&self) -> bool {
        self.wants_preamble
    }
}
