//! An answer: head, then a body that is read in pieces under limits.

use std::{
    future::{Future as _, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use frontdesk_api::{
    Error, Kind, Result,
    cx::{CancellationToken, WaitForCancellationFutureOwned},
};
use http::{HeaderMap, StatusCode};
use hyper::body::{Body as _, Frame, Incoming};
use tokio::time::{Instant, Sleep};

use crate::{pool::Lease, waits};

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Body,
}

/// Dropping the body closes the connection, which is how an upstream learns that nobody listens any more.
pub struct Body {
    incoming: Incoming,
    /// What the body comes over; None once the answer is read to its end, or the connection has ended.
    lease: Option<Lease>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    idle: Duration,
    /// Since when the piece that comes next is waited for.
    waiting: Option<Instant>,
    /// Set once for many pieces: it is put off where it rings, and not with every piece.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Answer {
    pub(crate) fn new(
        response: http::Response<Incoming>,
        lease: Lease,
        cancel: CancellationToken,
        idle: Duration,
    ) -> Self {
        let (head, incoming) = response.into_parts();
        let cancelled = Box::pin(cancel.cancelled_owned());
        let body = Body { incoming, lease: Some(lease), cancelled, idle, waiting: None, alarm: None };
        Self { status: head.status, headers: head.headers, body }
    }

    /// A header as text; None when absent or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// When the server may be asked again, as it says.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        waits::retry_after(&self.headers)
    }
}

impl Body {
    /// The next piece as it came off the wire; None at a proper end.
    ///
    /// # Errors
    /// `Upstream` when the connection breaks, `Timeout` on a silence longer than `Limits::idle`, `Cancelled`.
    pub async fn piece(&mut self) -> Result<Option<Bytes>> {
        self.waiting = None;
        poll_fn(|cx| self.poll_piece(cx)).await
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.cancelled.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Error::cancelled()));
        }
        loop {
            match self.poll_frame(cx) {
                Poll::Ready(None) => {
                    if let Some(lease) = self.lease.take() {
                        lease.give_back(cx);
                    }
                    return Poll::Ready(Ok(None));
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Poll::Ready(Ok(Some(data))),
                    _ => {} // trailers, or nothing
                },
                Poll::Ready(Some(Err(e))) => {
                    let message = "the connection broke off in the middle of the answer";
                    return Poll::Ready(Err(Error::upstream(message).with_source(e)));
                }
                Poll::Pending => {
                    return self.poll_silence(cx).map(|()| {
                        let seconds = self.idle.as_secs();
                        Err(Error::new(Kind::Timeout, format!("the answer fell silent for {seconds} s")))
                    });
                }
            }
        }
    }

    /// The next frame, the connection driven where there is none yet.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        if self.incoming.is_end_stream() {
            return Poll::Ready(None);
        }
        // Asked first, so that the connection knows that somebody wants to read.
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if self.lease.as_mut().is_some_and(|lease| lease.poll(cx).is_ready()) {
            // What it ended with stands in the body.
            self.lease = None;
        }
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    /// Ready once the piece has been waited for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let end = *self.waiting.get_or_insert_with(Instant::now) + self.idle;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        while alarm.as_mut().poll(cx).is_ready() {
            if alarm.deadline() >= end {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(end);
        }
        Poll::Pending
    }

    /// The whole body.
    ///
    /// # Errors
    /// As `piece`, and `Upstream` when it is longer than `limit` bytes.
    pub async fn whole(&mut self, limit: usize) -> Result<Bytes> {
        let Some(first) = self.piece().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.piece().await? else { return Ok(first) };
        let mut all = BytesMut::from(&first[..]);
        all.extend_from_slice(&second);
        while all.len() <= limit {
            let Some(piece) = self.piece().await? else { return Ok(all.freeze()) };
            all.extend_from_slice(&piece);
        }
        Err(Error::upstream(format!("the answer is longer than the limit of {limit} bytes")))
    }
}
