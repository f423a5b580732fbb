//! Waits until an answer begins: what came before its first content is held back, so that a failure there leaves the
//! client's answer untouched and another target can give it.
//!
//! Invariant: content is never held, and what was held comes first.

use frontdesk_api::{
    ChatReply, Error, Frame, Result,
    chat::{ChatEvent, ReplyHead, Usage},
};
use futures::{StreamExt, stream::BoxStream};

use crate::ask::Fault;

/// The most bytes of a beginning without content that are held, roughly. A server that says so much says something.
const MOST_HELD: usize = 64 * 1024;

/// An answer that has begun, or that nobody waits for.
pub(crate) struct Begun {
    pub(crate) head: ReplyHead,
    pub(crate) held: Vec<Frame>,
    pub(crate) rest: BoxStream<'static, Result<Frame>>,
}

impl Begun {
    /// An answer as it comes.
    pub(crate) fn at_once(reply: ChatReply) -> Self {
        Self { head: reply.head, held: vec![], rest: reply.frames }
    }
}

/// # Errors
/// The answer's own, and `Upstream` where it ended before it began.
pub(crate) async fn begun(reply: ChatReply) -> Result<Begun, Box<Fault>> {
    let ChatReply { head, frames: mut rest } = reply;
    let (mut held, mut bytes, mut usage): (Vec<Frame>, usize, Option<Usage>) = (vec![], 0, None);
    while let Some(frame) = rest.next().await {
        let frame = frame.map_err(|error| Box::new(Fault { error, usage }))?;
        for event in &frame.events {
            if let ChatEvent::Usage(counted) = event {
                usage = Some(*counted);
            }
        }
        bytes += frame.raw.len();
        let begins = !frame.preamble || bytes > MOST_HELD;
        held.push(frame);
        if begins {
            return Ok(Begun { head, held, rest });
        }
    }
    let message = format!("provider '{}' ended its answer before it began", head.provider);
    Err(Box::new(Fault { error: Error::upstream(message).with_code("empty_answer"), usage }))
}
