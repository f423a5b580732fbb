//! Answers as frames, in any dialect and either framing: the bytes as they came, and beside them what they mean.
//!
//! Whole events only: a frame ends where an event ends, so a frame can be forwarded, withheld or
//! decoded alone. Events that arrived together travel as one frame; a usage report travels alone.
//! Invariants: nothing is buffered beyond one event, and bytes are never changed; a stream that began and ends without a
//! word that it is whole was broken off, however properly its connection was closed, and ends as a fault.

use std::{borrow::Cow, collections::VecDeque, fmt::Display};

use bytes::{Bytes, BytesMut};
use frontdesk_api::{ChatEvent, Error, Frame, Kind, Result};
use frontdesk_wire::{eventstream, sse, surrogates::mended};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};

use crate::Body;

/// How the events of a stream lie in its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    ServerSentEvents,
    AwsEventStream,
}

impl Framing {
    /// Begins the content type of such a stream.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::ServerSentEvents => "text/event-stream",
            Self::AwsEventStream => eventstream::CONTENT_TYPE,
        }
    }
}

/// Knows what a dialect's answer means; one value reads one answer.
pub trait Reads: Send + 'static {
    /// How the dialect streams.
    const FRAMING: Framing = Framing::ServerSentEvents;

    /// A whole JSON body.
    ///
    /// # Errors
    /// `Upstream` when it is no answer, or what it says where it reports a fault.
    fn whole(&mut self, body: &[u8]) -> Result<Vec<ChatEvent>>;

    /// One event of a stream: the data of a server-sent event, never blank, or a whole message of an AWS event
    /// stream.
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
    /// The event says that the answer is whole; one whose `events` say why it ended does so too.
    pub ends: bool,
}

/// Cuts a stream's bytes into its events.
pub(crate) trait Cuts: Send + 'static {
    /// Why bytes are no such stream; completes the sentence "the provider sent …".
    type Fault: Display;

    fn push(&mut self, bytes: &[u8]);

    /// The next whole event's bytes; None until more come.
    fn block(&mut self) -> Result<Option<Bytes>, Self::Fault>;

    /// What is left at the end of the stream, where that is an event.
    fn rest(&mut self) -> Result<Option<Bytes>, Self::Fault>;

    /// What a reader gets of an event; None: nothing.
    fn data(block: &[u8]) -> Option<Cow<'_, [u8]>>;
}

impl Cuts for sse::Decoder {
    type Fault = sse::TooLong;

    fn push(&mut self, bytes: &[u8]) {
        self.push(bytes);
    }

    fn block(&mut self) -> Result<Option<Bytes>, sse::TooLong> {
        self.block()
    }

    /// The blank line of the last event may be missing.
    fn rest(&mut self) -> Result<Option<Bytes>, sse::TooLong> {
        Ok(self.rest())
    }

    fn data(block: &[u8]) -> Option<Cow<'_, [u8]>> {
        sse::data(block).filter(|data| !data.trim_ascii().is_empty())
    }
}

impl Cuts for eventstream::Decoder {
    type Fault = eventstream::Fault;

    fn push(&mut self, bytes: &[u8]) {
        self.push(bytes);
    }

    fn block(&mut self) -> Result<Option<Bytes>, eventstream::Fault> {
        self.message()
    }

    fn rest(&mut self) -> Result<Option<Bytes>, eventstream::Fault> {
        self.end().map(|()| None)
    }

    fn data(block: &[u8]) -> Option<Cow<'_, [u8]>> {
        Some(Cow::Borrowed(block))
    }
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
        let events = reads.whole(&mended(&raw))?;
        Ok(Frame { raw, events, ..Frame::default() })
    };
    stream::once(frame).boxed()
}

/// A stream of events. Dropping it closes the connection to the server.
pub(crate) fn stream(
    provider: String,
    body: Body,
    decoder: impl Cuts,
    reads: impl Reads,
) -> BoxStream<'static, Result<Frame>> {
    let preamble = reads.wants_preamble();
    let ready = VecDeque::new();
    let reader = Reader { provider, body, decoder, reads, preamble, begun: false, whole: false, ready, ended: false };
    stream::unfold(reader, |mut reader| async move {
        let frame = reader.next().await?;
        Some((frame, reader))
    })
    .boxed()
}

struct Reader<D, R> {
    provider: String,
    body: Body,
    decoder: D,
    reads: R,
    /// The answer itself has not begun, as far as that was asked.
    preamble: bool,
    /// An event came.
    begun: bool,
    /// One said that the answer is whole.
    whole: bool,
    ready: VecDeque<Result<Frame>>,
    ended: bool,
}

impl<D: Cuts, R: Reads> Reader<D, R> {
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
            if let Some(rest) = self.decoder.rest().map_err(|fault| self.sent(fault))? {
                self.block(rest, open)?;
            }
            if self.begun && !self.whole {
                let message = format!("provider '{}' ended its answer before it was whole", self.provider);
                return Err(Error::upstream(message));
            }
            return Ok(());
        };
        self.decoder.push(&piece);
        while let Some(block) = self.decoder.block().map_err(|fault| self.sent(fault))? {
            self.block(block, open)?;
        }
        Ok(())
    }

    fn sent(&self, fault: D::Fault) -> Error {
        Error::upstream(format!("provider '{}' sent {fault}", self.provider))
    }

    fn block(&mut self, raw: Bytes, open: &mut Open) -> Result<()> {
        let piece = match D::data(&raw) {
            Some(data) => {
                self.begun = true;
                match R::FRAMING {
                    Framing::ServerSentEvents => self.reads.event(&mended(&data))?,
                    // Checksums stand over its bytes: who reads the payload mends it.
                    Framing::AwsEventStream => self.reads.event(&data)?,
                }
            }
            None => Piece { preamble: true, ..Piece::default() },
        };
        self.whole |= piece.ends || piece.events.iter().any(|event| matches!(event, ChatEvent::Finish { .. }));
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

/// A look at an event that goes on unread: a client can do nothing with what is no JSON object. A few bytes are looked
/// at, unless they are wrong.
///
/// # Errors
/// `Upstream`, as [`not_an_answer`].
pub fn glance(provider: &str, data: &[u8]) -> Result<()> {
    let data = data.trim_ascii();
    if data.first() == Some(&b'{') && data.last() == Some(&b'}') {
        return Ok(());
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(data) {
        Ok(_) => Ok(()),
        Err(e) => Err(not_an_answer(provider, e)),
    }
}

/// The error of a server whose answer holds none.
#[must_use]
pub fn no_answer(provider: &str) -> Error {
    Error::upstream(format!("provider '{provider}' sent an answer that holds none"))
}

/// The error of a server whose answer does not read as one.
pub fn not_an_answer(provider: &str, e: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::upstream(format!("provider '{provider}' sent something that is not a chat answer")).with_source(e)
}
