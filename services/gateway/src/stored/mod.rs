//! Chat completions with `store: true`: caught as they pass, written after they have ended.
//!
//! A request takes room before anyone is asked (`room`), so an answer that has ended is never without and never waits
//! for the database. Its id becomes one of ours, in the client's bytes too: servers give ids that repeat (Ollama's have
//! three digits). Invariants: a request without `store: true` pays one look at a mark; what is kept came whole, whether
//! or not its client stayed to the end; nothing is dropped to keep up: where the room runs out, new requests wait, and
//! are refused after a while.

mod room;
mod sweep;
mod writer;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use frontdesk_api::{ChatEvent, ChatReply, ChatRequest, Clock, Cx, Frame, Ids, Micros, Result, chat::Dialect};
use frontdesk_store::Store;
use frontdesk_wire::{
    members::members,
    openai::{peek::Metadata, splice},
};
use futures::{Stream, StreamExt, stream::BoxStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::config::StoredCompletions;
use room::{Room, Share};
use sweep::Sweep;
use writer::{Ask, Writer};

/// How long a request waits for room.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a reader waits for what has ended to be written before it reads what there is.
const FLUSH: Duration = Duration::from_secs(2);

/// How long the end waits for the writer, which gives answers under way 5 seconds and the database as many after them.
const CLOSE: Duration = Duration::from_secs(15);

/// What is kept, and the way there. Clones share it.
#[derive(Clone)]
pub struct Stored {
    room: Room,
    ended: mpsc::UnboundedSender<Ended>,
    asks: mpsc::UnboundedSender<Ask>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    closing: CancellationToken,
}

/// A completion that is to be kept once it has ended.
pub struct Keeping {
    share: Share,
    to: mpsc::UnboundedSender<Ended>,
    asked: Asked,
}

/// What was asked, by whom, and what it will be called.
struct Asked {
    tenant: String,
    id: String,
    created_at: Micros,
    model: String,
    /// The request, byte for byte.
    body: Bytes,
    metadata: Metadata,
}

/// An answer that has ended, on its way to the database.
struct Ended {
    /// Given back once it is written.
    share: Share,
    asked: Asked,
    answer: Answer,
}

/// As it was told.
enum Answer {
    /// Bytes in OpenAI's words.
    Whole(Bytes),
    /// What it meant; by this model.
    Events(String, Vec<ChatEvent>),
}

impl Stored {
    /// What has ended is written, and what is too old deleted, by tasks on the runtime this is called on.
    #[must_use]
    pub fn open(settings: &StoredCompletions, store: Store, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        let (ended, rows) = mpsc::unbounded_channel();
        let (asks, asked) = mpsc::unbounded_channel();
        let room = Room::new(settings.memory_mb.saturating_mul(1 << 20), PATIENCE);
        let closing = CancellationToken::new();
        let runtime = tokio::runtime::Handle::current();
        if let Some(keep) = settings.keep() {
            let (sweep, closing) = (Sweep { store: store.clone(), clock: clock.clone(), keep }, closing.clone());
            runtime.spawn(async move { closing.run_until_cancelled(sweep.run()).await });
        }
        runtime.spawn(Writer::new(store, room.clone(), rows, asked).run());
        Self { room, ended, asks, clock, ids, closing }
    }

    /// Begins to keep what a client asks for, as its `body` says it; the answer will be decoded, whatever its dialect.
    ///
    /// # Errors
    /// `Unavailable` while too much is under way or waits to be written; it says which.
    pub async fn begin(&self, cx: &Cx, request: &mut ChatRequest, body: Bytes, metadata: Metadata) -> Result<Keeping> {
        let share = self.room.take(&cx.tenant, body.len()).await?;
        let asked = Asked {
            tenant: cx.tenant.clone(),
            id: self.ids.next("chatcmpl"),
            created_at: self.clock.now(),
            model: request.model.clone(),
            body,
            metadata,
        };
        request.wants_events = true;
        Ok(Keeping { share, to: self.ended.clone(), asked })
    }

    /// Returns once everything that has ended by now is written, or that has taken too long: a database in trouble is
    /// for the reader's own query to report.
    pub async fn flush(&self) {
        let (tell, told) = oneshot::channel();
        if self.asks.send(Ask::Flush(tell)).is_ok() {
            let _ = tokio::time::timeout(FLUSH, told).await;
        }
    }

    /// Writes what has ended. Answers still under way are waited for a little; new ones are refused from here on.
    pub async fn close(&self) {
        self.closing.cancel();
        let (tell, told) = oneshot::channel();
        if self.asks.send(Ask::Close(tell)).is_ok() && tokio::time::timeout(CLOSE, told).await.is_err() {
            tracing::error!("the database took no more chat completions: those that had ended last are not stored");
        }
    }
}

impl Keeping {
    /// The id under which it is kept.
    pub fn id(&self) -> &str {
        &self.asked.id
    }

    /// The same answer under its own id, watched to its end.
    #[must_use]
    pub fn over(self, reply: ChatReply) -> ChatReply {
        let ChatReply { head, frames } = reply;
        let own = head.dialect == Dialect::OpenaiChat;
        let heard = match (own, head.streaming) {
            (true, false) => Answer::Whole(Bytes::new()),
            _ => Answer::Events(head.model.clone(), vec![]),
        };
        let keeper = Keeper { keeping: Some(self), frames, own, streaming: head.streaming, heard };
        ChatReply { head, frames: keeper.boxed() }
    }
}

/// An answer on its way.
struct Keeper {
    /// None once the answer has ended, however it did.
    keeping: Option<Keeping>,
    frames: BoxStream<'static, Result<Frame>>,
    /// The bytes are in OpenAI's words and go to the client.
    own: bool,
    streaming: bool,
    heard: Answer,
}

impl Keeper {
    fn hear(&mut self, frame: &mut Frame) {
        let Some(keeping) = &mut self.keeping else { return };
        // What its events hold is about what its bytes are.
        keeping.share.grow(frame.raw.len());
        if self.own {
            frame.raw = splice::with_id(&frame.raw, keeping.id(), self.streaming);
        }
        for event in &mut frame.events {
            if let ChatEvent::Start { id, .. } = event {
                keeping.id().clone_into(id);
            }
        }
        match &mut self.heard {
            Answer::Whole(bytes) if bytes.is_empty() => *bytes = frame.raw.clone(),
            Answer::Whole(bytes) => *bytes = [&bytes[..], &frame.raw].concat().into(),
            Answer::Events(_, events) => events.extend_from_slice(&frame.events),
        }
    }

    /// The answer goes to the writer.
    fn keep(&mut self) {
        let Some(Keeping { mut share, to, asked }) = self.keeping.take() else { return };
        let answer = std::mem::replace(&mut self.heard, Answer::Whole(Bytes::new()));
        share.end();
        // Without a writer the server is at its end, and has said so.
        let _ = to.send(Ended { share, asked, answer });
    }
}

impl Drop for Keeper {
    /// A client that leaves once the answer is all there has had it, though it did not wait for the end of the stream.
    fn drop(&mut self) {
        if let Some(keeping) = &self.keeping
            && self.heard.is_whole(keeping.asked.choices())
        {
            self.keep();
        }
    }
}

impl Answer {
    /// Whether nothing is missing but, in a stream, its usage. A whole body is one frame.
    fn is_whole(&self, choices: usize) -> bool {
        match self {
            Self::Whole(bytes) => !bytes.is_empty(),
            Self::Events(_, events) => {
                let ends = events.iter().filter(|event| matches!(event, ChatEvent::Finish { .. }));
                ends.count() >= choices
            }
        }
    }
}

impl Asked {
    /// How many answers were asked for.
    fn choices(&self) -> usize {
        let mut n = None;
        members(&self.body, |name, at| {
            if name == b"n" {
                n = serde_json::from_slice(&self.body[at]).ok();
            }
        });
        n.unwrap_or(1)
    }
}

impl Stream for Keeper {
    type Item = Result<Frame>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = match ready!(this.frames.poll_next_unpin(cx)) {
            Some(Ok(mut frame)) => {
                this.hear(&mut frame);
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                this.keeping = None;
                Some(Err(error))
            }
            None => {
                this.keep();
                None
            }
        };
        Poll::Ready(next)
    }
}
