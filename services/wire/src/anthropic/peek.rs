//! Looks at a Messages request just enough to route it: the whole text is checked to be JSON, the few
//! members that matter are read, nothing is copied. The bytes stay the request.

use bytes::Bytes;
use frontdesk_api::{
    ChatRequest, Error, Result,
    chat::{Dialect, Marks, Source, affinity},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::openai::peek::{member, model, not_json, place, some_messages};

#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
}

/// Reads the body of `POST /v1/messages`.
///
/// # Errors
/// `Invalid` naming the member at fault, or line and column where the body is not JSON.
pub fn request(bytes: Bytes) -> Result<ChatRequest> {
    read(bytes, true)
}

/// Reads the body of `POST /v1/messages/count_tokens`, which has no `max_tokens`.
///
/// # Errors
/// As [`request`].
pub fn count(bytes: Bytes) -> Result<ChatRequest> {
    read(bytes, false)
}

fn read(bytes: Bytes, bounded: bool) -> Result<ChatRequest> {
    let peek: Peek<'_> = serde_json::from_slice(&bytes).map_err(not_json)?;
    let model = model(peek.model)?;
    some_messages(peek.messages)?;
    let bound = member::<u32>(peek.max_tokens, "max_tokens", "a whole number of tokens")?;
    if bounded && bound.is_none() {
        let message = "missing member 'max_tokens': say how many tokens the answer may have";
        return Err(Error::invalid("max_tokens", message));
    }
    let stream = member::<bool>(peek.stream, "stream", "true or false")?.unwrap_or(false);
    // What is wrong with it is for its reader to say.
    let metadata = peek.metadata.and_then(|raw| serde_json::from_str::<Metadata<'_>>(raw.get()).ok());
    let affinity = metadata.and_then(|of| of.user_id).map(|key| affinity(key.get()));
    let marks = Marks { model: peek.model.map(|raw| place(&bytes, raw)).unwrap_or_default(), ..Marks::default() };
    let source = Source { dialect: Dialect::AnthropicMessages, bytes, decode: super::request::decode, marks };
    // Usage is part of every answer in this dialect.
    let mut request = ChatRequest::from_source(model, stream, true, source);
    request.affinity = affinity;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_routing_needs_and_keeps_the_bytes() {
        let body =
            Bytes::from_static(br#"{"future":[1],"model":"up/m","max_tokens":7,"messages":[{}],"stream":true,"x":{}}"#);
        let seen = request(body.clone()).expect("a good request");
        assert_eq!((seen.model.as_str(), seen.stream), ("up/m", true));
        let source = seen.source().expect("source");
        assert_eq!((source.dialect, &source.bytes), (Dialect::AnthropicMessages, &body));
        assert!(seen.needs_events(Dialect::OpenaiChat) && !seen.needs_events(Dialect::AnthropicMessages));
    }

    #[test]
    fn a_conversation_is_known_by_its_user() {
        let number = |metadata: &str| {
            let body = format!(r#"{{"model":"m","max_tokens":1,"messages":[{{}}],"metadata":{metadata}}}"#);
            request(Bytes::from(body)).expect("a good request").affinity
        };
        assert_eq!((number("null"), number("{}"), number("7")), (None, None, None));
        assert_ne!(number(r#"{"user_id":"a"}"#), number(r#"{"user_id":"b"}"#));
        assert_eq!(number(r#"{"user_id":"a","x":1}"#), number(r#"{"x":2,"user_id":"a"}"#));
    }

    #[test]
    fn each_fault_names_its_member() {
        for (body, param) in [
            (r#"{"max_tokens":1,"messages":[{}]}"#, "model"),
            (r#"{"model":"m","max_tokens":1}"#, "messages"),
            (r#"{"model":"m","max_tokens":1,"messages":[]}"#, "messages"),
            (r#"{"model":"m","messages":[{}]}"#, "max_tokens"),
            (r#"{"model":"m","max_tokens":"1","messages":[{}]}"#, "max_tokens"),
            (r#"{"model":"m","max_tokens":-1,"messages":[{}]}"#, "max_tokens"),
            (r#"{"model":"m","max_tokens":1,"messages":[{}],"stream":1}"#, "stream"),
        ] {
            let error = request(Bytes::from_static(body.as_bytes())).err().expect("must be refused");
            assert_eq!(error.param.as_deref(), Some(param), "{body}");
        }
        assert!(count(Bytes::from_static(br#"{"model":"m","messages":[{}]}"#)).is_ok());
    }
}
