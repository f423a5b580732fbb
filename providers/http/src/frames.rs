//! Answers as frames, in any dialect: the bytes as they came, and beside them what they mean.
//!
//! Whole events only: a frame ends at an event's blank line, so a frame can be forwarded, withheld or
//! decoded alone. Events that arrived together travel as one frame; a usage report travels alone.
//! Invariant: nothing is buffered beyond one event, and bytes are never changed.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use frontdesk_api::{ChatEvent, Error, Frame, Kind, Result};
use frontdesk_wire::sse::{Decoder, TooLong, data};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};

use crate::Body;

/// Knows what a dialect's answer means; one value reads one answer.
pub trait Reads: Send + 'static {
    /// A whole JSON body.
    ///
    /// # Errors
    /// `Upstream` when it is no answer, or what it says where it reports a fault.
    fn whole(&mut self, body: &[u8]) -> Result<Vec<ChatEvent>>;

    /// The data of one server-sent event, never blank.
    ///
    /// # Errors
    /// As `whole`.
    fn event(&mut self, data: &[u8]) -> Result<Piece>;

    /// Whether frames before the answer's first content must be marked (`ChatRequest::wants_preamble`).
    fn wants_preamble(&self) -> bool {
        false
    }
}

/// What one event means.
#[derive(Debug, Default)]
pub struct Piece {
    pub events: Vec<ChatEvent>,
    /// The event carries nothing but usage and travels as a frame of its own.
    pub usage_only: bool,
    /// The event holds nothing of the answer itself. Need not be right once one was not.
    pub preamble: bool,
}

/// A whole JSON answer of at most `limit` bytes: one frame.
pub(crate) fn whole(
    provider: String,
    mut body: Body,
    mut reads: impl Reads,
    limit: usize,
) -> BoxStream<'static, Result<Frame>> {
    let frame = async move {
        let raw = body.whole(limit).await.map_err(|e| named(&provider, e))?;
        let events = reads.whole(&raw)?;
        Ok(Frame { raw, events, ..Frame::default() })
    };
    stream::once(frame).boxed()
}

/// A stream of events of at most `max_event` bytes each. Dropping it closes the connection to the server.
pub(crate) fn stream(
    provider: String,
    body: Body,
    reads: impl Reads,
    max_event: usize,
) -> BoxStream<'static, Result<Frame>> {
    let (preamble, decoder) = (reads.wants_preamble(), Decoder::new(max_event));
    let reader = Reader { provider, body, decoder, reads, preamble, ready: VecDeque::new(), ended: false };
    stream::unfold(reader, |mut reader| async move {
        let frame = reader.next().await?;
        Some((frame, reader))
    })
    .boxed()
}

struct Reader<R> {
    provider: String,
    body: Body,
    decoder: Decoder,
    reads: R,
    /// The answer itself has not begun, as far as that was asked.
    preamble: bool,
    ready: VecDeque<Result<Frame>>,
    ended: bool,
}

impl<R: Reads> Reader<R> {
    async fn next(&mut self) -> Option<Result<Frame>> {
        while self.ready.is_empty() && !self.ended {
            let mut open = Open::default();
            let read = self.read(&mut open).await;
            open.close(&mut self.ready);
            if let Err(e) = read {
                // What came before the fault is shown before it.
                self.ready.push_back(Err(e));
                self.ended = true;
            }
        }
        self.ready.pop_front()
    }

    /// Reads one piece off the wire and turns its whole events into frames.
    async fn read(&mut self, open: &mut Open) -> Result<()> {
        let piece = self.body.piece().await.map_err(|e| named(&self.provider, e))?;
        let Some(piece) = piece else {
            self.ended = true;
            return match self.decoder.rest() {
                Some(rest) => self.block(rest, open),
                None => Ok(()),
            };
        };
        self.decoder.push(&piece);
        loop {
            match self.decoder.block() {
                Ok(Some(block)) => self.block(block, open)?,
                Ok(None) => return Ok(()),
                Err(TooLong(limit)) => {
                    let message = format!("provider '{}' sent an event of more than {limit} bytes", self.provider);
                    return Err(Error::upstream(message));
                }
            }
        }
    }

    fn block(&mut self, raw: Bytes, open: &mut Open) -> Result<()> {
        let piece = match data(&raw).as_deref().filter(|data| !data.trim_ascii().is_empty()) {
            Some(data) => self.reads.event(data)?,
            None => Piece { preamble: true, ..Piece::default() },
        };
        self.preamble &= piece.preamble;
        let frame = Frame { raw, events: piece.events, usage_only: piece.usage_only, preamble: self.preamble };
        if frame.usage_only {
            open.close(&mut self.ready);
            self.ready.push_back(Ok(frame));
        } else {
            open.add(frame);
        }
        Ok(())
    }
}

/// A frame being put together from the blocks of one read.
#[derive(Default)]
struct Open {
    frame: Option<Frame>,
    more: BytesMut,
}

impl Open {
    fn add(&mut self, next: Frame) {
        let Some(frame) = &mut self.frame else {
            self.frame = Some(next);
            return;
        };
        if self.more.is_empty() {
            self.more.extend_from_slice(&frame.raw);
        }
        self.more.extend_from_slice(&next.raw);
        frame.events.extend(next.events);
        frame.preamble = next.preamble;
    }

    fn close(&mut self, ready: &mut VecDeque<Result<Frame>>) {
        let Some(mut frame) = self.frame.take() else { return };
        if !self.more.is_empty() {
            frame.raw = self.more.split().freeze();
        }
        ready.push_back(Ok(frame));
    }
}

/// Puts the provider's id before an error of the transport.
pub(crate) fn named(provider: &str, mut e: Error) -> Error {
    if e.kind != Kind::Cancelled {
        e.message = format!("provider '{provider}': {}", e.message);
    }
    e
}

/// The error of a server whose answer does not read as one.
pub fn not_an_answer(provider: &str, e: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::upstream(format!("provider '{provider}' sent something that is not a chat answer")).with_source(e)
}
