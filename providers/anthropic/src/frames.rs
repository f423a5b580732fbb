//! What Anthropic's answer means, event by event.

use frontdesk_api::{ChatEvent, ChatRequest, Result, chat::Dialect};
use frontdesk_http::frames::{Piece, Reads, glance, no_answer, not_an_answer};
use frontdesk_wire::{
    anthropic::{
        outbound_answer::{self, Answer, Decoded, is_preamble},
        outbound_error,
    },
    openai::answer::mentions_usage,
};

/// Reads one answer.
pub(crate) struct Reader {
    provider: String,
    wants_events: bool,
    /// The answer itself has not begun, and the caller wants to know where it does.
    preamble: bool,
    answer: Answer,
}

impl Reader {
    /// Of an answer whose request needs no events, only usage is looked for, and where it begins if that was asked.
    pub(crate) fn new(provider: &str, request: &ChatRequest) -> Self {
        Self {
            provider: provider.to_owned(),
            wants_events: request.needs_events(Dialect::AnthropicMessages),
            preamble: request.wants_preamble,
            answer: Answer::default(),
        }
    }

    fn events(&self, decoded: serde_json::Result<Decoded>) -> Result<Vec<ChatEvent>> {
        let decoded = decoded.map_err(|e| not_an_answer(&self.provider, e))?;
        match decoded.error {
            Some(fault) => Err(outbound_error::in_stream(&self.provider, &fault)),
            None => Ok(decoded.events),
        }
    }
}

impl Reads for Reader {
    /// An answer that nobody decodes is still read for its usage, and so found to be one.
    fn whole(&mut self, body: &[u8]) -> Result<Vec<ChatEvent>> {
        let decoded = self.answer.whole(body, self.wants_events);
        let events = self.events(decoded)?;
        let answers = !self.wants_events || events.iter().any(ChatEvent::is_content);
        if answers { Ok(events) } else { Err(no_answer(&self.provider)) }
    }

    fn event(&mut self, data: &[u8]) -> Result<Piece> {
        let ends = outbound_answer::mentions_stop(data);
        // Both dialects call the member `usage`.
        if !self.wants_events && !self.preamble && !mentions_usage(data) {
            return glance(&self.provider, data).map(|()| Piece { ends, ..Piece::default() });
        }
        let decoded = self.answer.event(data, self.wants_events);
        self.preamble = self.preamble && is_preamble(data);
        // Usage never comes alone here: it rides on the events that begin and end a message.
        Ok(Piece { events: self.events(decoded)?, usage_only: false, preamble: self.preamble, ends })
    }

    fn wants_preamble(&self) -> bool {
        self.preamble
    }
}
