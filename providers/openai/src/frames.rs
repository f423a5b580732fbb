//! What an OpenAI-compatible server's answer means, event by event.

use frontdesk_api::{ChatEvent, ChatRequest, Result, chat::Dialect};
use frontdesk_http::frames::{Piece, Reads, glance, no_answer, not_an_answer};
use frontdesk_wire::openai::{
    DONE,
    answer::{self, Decoded},
    error,
};

/// Reads one answer.
pub(crate) struct Reader {
    provider: String,
    wants_events: bool,
    /// The answer itself has not begun, and the caller wants to know where it does.
    preamble: bool,
    /// An error may stand inside a piece of the answer.
    errors_inside: bool,
    first: bool,
}

impl Reader {
    /// `dialect` is the answer's. Of one whose request needs no events, only usage is looked for, and where it begins if that was asked.
    pub(crate) fn new(provider: &str, dialect: Dialect, request: &ChatRequest, errors_inside: bool) -> Self {
        Self {
            provider: provider.to_owned(),
            wants_events: request.needs_events(dialect),
            preamble: request.wants_preamble,
            errors_inside,
            first: true,
        }
    }

    /// Whether a piece that nobody decodes may hold an error instead of words, or, where servers do that, beside them.
    fn may_fail(&self, data: &[u8]) -> bool {
        data.starts_with(b"{\"error\"") || (self.errors_inside && answer::mentions_error(data))
    }

    fn decoded(&self, decoded: serde_json::Result<Decoded>) -> Result<Decoded> {
        let decoded = decoded.map_err(|e| not_an_answer(&self.provider, e))?;
        match decoded.error {
            Some(fault) => Err(error::in_stream(&self.provider, &fault)),
            None => Ok(decoded),
        }
    }
}

impl Reads for Reader {
    /// An answer that nobody decodes is still read for its usage, and so found to be one.
    fn whole(&mut self, body: &[u8]) -> Result<Vec<ChatEvent>> {
        if !self.wants_events {
            return Ok(self.decoded(answer::decode_usage(body))?.events);
        }
        let events = self.decoded(answer::decode(body, self.first))?.events;
        if events.iter().any(ChatEvent::is_content) { Ok(events) } else { Err(no_answer(&self.provider)) }
    }

    fn event(&mut self, data: &[u8]) -> Result<Piece> {
        let data = data.trim_ascii();
        if data == DONE {
            return Ok(Piece { ends: true, ..Piece::default() });
        }
        // Not every server says `[DONE]`; what is decoded below says by itself why it ended.
        let ends = answer::mentions_finish(data);
        let decoded = if self.wants_events || self.preamble {
            answer::decode(data, self.first)
        } else if answer::mentions_usage(data) || self.may_fail(data) {
            answer::decode_usage(data)
        } else {
            return glance(&self.provider, data).map(|()| Piece { ends, ..Piece::default() });
        };
        let decoded = self.decoded(decoded)?;
        self.first = false;
        self.preamble = self.preamble && !decoded.events.iter().any(ChatEvent::is_content) && !answer::speaks(data);
        Ok(Piece { events: decoded.events, usage_only: decoded.usage_only, preamble: self.preamble, ends })
    }

    fn wants_preamble(&self) -> bool {
        self.preamble
    }
}
