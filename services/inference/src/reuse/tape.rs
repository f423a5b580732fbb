//! The recorder: copies an answer as it passes, and keeps it when it has ended well.
//!
//! Invariants: an answer is kept whole or not at all, and only one whose every choice came to an end of its own; what is
//! being recorded takes room of the route's as it grows, in memory of its own.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use frontdesk_api::{
    ChatEvent, ChatRequest, Effort, Frame, Result,
    chat::{FinishReason, ReplyHead, Reuse},
};
use futures::{Stream, StreamExt, stream::BoxStream};

use super::{
    kept::{Answer, Kept, OVERHEAD, Room},
    key::Key,
};
use crate::time::Time;

/// A whole answer of a chat.
pub(super) struct Told {
    /// Without what only the first one to hear it needs.
    pub(super) head: ReplyHead,
    frames: Vec<Frame>,
}

impl Told {
    pub(super) fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// A frame; `all`: with all its events, else with those that everyone looks at.
    pub(super) fn frame(&self, i: usize, all: bool) -> Frame {
        let frame = &self.frames[i];
        if all {
            return frame.clone();
        }
        let seen = |event: &&ChatEvent| matches!(event, ChatEvent::Usage(_) | ChatEvent::Finish { .. });
        let events = frame.events.iter().filter(seen).cloned().collect();
        Frame { raw: frame.raw.clone(), events, usage_only: frame.usage_only, preamble: frame.preamble }
    }

    /// Whether it has all that this client asks for: a provider may be one that does not count.
    pub(super) fn serves(&self, request: &ChatRequest) -> bool {
        let counts = |frame: &Frame| frame.events.iter().any(|event| matches!(event, ChatEvent::Usage(_)));
        !(request.stream && request.wants_usage) || self.frames.iter().any(counts)
    }
}

/// An answer on its way, of which a copy is made.
pub(super) struct Recorder {
    frames: BoxStream<'static, Result<Frame>>,
    /// None once it is known that it will not be kept.
    tape: Option<Tape>,
}

struct Tape {
    answer: Told,
    /// About what it takes in memory, in bytes.
    size: usize,
    room: Room,
    /// Choices that have begun and not ended, and whether one has ended.
    open: BTreeSet<u32>,
    ended: bool,
    key: Key,
    time: Arc<dyn Time>,
}

impl Recorder {
    pub(super) fn new(
        head: &ReplyHead,
        frames: BoxStream<'static, Result<Frame>>,
        kept: Arc<Kept>,
        key: Key,
        time: Arc<dyn Time>,
    ) -> Self {
        let size = OVERHEAD + head.provider.len() + head.model.len();
        let head =
            ReplyHead { upstream_request: None, effort: Effort::default(), reuse: Some(Reuse::Hit), ..head.clone() };
        let answer = Told { head, frames: vec![] };
        let (open, room) = (BTreeSet::new(), Room::of(kept));
        Self { frames, tape: Some(Tape { answer, size, room, open, ended: false, key, time }) }
    }
}

impl Tape {
    /// Whether the answer may still be kept.
    fn take(&mut self, frame: &Frame) -> bool {
        self.size += super::size(frame);
        if !self.room.fits(self.size) {
            return false;
        }
        for event in &frame.events {
            match event {
                ChatEvent::Finish { choice, reason } => {
                    // Cut off by a filter, paused, or for a reason nobody here knows: the next one may go on.
                    if !matches!(reason, FinishReason::Stop | FinishReason::Length | FinishReason::ToolCalls) {
                        return false;
                    }
                    self.open.remove(choice);
                    self.ended = true;
                }
                ChatEvent::Text { choice, .. }
                | ChatEvent::Reasoning { choice, .. }
                | ChatEvent::Refusal { choice, .. }
                | ChatEvent::ToolCall { choice, .. } => {
                    self.open.insert(*choice);
                }
                _ => {}
            }
        }
        // Its bytes are a part of what was once read from a socket, and would hold all of that.
        self.answer.frames.push(Frame { raw: Bytes::copy_from_slice(&frame.raw), ..frame.clone() });
        true
    }

    fn end(self) {
        if self.ended && self.open.is_empty() {
            self.room.keep(self.key, Answer::Told(Arc::new(self.answer)), self.size, self.time.now());
        }
    }
}

impl Stream for Recorder {
    type Item = Result<Frame>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = ready!(this.frames.poll_next_unpin(cx));
        match &next {
            Some(Ok(frame)) => {
                if this.tape.as_mut().is_some_and(|tape| !tape.take(frame)) {
                    this.tape = None;
                }
            }
            Some(Err(_)) => this.tape = None,
            None => {
                if let Some(tape) = this.tape.take() {
                    tape.end();
                }
            }
        }
        Poll::Ready(next)
    }
}

/// About what an event takes in memory, in bytes.
pub(super) fn event_size(event: &ChatEvent) -> usize {
    let told = match event {
        ChatEvent::Text { text, .. } | ChatEvent::Reasoning { text, .. } | ChatEvent::Refusal { text, .. } => {
            text.len()
        }
        ChatEvent::ToolCall { id, name, arguments, .. } => {
            let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
            arguments.len() + length(id) + length(name)
        }
        ChatEvent::Start { id, model, .. } => id.len() + model.len(),
        // Trees of JSON: a node takes about what a hundred bytes of text do.
        ChatEvent::Logprobs { value, .. }
        | ChatEvent::Annotations { value, .. }
        | ChatEvent::Signed { block: value, .. } => 8 * value.to_string().len(),
        ChatEvent::Extra(members) => members.iter().map(|(k, v)| k.len() + 8 * v.to_string().len()).sum(),
        ChatEvent::Finish { .. } | ChatEvent::Usage(_) => 0,
    };
    size_of::<ChatEvent>() + told
}
