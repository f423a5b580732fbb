//! An answer's frames on their way out of a route: what was held back first, then the rest as it comes.
//!
//! Keeps the target's place until the answer ends or is dropped, tells its breaker of a break in the middle, and ends an
//! answer that falls silent or outlives its deadline. Nothing is allocated for a frame.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use frontdesk_api::{Error, Frame, Kind, Result};
use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::BoxStream};

use crate::{ticket::Ticket, time::Time};

pub(crate) struct Flow {
    held: std::vec::IntoIter<Frame>,
    rest: BoxStream<'static, Result<Frame>>,
    idle: Option<Idle>,
    deadline: Option<BoxFuture<'static, ()>>,
    /// None once the answer has ended.
    ticket: Option<Ticket>,
    provider: String,
    ended: bool,
}

/// A limit of silence. One timer runs for many frames: when it fires early it is set anew.
struct Idle {
    limit: Duration,
    last: Instant,
    timer: BoxFuture<'static, ()>,
    time: Arc<dyn Time>,
}

impl Flow {
    /// `held` comes first; `deadline` ends the answer, as a silence of `idle` does.
    pub(crate) fn new(
        provider: &str,
        held: Vec<Frame>,
        rest: BoxStream<'static, Result<Frame>>,
        ticket: Option<Ticket>,
        (idle, deadline, time): (Option<Duration>, Option<Instant>, &Arc<dyn Time>),
    ) -> Self {
        let now = time.now();
        let idle = idle.map(|limit| Idle { limit, last: now, timer: time.sleep(limit), time: Arc::clone(time) });
        let deadline = deadline.map(|at| time.sleep(at.saturating_duration_since(now)));
        let held = held.into_iter();
        Self { held, rest, idle, deadline, ticket, provider: provider.to_owned(), ended: false }
    }

    fn end(&mut self, error: Error) -> Poll<Option<Result<Frame>>> {
        if let Some(mut ticket) = self.ticket.take() {
            ticket.failed(&error);
        }
        self.ended = true;
        // Stops the work upstream.
        self.rest = futures::stream::empty().boxed();
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Flow {
    type Item = Result<Frame>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame>>> {
        let this = &mut *self;
        if let Some(frame) = this.held.next() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        match this.rest.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(idle) = &mut this.idle {
                    idle.last = idle.time.now();
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(Some(Err(e))) => return this.end(e),
            Poll::Ready(None) => {
                this.ended = true;
                this.ticket = None;
                return Poll::Ready(None);
            }
            Poll::Pending => {}
        }
        if this.deadline.as_mut().is_some_and(|timer| timer.poll_unpin(cx).is_ready()) {
            let message = format!("provider '{}': the time for the answer was over before it ended", this.provider);
            return this.end(Error::new(Kind::Timeout, message).with_code("deadline"));
        }
        if this.idle.as_mut().is_some_and(|idle| idle.is_over(cx)) {
            let ms = this.idle.as_ref().map_or(0, |idle| idle.limit.as_millis());
            let message = format!("provider '{}': the answer fell silent for {ms} ms", this.provider);
            return this.end(Error::new(Kind::Timeout, message).with_code("idle_timeout"));
        }
        Poll::Pending
    }
}

impl Idle {
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        while self.timer.poll_unpin(cx).is_ready() {
            let silent = self.time.now().saturating_duration_since(self.last);
            if silent >= self.limit {
                return true;
            }
            self.timer = self.time.sleep(self.limit - silent);
        }
        false
    }
}
