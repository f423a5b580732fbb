//! What ends a turn's work before its natural end.

use frontdesk_api::{Error, Kind, turn::TurnError};

use crate::running::Why;

/// Why the work stops.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The turn belongs to another worker, or is gone: write nothing.
    Fenced,
    /// The rows cannot be written: write nothing; the turn counts as lost when its lease has passed.
    Rows(Error),
    /// Somebody stopped it.
    Stopped(Why),
    /// Its time is up.
    Deadline,
    /// Something it needs failed.
    Failed(TurnError),
}

/// The reason a turn failed, for people and machines. Internals stay in the log.
pub(crate) fn reason(error: &Error) -> TurnError {
    let by_kind = match error.kind {
        Kind::Invalid => "invalid_request",
        Kind::Unauthenticated | Kind::Forbidden => "forbidden",
        Kind::NotFound => "not_found",
        Kind::Conflict => "conflict",
        Kind::TooLarge => "too_large",
        Kind::RateLimited => "rate_limited",
        Kind::Refused => "refused",
        Kind::Cancelled => "cancelled",
        Kind::Upstream => "upstream",
        Kind::Timeout => "timeout",
        Kind::Unavailable => "unavailable",
        Kind::Internal => "internal",
    };
    // An upstream's own codes vary; that it was the upstream is what stays true.
    let code = error.code.as_deref().filter(|_| error.kind != Kind::Upstream).unwrap_or(by_kind);
    TurnError { code: code.to_owned(), message: error.message.clone(), kind: Some(error.kind) }
}

pub(crate) fn failed(code: &str, message: impl Into<String>) -> TurnError {
    TurnError { code: code.to_owned(), message: message.into(), kind: None }
}
