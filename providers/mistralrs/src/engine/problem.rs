//! What the worker says when it cannot answer: the OpenAI error object and its HTTP status.
//!
//! Invariant: every refusal names the thing that is wrong (a member, a limit, a file) and none carries a prompt.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// `error.code` where a model is not in memory and could not be brought there.
pub(crate) const NOT_LOADED: &str = "model_not_loaded";

/// A request the worker does not answer, as it is shown to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// HTTP status of the answer.
    pub(crate) status: u16,
    /// OpenAI `error.type`, for example `invalid_request_error`.
    pub(crate) kind: &'static str,
    /// One lowercase sentence without a full stop.
    pub(crate) message: String,
    /// The member of the request that is wrong, as a path such as `messages[0].role`.
    pub(crate) param: Option<String>,
    /// OpenAI `error.code`, for example `context_length_exceeded`.
    pub(crate) code: Option<&'static str>,
    /// Seconds after which it is worth asking again.
    pub(crate) retry_after: Option<u64>,
}

impl Problem {
    fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, kind, message, param: None, code: None, retry_after: None }
    }

    /// The request is wrong in `param`.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let mut problem = Self::new(400, "invalid_request_error", message);
        problem.param = Some(param.into());
        problem
    }

    /// The body is not what the route takes; no single member is at fault.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    /// No key, or a wrong one.
    pub(crate) fn unauthenticated() -> Self {
        let mut problem = Self::new(401, "authentication_error", "the engine key is missing or wrong");
        problem.code = Some("invalid_api_key");
        problem
    }

    /// `model` is none of this worker's; `known` are those.
    pub(crate) fn unknown_model(model: &str, known: &[&str]) -> Self {
        let message = format!("this engine has no model '{model}'; it has: {}", known.join(", "));
        let mut problem = Self::new(404, "invalid_request_error", message);
        problem.param = Some("model".into());
        problem.code = Some("model_not_found");
        problem
    }

    /// The body is larger than the worker reads.
    pub(crate) fn too_large(limit_bytes: usize) -> Self {
        let message = format!("the request body is larger than {limit_bytes} bytes");
        Self::new(413, "invalid_request_error", message)
    }

    /// The prompt leaves no room for an answer.
    pub(crate) fn prompt_too_long(prompt_tokens: usize, limit_tokens: usize) -> Self {
        let message = format!(
            "the prompt has {prompt_tokens} tokens; this model takes at most {limit_tokens} tokens of prompt and answer together"
        );
        let mut problem = Self::invalid("messages", message);
        problem.code = Some("context_length_exceeded");
        problem
    }

    /// Every seat is taken and the queue is full.
    pub(crate) fn queue_full(waiting: usize, retry_after: u64) -> Self {
        let message = format!("the engine's queue is full ({waiting} requests are waiting)");
        let mut problem = Self::new(429, "rate_limit_error", message);
        problem.code = Some("queue_full");
        problem.retry_after = Some(retry_after);
        problem
    }

    /// The worker is not ready to take requests.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        let mut problem = Self::new(503, "server_error", message);
        problem.code = Some("engine_unavailable");
        problem.retry_after = Some(1);
        problem
    }

    /// The model is not in memory and could not be brought there, as `cause` says, its name included.
    pub(crate) fn not_loaded(cause: &str, again: std::time::Duration) -> Self {
        let mut problem = Self::new(503, "server_error", cause);
        problem.param = Some("model".into());
        problem.code = Some(NOT_LOADED);
        problem.retry_after = Some(again.as_secs().max(1));
        problem
    }

    /// The engine failed while it was working on this request.
    pub(crate) fn engine(message: impl Into<String>) -> Self {
        let mut problem = Self::new(500, "server_error", message);
        problem.code = Some("engine_error");
        problem
    }

    /// The OpenAI error document.
    pub(crate) fn document(&self) -> Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }})
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.document())).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
