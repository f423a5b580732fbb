//! JSON-RPC 2.0, as much of it as the protocol uses (Model Context Protocol, "Base protocol, Messages").

use std::fmt;

use serde_json::{Map, Value, json};

/// "The method does not exist".
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
/// Revision 2025-11-25: the caller must visit a page first.
pub(crate) const URL_ELICITATION: i64 = -32042;

/// Bytes of a server's own words in an error.
const MOST_WORDS: usize = 500;

pub(crate) fn request(id: u64, method: &str, params: Map<String, Value>) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

pub(crate) fn notification(method: &str, params: Map<String, Value>) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

/// What a server sends.
#[derive(Debug, PartialEq)]
pub(crate) enum Message {
    Response { id: Value, result: Result<Value, RpcError> },
    Request { id: Value, method: String, params: Value },
    Notification { method: String, params: Value },
}

/// An error that a server answered with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RpcError {
    pub(crate) code: i64,
    /// As it came: whoever shows it strikes secrets out of it first.
    pub(crate) message: String,
    /// Null: it said no more.
    pub(crate) data: Value,
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", words_of(&self.message), self.code)
    }
}

/// One message; None for what is none.
pub(crate) fn message(mut value: Value) -> Option<Message> {
    let object = value.as_object_mut()?;
    let id = object.remove("id");
    if let Some(Value::String(method)) = object.remove("method") {
        let params = object.remove("params").unwrap_or_default();
        return Some(match id.filter(|id| !id.is_null()) {
            Some(id) => Message::Request { id, method, params },
            None => Message::Notification { method, params },
        });
    }
    let id = id.unwrap_or_default();
    if let Some(error) = object.get("error").filter(|error| !error.is_null()) {
        let words = error.get("message").and_then(Value::as_str).unwrap_or("no reason given");
        let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
        return Some(Message::Response {
            id,
            result: Err(RpcError {
                code,
                message: words.to_owned(),
                data: error.get("data").cloned().unwrap_or_default(),
            }),
        });
    }
    Some(Message::Response { id, result: Ok(object.remove("result")?) })
}

/// A stranger's words, as long as one may show them and without control characters.
pub(crate) fn words_of(text: &str) -> String {
    let mut end = text.len().min(MOST_WORDS);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_by_their_members() {
        let read = |value| message(value);
        assert_eq!(
            read(json!({ "id": 1, "result": {} })),
            Some(Message::Response { id: json!(1), result: Ok(json!({})) })
        );
        let error = RpcError { code: -32602, message: "no\n such tool".into(), data: Value::Null };
        assert_eq!(error.to_string(), "no  such tool (code -32602)");
        assert_eq!(
            read(json!({ "id": 1, "error": { "code": -32602, "message": "no\n such tool" } })),
            Some(Message::Response { id: json!(1), result: Err(error) })
        );
        assert_eq!(
            read(json!({ "id": "a", "method": "ping" })),
            Some(Message::Request { id: json!("a"), method: "ping".into(), params: Value::Null })
        );
        assert_eq!(
            read(json!({ "method": "notifications/progress", "params": { "progress": 1 } })),
            Some(Message::Notification { method: "notifications/progress".into(), params: json!({ "progress": 1 }) })
        );
        for none in [json!(7), json!([]), json!({}), json!({ "id": 1 })] {
            assert_eq!(read(none), None);
        }
    }

    #[test]
    fn a_servers_words_are_cut_where_a_character_ends() {
        assert_eq!(words_of(&"é".repeat(400)).len(), 500);
        assert_eq!(words_of(&format!("a{}", "é".repeat(400))).len(), 499);
    }
}
