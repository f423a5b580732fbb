//! The one table from error kind to HTTP status and wire names. Rendering happens in the gateway
//! (and in the engine worker); nobody else picks a status.

use frontdesk_api::{Error, Kind};

/// How a kind looks on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    pub status: u16,
    /// OpenAI's `error.type`.
    pub openai: &'static str,
    /// Anthropic's `error.type`.
    pub anthropic: &'static str,
}

/// The table. Status names follow OpenAI's and Anthropic's error pages; 499 is nginx's "client closed request".
#[must_use]
pub fn shown(kind: Kind) -> Shown {
    let (status, openai, anthropic) = match kind {
        Kind::Invalid => (400, "invalid_request_error", "invalid_request_error"),
        Kind::Unauthenticated => (401, "authentication_error", "authentication_error"),
        Kind::Forbidden => (403, "permission_error", "permission_error"),
        Kind::NotFound => (404, "not_found_error", "not_found_error"),
        Kind::Conflict => (409, "conflict_error", "conflict_error"),
        Kind::TooLarge => (413, "request_too_large", "request_too_large"),
        Kind::RateLimited => (429, "rate_limit_error", "rate_limit_error"),
        Kind::Refused => (400, "content_policy_violation", "invalid_request_error"),
        Kind::Cancelled => (499, "request_cancelled", "api_error"),
        Kind::Upstream => (502, "upstream_error", "api_error"),
        Kind::Timeout => (504, "timeout_error", "timeout_error"),
        Kind::Unavailable => (503, "service_unavailable", "overloaded_error"),
        Kind::Internal => (500, "server_error", "api_error"),
    };
    Shown { status, openai, anthropic }
}

/// The kind an upstream's status means to our caller. An upstream that refuses *our* credentials is an
/// upstream fault: the caller's own key was fine.
#[must_use]
pub fn kind_of_upstream(status: u16) -> Kind {
    match status {
        400 | 405 | 415 | 422 => Kind::Invalid,
        404 => Kind::NotFound,
        408 | 504 => Kind::Timeout,
        409 => Kind::Conflict,
        413 => Kind::TooLarge,
        429 => Kind::RateLimited,
        503 | 529 => Kind::Unavailable,
        _ => Kind::Upstream,
    }
}

/// OpenAI's error body. `request_id` stands beside `error`, where support looks for it.
#[must_use]
pub fn openai_body(error: &Error, request_id: &str) -> serde_json::Value {
    serde_json::json!({
        "error": {
            "message": error.message,
            "type": shown(error.kind).openai,
            "param": error.param,
            "code": error.code,
        },
        "request_id": request_id,
    })
}
