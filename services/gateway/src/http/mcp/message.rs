//! Messages of JSON-RPC 2.0 as clients send them and as they are answered.

use bytes::Bytes;
use frontdesk_api::{Error, Kind};
use serde_json::{Map, Value, json};

pub const PARSE_ERROR: i64 = -32700;
pub const INVALID_REQUEST: i64 = -32600;
pub const METHOD_NOT_FOUND: i64 = -32601;
pub const INVALID_PARAMS: i64 = -32602;
pub const INTERNAL_ERROR: i64 = -32603;
/// Revision 2026-07-28: headers say otherwise than the body.
pub const HEADER_MISMATCH: i64 = -32020;
/// Revision 2026-07-28: asked by a revision that is not spoken.
pub const UNSUPPORTED_VERSION: i64 = -32022;

/// What a client sends.
#[derive(Debug, PartialEq)]
pub enum Message {
    Request {
        id: Value,
        method: String,
        params: Map<String, Value>,
    },
    Notification {
        method: String,
        params: Map<String, Value>,
    },
    /// To something we asked; we ask nothing.
    Response,
}

/// What is wrong, as it is answered.
#[derive(Debug, PartialEq)]
pub struct Wrong {
    pub code: i64,
    pub message: String,
    pub data: Option<Value>,
}

impl Wrong {
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        let code = match error.kind {
            Kind::Invalid | Kind::NotFound | Kind::TooLarge => INVALID_PARAMS,
            _ => INTERNAL_ERROR,
        };
        crate::problem::log(&error);
        Self { code, message: error.message, data: error.code.map(|code| json!({ "code": code })) }
    }
}

/// Reads a body.
///
/// # Errors
/// What it is not.
pub fn read(body: &Bytes) -> Result<Message, Wrong> {
    let value: Value =
        serde_json::from_slice(body).map_err(|e| Wrong::new(PARSE_ERROR, format!("the body is no JSON: {e}")))?;
    let wrong = |why: &str| Wrong::new(INVALID_REQUEST, why);
    let Value::Object(mut members) = value else {
        return Err(wrong("the body must be one message: lists of them are not spoken any more"));
    };
    if members.get("jsonrpc") != Some(&json!("2.0")) {
        return Err(wrong("'jsonrpc' must be \"2.0\""));
    }
    let params = match members.remove("params") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err(wrong("'params' must be an object")),
    };
    match (members.remove("method"), members.remove("id")) {
        (Some(Value::String(method)), None) => Ok(Message::Notification { method, params }),
        (Some(Value::String(method)), Some(id @ (Value::String(_) | Value::Number(_)))) => {
            Ok(Message::Request { id, method, params })
        }
        (Some(Value::String(_)), Some(_)) => Err(wrong("'id' must be a text or a number")),
        (None, _) if members.contains_key("result") || members.contains_key("error") => Ok(Message::Response),
        _ => Err(wrong("'method' must be a text")),
    }
}

/// The answer to a request, or to a body that is none (`id` null).
pub fn answer(id: &Value, outcome: Result<Value, Wrong>) -> Value {
    match outcome {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(Wrong { code, message, data }) => {
            let mut error = json!({ "code": code, "message": message });
            if let Some(data) = data {
                error["data"] = data;
            }
            json!({ "jsonrpc": "2.0", "id": id, "error": error })
        }
    }
}
