//! Chat completions with `store: true`: caught as they pass, written after they have ended.
//!
//! A request takes its place in a bounded channel before anyone is asked, as the books do (`ledger/src/call.rs`), so an
//! answer that has ended is never without one and never waits for the database. Its id becomes one of ours, in the
//! client's bytes too: servers give ids that repeat (Ollama's have three digits). Invariants: a request without
//! `store: true` pays one look at a mark; only an answer that came to its own end is kept; nothing is dropped to keep
//! up: where the places run out, new requests wait, and are refused after a while.

mod writer;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use frontdesk_api::{ChatEvent, ChatReply, ChatRequest, Clock, Cx, Error, Frame, Ids, Micros, Result, chat::Dialect};
use frontdesk_store::Store;
use frontdesk_wire::openai::{peek::Metadata, splice};
use futures::{Stream, StreamExt, stream::BoxStream};
use tokio::sync::{
    mpsc::{self, OwnedPermit, error::TrySendError},
    oneshot,
};

use writer::{Ask, Writer};

/// Answers under way or waiting to be written. Their requests are in memory meanwhile, 8 MiB each at the most.
const PLACES: usize = 256;

/// How long a request waits for its place while the database does not keep up.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a reader waits for what has ended to be written before it reads what there is.
const FLUSH: Duration = Duration::from_secs(2);

/// How long the end waits for the writer, which gives answers under way 5 seconds and the database as many after them.
const CLOSE: Duration = Duration::from_secs(15);

/// What is kept, and the way there. Clones share it.
#[derive(Clone)]
pub struct Stored {
    ended: mpsc::Sender<Ended>,
    asks: mpsc::UnboundedSender<Ask>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

/// A completion that is to be kept once it has ended.
pub struct Keeping {
    place: OwnedPermit<Ended>,
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
    /// What has ended is written by a task on the runtime this is called on.
    #[must_use]
    pub fn open(store: Store, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        let (ended, rows) = mpsc::channel(PLACES);
        let (asks, asked) = mpsc::unbounded_channel();
        tokio::runtime::Handle::current().spawn(Writer::new(store, rows, asked).run());
        Self { ended, asks, clock, ids }
    }

    /// Begins to keep what a client asks for; the answer will be decoded, whatever its dialect.
    ///
    /// # Errors
    /// `Unavailable` while too much waits to be written.
    pub async fn begin(&self, cx: &Cx, request: &mut ChatRequest, metadata: Metadata) -> Result<Keeping> {
        let place = self.place().await?;
        let asked = Asked {
            tenant: cx.tenant.clone(),
            id: self.ids.next("chatcmpl"),
            created_at: self.clock.now(),
            model: request.model.clone(),
            body: request.source().map(|source| source.bytes.clone()).unwrap_or_default(),
            metadata,
        };
        request.wants_events = true;
        Ok(Keeping { place, asked })
    }

    async fn place(&self) -> Result<OwnedPermit<Ended>> {
        let sender = match self.ended.clone().try_reserve_owned() {
            Ok(place) => return Ok(place),
            Err(TrySendError::Full(sender)) => sender,
            Err(TrySendError::Closed(_)) => return Err(unavailable("the server is stopping: ask again")),
        };
        match tokio::time::timeout(PATIENCE, sender.reserve_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(unavailable("the server is stopping: ask again")),
            Err(_) => Err(unavailable("too many answers wait to be stored, the database does not keep up: ask again")),
        }
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
        let (tell, told) = oneshot::channel();
        if self.asks.send(Ask::Close(tell)).is_ok() && tokio::time::timeout(CLOSE, told).await.is_err() {
            tracing::error!("the database took no more chat completions: those that had ended last are not stored");
        }
    }
}

fn unavailable(message: &str) -> Error {
    Error::unavailable(message).with_retry_after(Duration::from_secs(1))
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
        let Some(keeping) = &self.keeping else { return };
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
                if let Some(Keeping { place, asked }) = this.keeping.take() {
                    let answer = std::mem::replace(&mut this.heard, Answer::Whole(Bytes::new()));
                    place.send(Ended { asked, answer });
                }
                None
            }
        };
        Poll::Ready(next)
    }
}
