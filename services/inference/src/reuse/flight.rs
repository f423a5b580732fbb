//! One answer for many: equal requests that are under way at the same time are asked once.
//!
//! A task asks and tells everyone what it hears, so that whoever came first may leave first. Requests join until the
//! first frame has come. Invariants: everyone hears every frame from the first, in order, or the same error; when the
//! last one has left, the work upstream stops. The quickest reader sets the pace: upstream is read on while it has read
//! nearly all, so what waits for it is little, as with an answer of its own. What the others have not read yet waits for
//! them and shares its bytes with the others'; one that falls too far behind hears an error, since nobody else shall
//! wait for it and no answer may be begun twice.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use frontdesk_api::{
    ChatReply, Cx, Error, Frame, Kind, Result,
    chat::{ReplyHead, Reuse},
};
use futures::{StreamExt, future::BoxFuture, stream};
use tokio::sync::{
    Notify,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument;

use super::{key::Key, size};

/// Upstream is read on while somebody has less than this left to read, in bytes: a few frames.
const AHEAD: usize = 64 * 1024;

/// The most that waits for a slow reader, in bytes: longer than nearly all answers.
const BEHIND: usize = 8 * 1024 * 1024;

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
    readers: Vec<Seat>,
    /// Told when somebody has read something.
    read: Arc<Notify>,
}

/// A place at the telling end.
struct Seat {
    tell: UnboundedSender<Said>,
    /// What its reader has not read yet, in bytes.
    unread: Arc<AtomicUsize>,
    /// It asked; the others joined.
    asked: bool,
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
    unread: Arc<AtomicUsize>,
    read: Arc<Notify>,
    present: Arc<DropGuard>,
}

impl Flights {
    /// Joins what is under way for `same`; else `ask` is asked, on the runtime this is called on.
    pub(super) fn join(self: &Arc<Self>, same: Same, ask: BoxFuture<'static, Result<ChatReply>>) -> Reader {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&same)
            && let Some(present) = flight.present.upgrade()
        {
            return lock(&flight.crew).join(present);
        }
        let gone = CancellationToken::new();
        let present = Arc::new(gone.clone().drop_guard());
        let crew = Arc::new(Mutex::new(Crew::default()));
        let reader = lock(&crew).join(Arc::clone(&present));
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
        reader
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
        let read = Arc::clone(&lock(&crew).read);
        loop {
            // Somebody who reads right now is not missed: a permit waits for us.
            while !lock(&crew).may_go_on() {
                if lock(&crew).nobody_reads() {
                    // Who is left was told that it is too slow.
                    return;
                }
                read.notified().await;
            }
            let Some(frame) = frames.next().await else { break };
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
    fn join(&mut self, present: Arc<DropGuard>) -> Reader {
        let (tell, heard) = unbounded_channel();
        if let Some(head) = &self.head {
            let _ = tell.send(Said::Head(Box::new(head.clone())));
        }
        let unread = Arc::new(AtomicUsize::new(0));
        self.readers.push(Seat { tell, unread: Arc::clone(&unread), asked: self.readers.is_empty() });
        Reader { heard, unread, read: Arc::clone(&self.read), present }
    }

    fn begin(&mut self, head: ReplyHead) {
        let mut shared = ReplyHead { reuse: Some(Reuse::Shared), ..head.clone() };
        shared.effort.others.clear();
        for seat in &self.readers {
            let head = if seat.asked { &head } else { &shared };
            let _ = seat.tell.send(Said::Head(Box::new(head.clone())));
        }
        self.head = Some(shared);
    }

    /// Whether somebody has read nearly all there is.
    fn may_go_on(&self) -> bool {
        self.readers.iter().any(|seat| !seat.tell.is_closed() && seat.unread.load(Ordering::Acquire) < AHEAD)
    }

    fn nobody_reads(&self) -> bool {
        self.readers.iter().all(|seat| seat.tell.is_closed())
    }

    /// One that has left, or has fallen too far behind, is told nothing more.
    fn tell(&mut self, frame: &Frame) {
        let size = size(frame);
        self.readers.retain(|seat| {
            // A single frame may be of any size: it is the provider that bounds it.
            let behind = seat.unread.fetch_add(size, Ordering::AcqRel);
            if behind > 0 && behind + size > BEHIND {
                let _ = seat.tell.send(Said::Failed(too_slow()));
                return false;
            }
            seat.tell.send(Said::Frame(frame.clone())).is_ok()
        });
    }

    fn fail(&self, error: Error) {
        for seat in self.readers.iter().filter(|seat| !seat.asked) {
            let _ = seat.tell.send(Said::Failed(same(&error)));
        }
        if let Some(seat) = self.readers.iter().find(|seat| seat.asked) {
            let _ = seat.tell.send(Said::Failed(error));
        }
    }

    fn end(&self) {
        for seat in &self.readers {
            let _ = seat.tell.send(Said::End);
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
        let said = tokio::select! {
            biased;
            () = cancel.cancelled() => Said::Failed(Error::cancelled()),
            said = self.heard.recv() => said.unwrap_or_else(|| Said::Failed(broken())),
        };
        if let Said::Frame(frame) = &said {
            self.unread.fetch_sub(size(frame), Ordering::AcqRel);
            self.read.notify_one();
        }
        said
    }
}

/// Who leaves may have been the one that was waited for.
impl Drop for Reader {
    fn drop(&mut self) {
        self.heard.close();
        self.read.notify_one();
    }
}

/// Beside others that read the same answer: nobody waits for one that does not keep up.
fn too_slow() -> Error {
    let message = "the answer is shared with equal requests and was read too slowly to keep up with them: ask again";
    Error::new(Kind::Timeout, message)
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
