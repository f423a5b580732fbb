//! One answer for many: equal requests that are under way at the same time are asked once.
//!
//! A task asks and tells everyone what it hears, so that whoever came first may leave first. Requests join until the
//! first frame has come. Invariants: everyone hears every frame from the first, in order, or the same error; when the
//! last one has left, the work upstream stops. A frame is told without waiting for anyone; what a slow reader has not
//! read yet waits for it, and shares its bytes with the others'.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use frontdesk_api::{
    ChatReply, Cx, Error, Frame, Kind, Result,
    chat::{ReplyHead, Reuse},
};
use futures::{StreamExt, future::BoxFuture, stream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument;

use super::key::Key;

/// Requests are equal, and alike in whether they want the frame of usage.
type Same = (Key, bool);

/// What is under way on a route and may still be joined.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<Same, Flight>>);

struct Flight {
    /// Held by its readers alone.
    present: Weak<DropGuard>,
    crew: Arc<Mutex<Crew>>,
}

/// Those who wait for one answer; the first of them asked for it.
#[derive(Default)]
struct Crew {
    /// As those are told who did not ask.
    head: Option<ReplyHead>,
    readers: Vec<UnboundedSender<Said>>,
}

/// One thing that is heard.
enum Said {
    Head(Box<ReplyHead>),
    Frame(Frame),
    Failed(Error),
    End,
}

/// One who waits.
pub(super) struct Reader {
    heard: UnboundedReceiver<Said>,
    present: Arc<DropGuard>,
}

impl Flights {
    /// Joins what is under way for `same`; else `ask` is asked, on the runtime this is called on.
    pub(super) fn join(self: &Arc<Self>, same: Same, ask: BoxFuture<'static, Result<ChatReply>>) -> Reader {
        let (tell, heard) = unbounded_channel();
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&same)
            && let Some(present) = flight.present.upgrade()
        {
            lock(&flight.crew).join(tell);
            return Reader { heard, present };
        }
        let gone = CancellationToken::new();
        let present = Arc::new(gone.clone().drop_guard());
        let crew = Arc::new(Mutex::new(Crew::default()));
        lock(&crew).join(tell);
        flights.insert(same, Flight { present: Arc::downgrade(&present), crew: Arc::clone(&crew) });
        let open = Open { flights: Arc::clone(self), same, crew };
        let work = async move {
            tokio::select! {
                biased;
                () = gone.cancelled() => {}
                () = open.carry(ask) => {}
            }
        };
        tokio::runtime::Handle::current().spawn(work.in_current_span());
        Reader { heard, present }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Same, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A flight under way; it can be joined no more when this is dropped, whatever ended it.
struct Open {
    flights: Arc<Flights>,
    same: Same,
    crew: Arc<Mutex<Crew>>,
}

impl Open {
    async fn carry(self, ask: BoxFuture<'static, Result<ChatReply>>) {
        let crew = Arc::clone(&self.crew);
        let mut open = Some(self);
        let ChatReply { head, mut frames } = match ask.await {
            Ok(reply) => reply,
            Err(error) => {
                drop(open);
                return lock(&crew).fail(error);
            }
        };
        lock(&crew).begin(head);
        while let Some(frame) = frames.next().await {
            drop(open.take());
            match frame {
                Ok(frame) => lock(&crew).tell(&frame),
                Err(error) => return lock(&crew).fail(error),
            }
        }
        drop(open);
        lock(&crew).end();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        // Another may have begun since everyone left this one.
        if flights.get(&self.same).is_some_and(|flight| Arc::ptr_eq(&flight.crew, &self.crew)) {
            flights.remove(&self.same);
        }
    }
}

impl Crew {
    fn join(&mut self, tell: UnboundedSender<Said>) {
        if let Some(head) = &self.head {
            let _ = tell.send(Said::Head(Box::new(head.clone())));
        }
        self.readers.push(tell);
    }

    fn begin(&mut self, head: ReplyHead) {
        let shared = ReplyHead { other_attempts: vec![], reuse: Some(Reuse::Shared), ..head.clone() };
        let Some((first, others)) = self.readers.split_first() else { return };
        let _ = first.send(Said::Head(Box::new(head)));
        for reader in others {
            let _ = reader.send(Said::Head(Box::new(shared.clone())));
        }
        self.head = Some(shared);
    }

    /// One that has left hears nothing, which is no harm.
    fn tell(&self, frame: &Frame) {
        for reader in &self.readers {
            let _ = reader.send(Said::Frame(frame.clone()));
        }
    }

    fn fail(&self, error: Error) {
        let Some((first, others)) = self.readers.split_first() else { return };
        for reader in others {
            let _ = reader.send(Said::Failed(same(&error)));
        }
        let _ = first.send(Said::Failed(error));
    }

    fn end(&self) {
        for reader in &self.readers {
            let _ = reader.send(Said::End);
        }
    }
}

impl Reader {
    /// The answer, for a caller who may stop it for himself.
    ///
    /// # Errors
    /// As the provider's; `Cancelled`.
    pub(super) async fn reply(mut self, cx: &Cx) -> Result<ChatReply> {
        let cancel = cx.cancel.clone();
        let head = match self.next(&cancel).await {
            Said::Head(head) => *head,
            Said::Failed(error) => return Err(error),
            Said::Frame(_) | Said::End => return Err(broken()),
        };
        let frames = stream::unfold(Some(self), move |reader| {
            let cancel = cancel.clone();
            async move {
                let mut reader = reader?;
                match reader.next(&cancel).await {
                    Said::Frame(frame) => Some((Ok(frame), Some(reader))),
                    Said::Failed(error) => Some((Err(error), None)),
                    Said::Head(_) => Some((Err(broken()), None)),
                    Said::End => None,
                }
            }
        });
        Ok(ChatReply { head, frames: frames.boxed() })
    }

    async fn next(&mut self, cancel: &CancellationToken) -> Said {
        let _present = &self.present;
        tokio::select! {
            biased;
            () = cancel.cancelled() => Said::Failed(Error::cancelled()),
            said = self.heard.recv() => said.unwrap_or_else(|| Said::Failed(broken())),
        }
    }
}

/// The task that asked is no more: the server is stopping, or a provider panicked.
fn broken() -> Error {
    Error::new(Kind::Internal, "an answer that was shared broke off")
}

/// The same error for another: nobody was asked on its behalf, and the cause is told once.
fn same(error: &Error) -> Error {
    Error {
        param: error.param.clone(),
        code: error.code.clone(),
        retry_after: error.retry_after,
        ..Error::new(error.kind, error.message.clone())
    }
}

fn lock(crew: &Mutex<Crew>) -> MutexGuard<'_, Crew> {
    crew.lock().unwrap_or_else(PoisonError::into_inner)
}
