//! Providers that do as a test says, call by call, and a time that passes when somebody waits for it.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use frontdesk_api::{
    ChatEvent, ChatReply, ChatRequest, Cx, Effort, Error, Frame, Inference, Result,
    chat::{Chat, Dialect, FinishReason, ReplyHead, Usage},
    inference::{Counted, Model},
};
use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use tokio::sync::Notify;

use crate::{
    Router,
    policy::Route,
    time::{Dice, Time},
};

/// One piece of an answer.
pub(crate) enum Piece {
    /// A role, an id.
    Preamble,
    /// Usage before the first word, as Anthropic reports it.
    Counted,
    Word(&'static str),
    /// A choice ends.
    Finish(u32, FinishReason),
    Breaks(Error),
    /// Goes on when told.
    Gate(Arc<Notify>),
    /// Says nothing more and does not end.
    Silence,
}

/// What a call comes to.
pub(crate) enum Say {
    Fails(Error),
    /// Not even a head.
    Nothing,
    Answers(Vec<Piece>),
}

/// A provider that says one thing a call, the last one again and again.
pub(crate) struct Actor {
    id: &'static str,
    lines: Mutex<VecDeque<Say>>,
    asked: AtomicUsize,
    /// Answers under way that were dropped before their end.
    pub(crate) dropped: Arc<AtomicUsize>,
}

impl Actor {
    pub(crate) fn new(id: &'static str, lines: impl IntoIterator<Item = Say>) -> Arc<Self> {
        let lines = Mutex::new(lines.into_iter().collect());
        Arc::new(Self { id, lines, asked: AtomicUsize::new(0), dropped: Arc::default() })
    }

    /// Answers every call with its own name.
    pub(crate) fn well(id: &'static str) -> Arc<Self> {
        Self::new(id, [])
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Tells when an answer goes before it has ended.
struct Watch(Arc<AtomicUsize>, Arc<AtomicBool>);

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.1.load(Ordering::SeqCst) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Inference for Actor {
    async fn chat(&self, _: &Cx, request: ChatRequest) -> Result<ChatReply> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let ended = Arc::new(AtomicBool::new(false));
        let watch = Watch(Arc::clone(&self.dropped), Arc::clone(&ended));
        let line = self.lines.lock().expect("unpoisoned").pop_front();
        let pieces = match line {
            Some(Say::Fails(error)) => {
                ended.store(true, Ordering::SeqCst);
                return Err(error);
            }
            Some(Say::Nothing) => pending().await,
            Some(Say::Answers(pieces)) => pieces,
            None => vec![Piece::Preamble, Piece::Word(self.id)],
        };
        let head = ReplyHead {
            provider: self.id.into(),
            model: request.model,
            dialect: Dialect::OpenaiChat,
            streaming: request.stream,
            upstream_request: None,
            effort: Effort::default(),
            reuse: None,
        };
        Ok(ChatReply { head, frames: play(pieces, watch, ended) })
    }

    /// Fails by its next line, else cannot count.
    async fn count_tokens(&self, _: &Cx, _: ChatRequest) -> Result<Option<Counted>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.lines.lock().expect("unpoisoned").pop_front() {
            Some(Say::Fails(error)) => Err(error),
            _ => Ok(None),
        }
    }

    async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
        Ok(vec![])
    }
}

fn play(pieces: Vec<Piece>, watch: Watch, ended: Arc<AtomicBool>) -> BoxStream<'static, Result<Frame>> {
    stream::unfold((pieces.into_iter(), watch, ended), |(mut pieces, watch, ended)| async move {
        loop {
            let frame = match pieces.next() {
                Some(Piece::Gate(gate)) => {
                    gate.notified().await;
                    continue;
                }
                Some(Piece::Silence) => pending().await,
                Some(Piece::Preamble) => Ok(Frame { raw: "<".into(), preamble: true, ..Frame::default() }),
                Some(Piece::Counted) => Ok(Frame {
                    events: vec![ChatEvent::Usage(Usage { input_tokens: 9, ..Usage::default() })],
                    preamble: true,
                    ..Frame::default()
                }),
                Some(Piece::Word(word)) => Ok(Frame {
                    raw: word.into(),
                    events: vec![ChatEvent::Text { choice: 0, text: word.into() }],
                    ..Frame::default()
                }),
                Some(Piece::Finish(choice, reason)) => Ok(Frame {
                    raw: ".".into(),
                    events: vec![ChatEvent::Finish { choice, reason }],
                    ..Frame::default()
                }),
                Some(Piece::Breaks(error)) => Err(error),
                None => {
                    ended.store(true, Ordering::SeqCst);
                    return None;
                }
            };
            return Some((frame, (pieces, watch, ended)));
        }
    })
    .boxed()
}

/// A time that stands still until somebody waits for it with nothing else to do: then the wait is over at once.
pub(crate) struct Hand {
    now: Mutex<Instant>,
    /// Whether waits end at all.
    fires: bool,
    waited: Mutex<Vec<Duration>>,
}

impl Hand {
    pub(crate) fn new() -> Arc<Self> {
        Self::with(true)
    }

    /// A time in which no wait ever ends.
    pub(crate) fn still() -> Arc<Self> {
        Self::with(false)
    }

    fn with(fires: bool) -> Arc<Self> {
        Arc::new(Self { now: Mutex::new(Instant::now()), fires, waited: Mutex::default() })
    }

    pub(crate) fn pass(&self, span: Duration) {
        *self.now.lock().expect("unpoisoned") += span;
    }

    /// The waits that ended.
    pub(crate) fn waited(&self) -> Vec<Duration> {
        self.waited.lock().expect("unpoisoned").clone()
    }
}

/// Shared by the router and the test.
pub(crate) struct Shared(pub(crate) Arc<Hand>);

impl Time for Shared {
    fn now(&self) -> Instant {
        *self.0.now.lock().expect("unpoisoned")
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        let (hand, until) = (Arc::clone(&self.0), self.now() + span);
        async move {
            if !hand.fires {
                pending::<()>().await;
            }
            let mut now = hand.now.lock().expect("unpoisoned");
            *now = until.max(*now);
            hand.waited.lock().expect("unpoisoned").push(span);
        }
        .boxed()
    }
}

pub(crate) fn router(actors: &[&Arc<Actor>], hand: &Arc<Hand>, routes: Vec<Route>) -> Router {
    let providers = actors.iter().map(|a| (a.id.to_owned(), Arc::clone(a) as Arc<dyn Inference>)).collect();
    Router::with(providers, routes, Arc::new(Shared(Arc::clone(hand))), Dice::seeded(7)).expect("a good table")
}

pub(crate) fn cx() -> Cx {
    Cx::internal("t", "r")
}

pub(crate) fn question(model: &str) -> ChatRequest {
    ChatRequest::typed(model, Chat::default())
}

/// What came of a request: the words, the error that ended them, and the reply's head.
pub(crate) struct Heard {
    pub(crate) head: ReplyHead,
    pub(crate) words: String,
    pub(crate) error: Option<Error>,
}

pub(crate) async fn ask(router: &Router, model: &str) -> Result<Heard> {
    hear(router.chat(&cx(), question(model)).await?).await
}

pub(crate) async fn hear(reply: ChatReply) -> Result<Heard> {
    let ChatReply { head, mut frames } = reply;
    let (mut words, mut error) = (String::new(), None);
    while let Some(frame) = frames.next().await {
        match frame {
            Ok(frame) => words.push_str(std::str::from_utf8(&frame.raw).expect("text")),
            Err(e) => error = Some(e),
        }
    }
    Ok(Heard { head, words, error })
}
