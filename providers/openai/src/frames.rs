//! Answers as frames: the bytes as they came, and beside them what they mean.
//!
//! Whole events only: a frame ends at an event's blank line, so a frame can be forwarded, withheld or
//! decoded alone. Events that arrived together travel as one frame; a usage report travels alone.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use frontdesk_api::{Error, Frame, Result};
use frontdesk_http::Body;
use frontdesk_wire::{
    openai::{DONE, answer, error},
    sse::{Decoder, TooLong, data},
};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};

/// A whole JSON answer: one frame.
pub(crate) fn whole(
    provider: String,
    mut body: Body,
    wants_events: bool,
    limit: usize,
) -> BoxStream<'static, Result<Frame>> {
    let frame = async move {
        let raw = body.whole(limit).await.map_err(|e| of(&provider, e))?;
        let events = if wants_events || answer::mentions_usage(&raw) {
            let decoded = if wants_events { answer::decode(&raw, true) } else { answer::decode_usage(&raw) };
            let decoded = decoded.map_err(|e| not_an_answer(&provider, e))?;
            if let Some(fault) = decoded.error {
                return Err(error::in_stream(&provider, &fault));
            }
            decoded.events
        } else {
            vec![]
        };
        Ok(Frame { raw, events, usage_only: false })
    };
    stream::once(frame).boxed()
}

/// A stream of events. Dropping it closes the connection to the server.
pub(crate) fn stream(
    provider: String,
    body: Body,
    wants_events: bool,
    max_event: usize,
) -> BoxStream<'static, Result<Frame>> {
    let reader = Reader {
        provider,
        body,
        decoder: Decoder::new(max_event),
        wants_events,
        first: true,
        ready: VecDeque::new(),
        ended: false,
    };
    stream::unfold(reader, |mut reader| async move {
        let frame = reader.next().await?;
        Some((frame, reader))
    })
    .boxed()
}

struct Reader {
    provider: String,
    body: Body,
    decoder: Decoder,
    wants_events: bool,
    first: bool,
    ready: VecDeque<Result<Frame>>,
    ended: bool,
}

impl Reader {
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
        let piece = self.body.piece().await.map_err(|e| of(&self.provider, e))?;
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
        let data = data(&raw);
        let json = data.as_deref().filter(|d| d.trim_ascii() != DONE && !d.trim_ascii().is_empty());
        let Some(json) = json.filter(|json| self.wants_events || answer::mentions_usage(json)) else {
            open.add(raw, vec![]);
            return Ok(());
        };
        let decoded = if self.wants_events { answer::decode(json, self.first) } else { answer::decode_usage(json) };
        let decoded = decoded.map_err(|e| not_an_answer(&self.provider, e))?;
        self.first = false;
        if let Some(fault) = decoded.error {
            return Err(error::in_stream(&self.provider, &fault));
        }
        if decoded.usage_only {
            open.close(&mut self.ready);
            self.ready.push_back(Ok(Frame { raw, events: decoded.events, usage_only: true }));
        } else {
            open.add(raw, decoded.events);
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
    fn add(&mut self, raw: Bytes, events: Vec<frontdesk_api::ChatEvent>) {
        let Some(frame) = &mut self.frame else {
            self.frame = Some(Frame { raw, events, usage_only: false });
            return;
        };
        if self.more.is_empty() {
            self.more.extend_from_slice(&frame.raw);
        }
        self.more.extend_from_slice(&raw);
        frame.events.extend(events);
    }

    fn close(&mut self, ready: &mut VecDeque<Result<Frame>>) {
        let Some(mut frame) = self.frame.take() else { return };
        if !self.more.is_empty() {
            frame.raw = self.more.split().freeze();
        }
        ready.push_back(Ok(frame));
    }
}

fn of(provider: &str, mut e: Error) -> Error {
    if e.kind != frontdesk_api::Kind::Cancelled {
        e.message = format!("provider '{provider}': {}", e.message);
    }
    e
}

fn not_an_answer(provider: &str, e: serde_json::Error) -> Error {
    Error::upstream(format!("provider '{provider}' sent something that is not a chat answer")).with_source(e)
}
