//! Errors as Anthropic's clients read them.
//!
//! Statuses are those of the one table (`crate::status`) but for one: what is not ready or out of capacity is 529
//! here and not 503, because that is the number that Anthropic's API pairs with `overloaded_error` and that clients
//! wait and ask again upon. Source: Anthropic's API reference, "Errors".

use frontdesk_api::{Error, Kind};
use serde_json::{Value, json};

use crate::status::shown;

/// Anthropic's status of an API that is overloaded.
const OVERLOADED: u16 = 529;

/// The HTTP status of a kind of error.
#[must_use]
pub fn status(kind: Kind) -> u16 {
    match kind {
        Kind::Unavailable => OVERLOADED,
        _ => shown(kind).status,
    }
}

/// The error body, and the data of a stream's `error` event. `details` holds the code and the member at fault
/// where there are any, under the names the official SDK reads.
#[must_use]
pub fn body(error: &Error, request_id: &str) -> Value {
    let mut said = json!({ "type": shown(error.kind).anthropic, "message": error.message });
    if error.code.is_some() || error.param.is_some() {
        said["details"] = json!({ "error_code": error.code, "param": error.param });
    }
    json!({ "type": "error", "error": said, "request_id": request_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Oracle: the error types and statuses of Anthropic's API reference, "Errors".
    #[test]
    fn every_status_has_the_type_that_anthropic_gives_it() {
        for (kind, status_, name) in [
            (Kind::Invalid, 400, "invalid_request_error"),
            (Kind::Unauthenticated, 401, "authentication_error"),
            (Kind::Forbidden, 403, "permission_error"),
            (Kind::NotFound, 404, "not_found_error"),
            (Kind::Conflict, 409, "conflict_error"),
            (Kind::TooLarge, 413, "request_too_large"),
            (Kind::RateLimited, 429, "rate_limit_error"),
            (Kind::Internal, 500, "api_error"),
            (Kind::Timeout, 504, "timeout_error"),
            (Kind::Unavailable, 529, "overloaded_error"),
        ] {
            assert_eq!(status(kind), status_, "{kind:?}");
            assert_eq!(body(&Error::new(kind, "m"), "r")["error"]["type"], name);
        }
    }

    #[test]
    fn code_and_member_stand_in_the_details() {
        let error = Error::invalid("model", "no such model").with_code("model_not_found");
        let want = json!({
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "no such model",
                "details": { "error_code": "model_not_found", "param": "model" },
            },
            "request_id": "req_1",
        });
        assert_eq!(body(&error, "req_1"), want);
    }
}
