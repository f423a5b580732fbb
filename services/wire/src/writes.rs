//! What a client's dialect must know to be answered by a provider of another one: events in, its bytes out.
//!
//! One value writes one answer, whole or streamed. Invariant: after an answer that broke off, `end` is not called.

use bytes::Bytes;
use frontdesk_api::{ChatEvent, Error, chat::Dialect};

/// Writes one answer.
pub trait Writes: Send + 'static {
    /// Whose bytes these are.
    const DIALECT: Dialect;

    /// What the client may see after these events: whole server-sent events, possibly none.
    fn push(&mut self, events: Vec<ChatEvent>) -> Bytes;

    /// What is left when the provider has ended well.
    fn end(self) -> Bytes;

    /// The answer as one JSON body; instead of `push` and `end`.
    fn whole(self, events: Vec<ChatEvent>) -> Bytes;

    /// An error in the middle of a stream, where the status has long been sent: the last event of it.
    fn broken(error: &Error, request_id: &str) -> Bytes;
}
