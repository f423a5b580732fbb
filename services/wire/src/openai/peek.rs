//! Looks at a chat request just enough to route it: the whole text is checked to be JSON, the few
//! members that matter are read, nothing is copied. The bytes stay the request.

use std::{borrow::Cow, collections::BTreeMap, ops::Range, str};

use bytes::Bytes;
use frontdesk_api::{
    ChatRequest, Error, Result,
    chat::{Dialect, Marks, Source, affinity},
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_cache_key: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    store: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

/// Reads a chat completions body.
///
/// # Errors
/// `Invalid` naming the member at fault, or line and column where the body is not JSON.
pub fn request(bytes: Bytes) -> Result<ChatRequest> {
    let peek: Peek<'_> = serde_json::from_slice(&bytes).map_err(not_json)?;
    let model = model(peek.model)?;
    some_messages(peek.messages)?;
    let (stream, wants_usage) = streaming(peek.stream, peek.stream_options)?;
    let affinity = peek.prompt_cache_key.or(peek.user).map(|key| affinity(key.get()));
    let place = |raw: Option<&RawValue>| raw.map(|raw| place(&bytes, raw));
    let (store, metadata) = (place(peek.store), place(peek.metadata));
    let marks = Marks { store, metadata, ..marks(&bytes, peek.model, peek.stream_options) };
    let source = Source { dialect: Dialect::OpenaiChat, bytes, decode: super::chat::decode, marks };
    let mut request = ChatRequest::from_source(model, stream, wants_usage, source);
    request.affinity = affinity;
    Ok(request)
}

/// A member that is there, be it null: what is null must be replaced, and not written a second time.
pub(super) fn present<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Where the members stand that a passthrough may change.
pub(crate) fn marks(body: &Bytes, model: Option<&RawValue>, stream_options: Option<&RawValue>) -> Marks {
    let place = |raw: Option<&RawValue>| raw.map(|raw| place(body, raw));
    Marks { model: place(model).unwrap_or_default(), stream_options: place(stream_options), ..Marks::default() }
}

/// A client's own notes beside something it stores, by name.
pub type Metadata = BTreeMap<String, String>;

/// The most pairs of metadata, and the longest name and value of one, in characters (OpenAI's API reference, "Metadata").
const METADATA: (usize, usize, usize) = (16, 64, 512);

/// The metadata of a chat that is to be stored; None: it is not.
///
/// # Errors
/// `Invalid` on `store`, or on `metadata` of one that is.
pub fn stored<T>(source: &Source<T>) -> Result<Option<Metadata>> {
    let Some(at) = &source.marks.store else { return Ok(None) };
    let text = |at: &Range<usize>| str::from_utf8(&source.bytes[at.clone()]).unwrap_or_default();
    let store: Option<bool> = serde_json::from_str(text(at))
        .map_err(|e| Error::invalid("store", "'store' must be true or false").with_source(e))?;
    if store != Some(true) {
        return Ok(None);
    }
    metadata(source.marks.metadata.as_ref().map(text)).map(Some)
}

/// Reads a member `metadata`; absent or null: empty.
///
/// # Errors
/// `Invalid` on `metadata`.
pub fn metadata(json: Option<&str>) -> Result<Metadata> {
    let (most, name, value) = METADATA;
    let invalid = |what: &str| Error::invalid("metadata", format!("'metadata' must be {what}"));
    let read: Option<Metadata> = serde_json::from_str(json.unwrap_or("null"))
        .map_err(|e| invalid("an object whose values are texts").with_source(e))?;
    let read = read.unwrap_or_default();
    if read.len() > most {
        return Err(invalid(&format!("an object of at most {most} members, found {}", read.len())));
    }
    for (key, text) in &read {
        // PostgreSQL can neither keep nor compare it.
        if key.contains('\0') || text.contains('\0') {
            return Err(invalid(&format!("free of the character U+0000, which '{}' has", key.escape_debug())));
        }
        if key.chars().count() > name || text.chars().count() > value {
            return Err(invalid(&format!(
                "names of at most {name} characters and texts of at most {value}: '{key}' is longer"
            )));
        }
    }
    Ok(read)
}

/// Where `raw`, borrowed from `body`, stands in it.
pub(crate) fn place(body: &Bytes, raw: &RawValue) -> Range<usize> {
    let start = raw.get().as_ptr() as usize - body.as_ptr() as usize;
    start..start + raw.get().len()
}

/// Whether the answer is wanted in pieces, and usage as the last of them.
pub(super) fn streaming(stream: Option<&RawValue>, options: Option<&RawValue>) -> Result<(bool, bool)> {
    let stream = member::<bool>(stream, "stream", "true or false")?.unwrap_or(false);
    let options = member::<Option<StreamOptions>>(options, "stream_options", "an object")?;
    Ok((stream, options.flatten().and_then(|o| o.include_usage).unwrap_or(false)))
}

/// The name of the model, which is required.
pub(crate) fn model(raw: Option<&RawValue>) -> Result<String> {
    member::<Cow<'_, str>>(raw, "model", "a string, the model to use")?
        .filter(|m| !m.is_empty())
        .map(Cow::into_owned)
        .ok_or_else(|| Error::invalid("model", "missing member 'model': name the model to use"))
}

/// That there is a list of messages with something in it.
pub(crate) fn some_messages(raw: Option<&RawValue>) -> Result<()> {
    match raw.map(RawValue::get).unwrap_or_default().trim_start().as_bytes() {
        [] => Err(Error::invalid("messages", "missing member 'messages': send at least one message")),
        [b'[', rest @ ..] if rest.trim_ascii_start() == b"]" => {
            Err(Error::invalid("messages", "'messages' is empty: send at least one message"))
        }
        [b'[', ..] => Ok(()),
        _ => Err(Error::invalid("messages", "'messages' must be a list of messages")),
    }
}

pub(crate) fn member<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>, name: &str, want: &str) -> Result<Option<T>> {
    let Some(raw) = raw else { return Ok(None) };
    serde_json::from_str(raw.get()).map_err(|e| Error::invalid(name, format!("'{name}' must be {want}")).with_source(e))
}

