//! An answer: head, then a body that is read in pieces under limits.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use frontdesk_api::{Error, Kind, Result, cx::CancellationToken};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::waits;

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Body,
}

/// Dropping the body closes the connection, which is how an upstream learns that nobody listens any more.
pub struct Body {
    incoming: Incoming,
    cancel: CancellationToken,
    idle: Duration,
}

impl Answer {
    pub(crate) fn new(response: http::Response<Incoming>, cancel: CancellationToken, idle: Duration) -> Self {
        let (head, incoming) = response.into_parts();
        Self { status: head.status, headers: head.headers, body: Body { incoming, cancel, idle } }
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
        loop {
            let frame = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(Error::cancelled()),
                frame = tokio::time::timeout(self.idle, self.incoming.frame()) => frame,
            };
            match frame {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {} // trailers, or nothing
                },
                Ok(Some(Err(e))) => {
                    return Err(Error::upstream("the connection broke off in the middle of the answer").with_source(e));
                }
                Err(_) => {
                    let seconds = self.idle.as_secs();
                    return Err(Error::new(Kind::Timeout, format!("the answer fell silent for {seconds} s")));
                }
            }
        }
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

    /// The beginning of a body that says why something failed: at most `limit` bytes, and what came of one that broke off.
    pub async fn beginning(&mut self, limit: usize) -> Bytes {
        let mut all = BytesMut::new();
        while all.len() < limit {
            let Ok(Some(piece)) = self.piece().await else { break };
            all.extend_from_slice(&piece);
        }
        all.truncate(limit);
        all.freeze()
    }
}

#[cfg(test)]
mod tests;
