//! What an answer of Converse means, event by event.

use frontdesk_api::{ChatEvent, ChatRequest, Error, Result};
use frontdesk_http::frames::{Framing, Piece, Reads, not_an_answer};
use frontdesk_wire::{
    bedrock::{answer::Answer, error},
    eventstream::Message,
    surrogates::mended,
};

/// Reads one answer.
pub(crate) struct Reader {
    provider: String,
    wants_preamble: bool,
    answer: Answer,
}

impl Reader {
    /// Every event is decoded: no client reads the bytes of this dialect.
    pub(crate) fn new(provider: &str, request: &ChatRequest) -> Self {
        Self { provider: provider.to_owned(), wants_preamble: request.wants_preamble, answer: Answer::default() }
    }
}

impl Reads for Reader {
    const FRAMING: Framing = Framing::AwsEventStream;

    fn whole(&mut self, body: &[u8]) -> Result<Vec<ChatEvent>> {
        self.answer.whole(body).map_err(|e| not_an_answer(&self.provider, e))
    }

    fn event(&mut self, data: &[u8]) -> Result<Piece> {
        let message = Message::read(data)
            .map_err(|fault| Error::upstream(format!("provider '{}' sent {fault}", self.provider)))?;
        if let Some(error) = error::in_stream(&self.provider, &message) {
            return Err(error);
        }
        let kind = message.header(":event-type").unwrap_or_default();
        let events = self.answer.event(kind, &mended(message.payload)).map_err(|e| not_an_answer(&self.provider, e))?;
        // A block may be content though it is no event here: work of the server's own tools.
        Ok(Piece { events, preamble: kind == "messageStart", ..Piece::default() })
    }

    fn wants_preamble(&self) -> bool {
        self.wants_preamble
    }
}