/// What is wrong with a body that does not parse.
pub(crate) fn not_json(e: serde_json::Error) -> Error {
    let (line, column) = (e.line(), e.column());
    // Serde appends the place in its own words; it is said once.
    let said = e.to_string();
    let said = said.split(" at line ").next().unwrap_or_default();
    let what = match e.classify() {
        serde_json::error::Category::Data => "does not fit this route",
        _ => "is not valid JSON",
    };
    let message = format!("the body {what} (line {line}, column {column}): {said}");
    Error::new(frontdesk_api::Kind::Invalid, message).with_code("invalid_json").with_source(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &'static str) -> Error {
        request(Bytes::from_static(body.as_bytes())).err().expect("must be refused")
    }

    #[test]
    fn reads_what_routing_needs_and_keeps_the_bytes() {
        let body = Bytes::from_static(br#"{"x":1,"model":"a/b\u0041","messages":[{}],"stream":true,"stream_options":{"include_usage":true,"y":2}}"#);
        let seen = request(body.clone()).expect("a good request");
        assert_eq!((seen.model.as_str(), seen.stream, seen.wants_usage), ("a/bA", true, true));
        assert_eq!(seen.source().expect("source").bytes, body);
    }

    #[test]
    fn a_conversation_is_known_by_its_cache_key_else_by_its_user() {
        let number = |members: &str| {
            let body = format!(r#"{{"model":"m","messages":[{{}}]{members}}}"#);
            request(Bytes::from(body)).expect("a good request").affinity
        };
        assert_eq!(number(""), None);
        assert_eq!(number(r#","user":null"#), None);
        assert_ne!(number(r#","user":"a""#), number(r#","user":"b""#));
        assert_eq!(number(r#","prompt_cache_key":"k","user":"a""#), number(r#","user":"b","prompt_cache_key":"k""#));
    }

    #[test]
    fn a_chat_is_stored_where_it_says_so_and_its_notes_have_limits() {
        let read = |members: &str| {
            let request = request(Bytes::from(format!(r#"{{"model":"m","messages":[{{}}]{members}}}"#)));
            stored(request.expect("a good request").source().expect("bytes"))
        };
        for not in ["", r#","store":false"#, r#","store":null,"metadata":7"#, r#","metadata":{"a":"b"}"#] {
            assert_eq!(read(not).expect("a good request"), None, "{not}");
        }
        assert_eq!(read(r#","store":true"#).expect("good"), Some(Metadata::new()));
        let notes = read(r#","metadata":{"b":"2","a":"1"},"store":true"#).expect("good").expect("stored");
        assert_eq!(notes.into_iter().map(|(k, v)| k + &v).collect::<String>(), "a1b2");
        let long = |name: usize, value: usize| {
            format!(r#","store":true,"metadata":{{"{}":"{}"}}"#, "n".repeat(name), "v".repeat(value))
        };
        assert!(read(&long(64, 512)).is_ok());
        let many = (0..17).map(|i| format!(r#""{i}":"x""#)).collect::<Vec<_>>().join(",");
        for (bad, param) in [
            (r#","store":"yes""#.to_owned(), "store"),
            (r#","store":true,"metadata":{"a":1}"#.to_owned(), "metadata"),
            (long(65, 1), "metadata"),
            (long(1, 513), "metadata"),
            (format!(r#","store":true,"metadata":{{{many}}}"#), "metadata"),
            (r#","store":true,"metadata":{"a":"x\u0000"}"#.to_owned(), "metadata"),
        ] {
            assert_eq!(read(&bad).expect_err("refused").param.as_deref(), Some(param), "{bad}");
        }
    }

    #[test]
    fn each_fault_names_its_member() {
        for (body, param) in [
            (r#"{"messages":[{}]}"#, "model"),
            (r#"{"model":7,"messages":[{}]}"#, "model"),
            (r#"{"model":"","messages":[{}]}"#, "model"),
            (r#"{"model":"m"}"#, "messages"),
            (r#"{"model":"m","messages":"hi"}"#, "messages"),
            (r#"{"model":"m","messages":[ ]}"#, "messages"),
            (r#"{"model":"m","messages":[{}],"stream":"yes"}"#, "stream"),
            (r#"{"model":"m","messages":[{}],"stream_options":[1]}"#, "stream_options"),
        ] {
            assert_eq!(refused(body).param.as_deref(), Some(param), "{body}");
        }
    }

    #[test]
    fn broken_json_names_line_and_column() {
        let error = refused("{\"model\":\"m\",\n  oops}");
        assert_eq!(error.message, "the body is not valid JSON (line 2, column 3): key must be a string");
        // Two values for one member could mean different things to us and to the upstream.
        assert!(refused(r#"{"model":"a","model":"b","messages":[{}]}"#).message.contains("duplicate"));
    }
}
