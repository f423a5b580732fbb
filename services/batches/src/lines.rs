//! What a line of a batch says, and who answers it: the wall between this room and the wires of others.

use std::time::Duration;

use async_trait::async_trait;
use frontdesk_api::{Cx, Error};

use crate::{Answer, EndedLine, Endpoint, Fault, NewLine};

/// Whether a line is worth asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// The answer stands.
    No,
    /// The provider is out of capacity, or down; it may have said when to come back.
    Later(Option<Duration>),
}

#[async_trait]
pub trait Lines: Send + Sync {
    /// Reads an input file. It may take a while; called where blocking is allowed.
    ///
    /// # Errors
    /// What is wrong with it, line by line, or with the file as a whole; never empty.
    fn read(&self, endpoint: Endpoint, input: &[u8]) -> Result<Vec<NewLine>, Vec<Fault>>;

    /// Asks for what a line wants, as if it had come by itself: an error is an answer that failed. Dropped, it stops
    /// the work upstream.
    async fn ask(&self, cx: &Cx, endpoint: Endpoint, request: String) -> (Answer, Again);

    /// The answer to a line that came to nothing for this reason.
    fn refused(&self, cx: &Cx, endpoint: Endpoint, error: &Error) -> Answer;

    /// One line of an output or error file, with its line feed.
    fn write(&self, batch_id: &str, line: &EndedLine) -> String;
}
