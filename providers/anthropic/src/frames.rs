//! What Anthropic's answer means, event by event.

use frontdesk_api::{ChatEvent, Result};
use frontdesk_http::frames::{Piece, Reads, not_an_answer};
use frontdesk_wire::{
    anthropic::{
        outbound_answer::{Answer, Decoded},
        outbound_error,
    },
    openai::answer::mentions_usage,
};

/// Reads one answer.
pub(crate) struct Reader {
    provider: String,
    wants_events: bool,
    answer: Answer,
}

impl Reader {
    /// Without `wants_events` only usage is looked for.
    pub(crate) fn new(provider: &str, wants_events: bool) -> Self {
        Self { provider: provider.to_owned(), wants_events, answer: Answer::default() }
    }

    fn events(&self, decoded: serde_json::Result<Decoded>) -> Result<Vec<ChatEvent>> {
        let decoded = decoded.map_err(|e| not_an_answer(&self.provider, e))?;
        match decoded.error {
            Some(fault) => Err(outbound_error::in_stream(&self.provider, &fault)),
            None => Ok(decoded.events),
        }
    }

    /// Whether nobody needs what is in these bytes. Both dialects call the member `usage`.
    fn is_passed_on(&self, json: &[u8]) -> bool {
        !self.wants_events && !mentions_usage(json)
    }
}

impl Reads for Reader {
    fn whole(&mut self, body: &[u8]) -> Result<Vec<ChatEvent>> {
        if self.is_passed_on(body) {
            return Ok(vec![]);
        }
        let decoded = self.answer.whole(body, self.wants_events);
        self.events(decoded)
    }

    fn event(&mut self, data: &[u8]) -> Result<Piece> {
        if self.is_passed_on(data) {
            return Ok(Piece::default());
        }
        let decoded = self.answer.event(data, self.wants_events);
        // Usage never comes alone here: it rides on the events that begin and end a message.
        Ok(Piece { events: self.events(decoded)?, usage_only: false })
    }
}
