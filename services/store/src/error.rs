//! From the drivers' errors to the one error that crosses walls.
//!
//! Invariant: a driver's words, which may quote rows or addresses, stay in `source`.

use std::time::Duration;

use frontdesk_api::{Error, Kind, Result};
use sqlx::error::{DatabaseError, ErrorKind};

/// Says what a query was for when it fails.
pub trait Doing<T> {
    /// `what` completes "could not …": `create an agent`.
    ///
    /// # Errors
    /// `Conflict` for what exists already or refers to nothing, `NotFound` for a row that had to be there,
    /// `Timeout` past the statement timeout, `Unavailable` (with `retry_after`) when the database cannot
    /// serve now, else `Internal`.
    fn doing(self, what: &str) -> Result<T>;
}

impl<T> Doing<T> for sqlx::Result<T> {
    fn doing(self, what: &str) -> Result<T> {
        self.map_err(|cause| explain(what, cause))
    }
}

/// Whether an error says that the database could not be asked just now: that is nobody's fault who wanted to ask it, and
/// over when it answers again.
#[must_use]
pub fn is_out_of_reach(error: &Error) -> bool {
    let cause = error.source.as_deref().and_then(|source| source.downcast_ref::<sqlx::Error>());
    error.kind == Kind::Unavailable && cause.is_some()
}

fn explain(what: &str, cause: sqlx::Error) -> Error {
    let (kind, why) = match &cause {
        sqlx::Error::RowNotFound => (Kind::NotFound, "it does not exist"),
        sqlx::Error::Database(refusal) => refused(refusal.as_ref()),
        sqlx::Error::PoolTimedOut => {
            (Kind::Unavailable, "every database connection is busy, or the database does not answer")
        }
        sqlx::Error::PoolClosed => (Kind::Unavailable, "the database is closed"),
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed => {
            (Kind::Unavailable, "the connection to the database broke")
        }
        _ => (Kind::Internal, "the database answered with an error"),
    };
    let error = Error::new(kind, format!("could not {what}: {why}")).with_source(cause);
    if kind == Kind::Unavailable { error.with_retry_after(Duration::from_secs(1)) } else { error }
}

fn refused(refusal: &dyn DatabaseError) -> (Kind, &'static str) {
    match refusal.kind() {
        ErrorKind::UniqueViolation => return (Kind::Conflict, "it exists already"),
        ErrorKind::ForeignKeyViolation => {
            return (Kind::Conflict, "something it refers to does not exist, or something refers to it");
        }
        _ => {}
    }
    let Some(code) = refusal.code() else { return (Kind::Internal, "the database answered with an error") };
    // Postgres: SQLSTATE (five characters). SQLite: the extended result code, its kind in the low byte.
    match (code.len(), code.as_ref(), code.parse::<u32>().map(|n| n & 0xff)) {
        (5, "22021", _) => (Kind::Invalid, "a text in it has a character that the database cannot keep (a zero byte)"),
        (5, "57014", _) => (Kind::Timeout, "the database took too long"),
        (5, "40001" | "40P01", _) => (Kind::Unavailable, "another change came in between; try again"),
        (5, "25P03" | "25P04", _) => {
            (Kind::Unavailable, "the database ended a transaction that stood still for too long")
        }
        (5, "25006", _) => (Kind::Unavailable, "the database takes no writes now: it stands by for another"),
        (5, "53100", _) => (Kind::Unavailable, "the database's disk is full"),
        (5, state, _) if state.starts_with("08") || state.starts_with("53") || state.starts_with("57P") => {
            (Kind::Unavailable, "the database is stopping, starting or out of capacity")
        }
        (1..=4, _, Ok(5 | 6)) => (Kind::Unavailable, "the database file is locked by another program"),
        (1..=4, _, Ok(13)) => (Kind::Unavailable, "the disk is full"),
        (1..=4, _, Ok(10)) => (Kind::Unavailable, "the disk failed to read or write"),
        (1..=4, _, Ok(11 | 26)) => (Kind::Internal, "the database file is damaged"),
        _ => (Kind::Internal, "the database answered with an error"),
    }
}

/// Whether the connection is gone (as opposed to a statement that was refused).
pub(crate) fn is_broken(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(refusal) => refusal
            .code()
            .is_some_and(|c| matches!(c.as_ref(), "57P01" | "57P02" | "25P02" | "25P03") || c.starts_with("08")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_database_that_does_not_answer_is_out_of_reach() {
        let said = |cause: sqlx::Error| Err::<(), _>(cause).doing("look").expect_err("an error");
        assert!(is_out_of_reach(&said(sqlx::Error::PoolTimedOut)));
        assert!(is_out_of_reach(&said(sqlx::Error::WorkerCrashed)));
        assert!(!is_out_of_reach(&said(sqlx::Error::RowNotFound)));
        assert!(!is_out_of_reach(&Error::unavailable("a model's server is busy")));
    }
}
