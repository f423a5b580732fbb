//! The one error that crosses walls.
//!
//! A `Kind` says what a caller can do about it; the wire crate maps kinds to statuses. The message
//! is public, lowercase, names the thing and what to do. Internals ride in `source`: logged, never sent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, Tried};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, seen from the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The request is malformed or not allowed by a rule of the API; `param` names the field.
    Invalid,
    /// No key, or a key that does not verify.
    Unauthenticated,
    /// A good key without the needed scope.
    Forbidden,
    /// The named thing does not exist for this tenant.
    NotFound,
    /// The thing exists in a state that does not allow this now.
    Conflict,
    /// A body, prompt or result beyond a configured limit.
    TooLarge,
    /// Ask again after `retry_after`.
    RateLimited,
    /// A shield or policy refused.
    Refused,
    /// The caller went away or asked to stop.
    Cancelled,
    /// A server we called answered with an error or nonsense.
    Upstream,
    /// A deadline passed.
    Timeout,
    /// Not ready yet, or out of capacity; ask again after `retry_after`.
    Unavailable,
    /// Our own fault.
    Internal,
}

/// An error with a public face and a private cause.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub kind: Kind,
    /// Public: lowercase, no full stop, says what was being done to what.
    pub message: String,
    /// The request field at fault, as the client spelt it (`messages[0].role`).
    pub param: Option<String>,
    /// A stable machine-readable code (`model_not_found`).
    pub code: Option<String>,
    /// How long to wait before asking again.
    pub retry_after: Option<Duration>,
    /// Private cause: logged, never sent.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// Who was asked before this was said; None where no provider was.
    pub tried: Option<Box<Tried>>,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), param: None, code: None, retry_after: None, source: None, tried: None }
    }
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::new(Kind::Invalid, message) }
    }
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }
    pub fn upstream(message: impl Into<String>) -> Self {
        Self::new(Kind::Upstream, message)
    }
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }
    pub fn cancelled() -> Self {
        Self::new(Kind::Cancelled, "the request was cancelled")
    }
    /// An internal error: `doing` says what was being done; the cause stays private.
    pub fn internal(doing: impl Into<String>, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Box::new(cause)), ..Self::new(Kind::Internal, doing) }
    }
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
    #[must_use]
    pub fn with_tried(mut self, attempts: Vec<Attempt>) -> Self {
        self.tried = Some(Box::new(Tried(attempts)));
        self
    }
    /// The attempts behind the error, in the order they were made.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        self.tried.as_ref().map_or(&[], |tried| &tried.0)
    }
}
