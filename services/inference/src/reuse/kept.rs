//! A route's kept answers, bounded in memory and in age, and the recorder that fills them.
//!
//! Invariants: an answer is kept whole or not at all, and only one whose every choice came to an end of its own; all
//! kept answers together never take more than the route's room.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use frontdesk_api::{
    ChatEvent, ChatRequest, Frame, Result,
    chat::{FinishReason, ReplyHead, Reuse},
};
use futures::{Stream, StreamExt, stream::BoxStream};

use super::{key::Key, size};
use crate::{policy::Cache, time::Time};

/// A whole answer.
pub(super) struct Answer {
    /// Without what only the first one to hear it needs.
    pub(super) head: ReplyHead,
    frames: Vec<Frame>,
    /// About what it takes in memory, in bytes.
    size: usize,
}

impl Answer {
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

/// See the module.
pub(super) struct Kept {
    most: usize,
    age: Duration,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    answers: HashMap<Key, Place>,
    /// Keys by when they were last used, the longest ago first.
    uses: BTreeMap<u64, Key>,
    next: u64,
    size: usize,
}

struct Place {
    answer: Arc<Answer>,
    until: Instant,
    used: u64,
}

impl Kept {
    pub(super) fn new(cache: &Cache) -> Self {
        Self { most: cache.max_mb << 20, age: Duration::from_secs(cache.ttl_s), shelf: Mutex::default() }
    }

    pub(super) fn find(&self, key: &Key, now: Instant) -> Option<Arc<Answer>> {
        let mut shelf = self.shelf();
        let shelf = &mut *shelf;
        let place = shelf.answers.get_mut(key)?;
        if place.until <= now {
            shelf.remove(key);
            return None;
        }
        shelf.uses.remove(&place.used);
        shelf.next += 1;
        place.used = shelf.next;
        shelf.uses.insert(place.used, *key);
        Some(Arc::clone(&place.answer))
    }

    fn put(&self, key: Key, answer: Answer, now: Instant) {
        let mut shelf = self.shelf();
        shelf.remove(&key);
        while shelf.size + answer.size > self.most {
            let Some((_, oldest)) = shelf.uses.first_key_value() else { return };
            let oldest = *oldest;
            shelf.remove(&oldest);
        }
        shelf.next += 1;
        let used = shelf.next;
        shelf.size += answer.size;
        shelf.uses.insert(used, key);
        shelf.answers.insert(key, Place { answer: Arc::new(answer), until: now + self.age, used });
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn remove(&mut self, key: &Key) {
        if let Some(place) = self.answers.remove(key) {
            self.uses.remove(&place.used);
            self.size -= place.answer.size;
        }
    }
}

/// An answer on its way, of which a copy is made.
pub(super) struct Recorder {
    frames: BoxStream<'static, Result<Frame>>,
    /// None once it is known that it will not be kept.
    tape: Option<Tape>,
}

struct Tape {
    answer: Answer,
    /// Choices that have begun and not ended, and whether one has ended.
    open: BTreeSet<u32>,
    ended: bool,
    kept: Arc<Kept>,
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
        let size =
            size_of::<Answer>() + size_of::<Place>() + 2 * size_of::<Key>() + head.provider.len() + head.model.len();
        let head =
            ReplyHead { upstream_request: None, other_attempts: vec![], reuse: Some(Reuse::Hit), ..head.clone() };
        let answer = Answer { head, frames: vec![], size };
        Self { frames, tape: Some(Tape { answer, open: BTreeSet::new(), ended: false, kept, key, time }) }
    }
}

impl Tape {
    /// Whether the answer may still be kept.
    fn take(&mut self, frame: &Frame) -> bool {
        self.answer.size += size(frame);
        if self.answer.size > self.kept.most {
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
        self.answer.frames.push(frame.clone());
        true
    }

    fn end(self) {
        if self.ended && self.open.is_empty() {
            let Self { answer, kept, key, time, .. } = self;
            kept.put(key, alone(answer), time.now());
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

/// The same answer in memory of its own: a frame's bytes are a part of what was once read from a socket, and would
/// hold all of that.
fn alone(mut answer: Answer) -> Answer {
    let mut all = BytesMut::with_capacity(answer.frames.iter().map(|frame| frame.raw.len()).sum());
    for frame in &answer.frames {
        all.extend_from_slice(&frame.raw);
    }
    let all: Bytes = all.freeze();
    let mut from = 0;
    for frame in &mut answer.frames {
        let to = from + frame.raw.len();
        frame.raw = all.slice(from..to);
        from = to;
    }
    answer
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
        ChatEvent::Logprobs { value, .. } | ChatEvent::Annotations { value, .. } => 8 * value.to_string().len(),
        ChatEvent::Extra(members) => members.iter().map(|(k, v)| k.len() + 8 * v.to_string().len()).sum(),
        ChatEvent::Finish { .. } | ChatEvent::Usage(_) => 0,
    };
    size_of::<ChatEvent>() + told
}
