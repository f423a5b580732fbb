//! Anthropic's Message Batches: the requests of one read, a line of its results written.
//!
//! Source of the shapes: Anthropic's API reference, "Message Batches", and the types of the official SDK. The
//! parameters of a request keep their bytes.

use std::collections::HashSet;

use bytes::Bytes;
use frontdesk_api::{Error, Result};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::openai::peek::{member, not_json};

/// The most requests of a batch, as Anthropic has it.
pub const MOST_REQUESTS: usize = 100_000;

/// Longest `custom_id`, in characters, as Anthropic has it.
const LONGEST_ID: usize = 64;

/// A request of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub custom_id: String,
    /// The body of `POST /v1/messages`, as it stands there.
    pub params: String,
}

#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    requests: Option<Vec<Item<'a>>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    custom_id: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// Reads the body of `POST /v1/messages/batches`. What is wrong inside `params` is told with the results.
///
/// # Errors
/// `Invalid` naming the member at fault, or line and column where the body is not JSON.
pub fn requests(body: &Bytes) -> Result<Vec<Request>> {
    let peek: Peek<'_> = serde_json::from_slice(body).map_err(not_json)?;
    let items = peek.requests.unwrap_or_default();
    if items.is_empty() {
        return Err(Error::invalid("requests", "'requests' must be a list with at least one request"));
    }
    if items.len() > MOST_REQUESTS {
        let message = format!("'requests' has {} requests, the limit is {MOST_REQUESTS}", items.len());
        return Err(Error::invalid("requests", message));
    }
    let mut seen = HashSet::new();
    let mut requests = Vec::with_capacity(items.len());
    for (i, item) in items.into_iter().enumerate() {
        let (id_at, params_at) = (format!("requests[{i}].custom_id"), format!("requests[{i}].params"));
        let custom_id = member::<String>(item.custom_id, &id_at, "a string")?.unwrap_or_default();
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if custom_id.is_empty() || custom_id.len() > LONGEST_ID || !custom_id.chars().all(fits) {
            let message = format!("{id_at} must have 1 to {LONGEST_ID} letters, digits, '_' and '-'");
            return Err(Error::invalid(id_at, message));
        }
        if !seen.insert(custom_id.clone()) {
            let message = format!("{id_at}: '{custom_id}' stands twice: each request needs its own");
            return Err(Error::invalid(id_at, message));
        }
        let params = item.params.map(RawValue::get).unwrap_or_default();
        if !params.starts_with('{') {
            let message = format!("{params_at} must be an object, the request to create a message");
            return Err(Error::invalid(params_at, message));
        }
        requests.push(Request { custom_id, params: params.to_owned() });
    }
    Ok(requests)
}

/// What came of a request; bodies are one line of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered<'a> {
    /// The message.
    Succeeded(&'a str),
    /// The error body, as by itself.
    Errored(&'a str),
    Canceled,
    Expired,
}

/// A line of the results, with its line feed.
#[must_use]
pub fn result(custom_id: &str, answered: Answered<'_>) -> String {
    let result = match answered {
        Answered::Succeeded(message) => format!(r#"{{"type":"succeeded","message":{message}}}"#),
        Answered::Errored(error) => format!(r#"{{"type":"errored","error":{error}}}"#),
        Answered::Canceled => r#"{"type":"canceled"}"#.to_owned(),
        Answered::Expired => r#"{"type":"expired"}"#.to_owned(),
    };
    format!("{{\"custom_id\":{},\"result\":{result}}}\n", Value::from(custom_id))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &str) -> Result<Vec<Request>> {
        requests(&Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn requests_keep_the_bytes_of_their_parameters() {
        let body =
            r#"{"requests":[{"custom_id":"a-1","params":{"max_tokens": 1,"x":1.50}},{"params":{},"custom_id":"b"}]}"#;
        let want = |id: &str, params: &str| Request { custom_id: id.into(), params: params.into() };
        let seen = read(body).expect("requests");
        assert_eq!(seen, [want("a-1", r#"{"max_tokens": 1,"x":1.50}"#), want("b", "{}")]);
    }

    #[test]
    fn each_fault_names_its_member() {
        let item = r#"{"custom_id":"a","params":{}}"#;
        for (body, param) in [
            ("{}".to_owned(), "requests"),
            (r#"{"requests":[]}"#.to_owned(), "requests"),
            (format!(r#"{{"requests":[{item},{item}]}}"#), "requests[1].custom_id"),
            (r#"{"requests":[{"params":{}}]}"#.to_owned(), "requests[0].custom_id"),
            (r#"{"requests":[{"custom_id":"a b","params":{}}]}"#.to_owned(), "requests[0].custom_id"),
            (r#"{"requests":[{"custom_id":7,"params":{}}]}"#.to_owned(), "requests[0].custom_id"),
            (r#"{"requests":[{"custom_id":"a"}]}"#.to_owned(), "requests[0].params"),
            (r#"{"requests":[{"custom_id":"a","params":[]}]}"#.to_owned(), "requests[0].params"),
        ] {
            assert_eq!(read(&body).expect_err("refused").param.as_deref(), Some(param), "{body}");
        }
        assert_eq!(read("{").expect_err("refused").code.as_deref(), Some("invalid_json"));
    }

    // Oracle: `MessageBatchIndividualResponse` of the official SDK.
    #[test]
    fn a_result_says_what_came_of_its_request() {
        let read = |answered| -> Value { serde_json::from_str(&result("a", answered)).expect("JSON") };
        let want = |result: Value| json!({ "custom_id": "a", "result": result });
        assert_eq!(read(Answered::Succeeded("{}")), want(json!({ "type": "succeeded", "message": {} })));
        assert_eq!(read(Answered::Errored("{}")), want(json!({ "type": "errored", "error": {} })));
        assert_eq!(read(Answered::Canceled), want(json!({ "type": "canceled" })));
        assert_eq!(read(Answered::Expired), want(json!({ "type": "expired" })));
    }
}
