//! Changes single top-level members of a JSON object without touching any other byte.
//!
//! The closed list of what a passthrough may change is here: the model's name, and `stream_options`
//! so that upstream reports usage. Everything else goes on as the client wrote it.

use std::ops::Range;

use bytes::Bytes;
use frontdesk_api::chat::Source;
use serde_json::{Map, Value};

/// The body to send upstream: `model` renamed, and with `ask_usage` a stream that ends with usage.
#[must_use]
pub fn for_upstream<T>(source: &Source<T>, model: &str, ask_usage: bool) -> Bytes {
    let (body, marks) = (&source.bytes, &source.marks);
    let name = quoted(model);
    let mut edits: [Option<(Range<usize>, String)>; 2] = [None, None];
    let mut inserted = String::new();
    if marks.model.is_empty() {
        inserted = format!("\"model\":{name},");
    } else if body[marks.model.clone()] != *name.as_bytes() {
        edits[0] = Some((marks.model.clone(), name));
    }
    match &marks.stream_options {
        Some(at) if ask_usage => edits[1] = with_usage(&body[at.clone()]).map(|changed| (at.clone(), changed)),
        None if ask_usage => inserted.push_str(r#""stream_options":{"include_usage":true},"#),
        _ => {}
    }
    if inserted.is_empty() && edits.iter().all(Option::is_none) {
        return body.clone();
    }
    edits.sort_by_key(|edit| edit.as_ref().map(|(at, _)| at.start));
    let mut out = Vec::with_capacity(body.len() + inserted.len() + 64);
    let mut from = 0;
    if !inserted.is_empty() {
        from = body.iter().position(|b| *b == b'{').map_or(0, |at| at + 1);
        out.extend_from_slice(&body[..from]);
        out.extend_from_slice(inserted.as_bytes());
    }
    for (at, text) in edits.into_iter().flatten() {
        out.extend_from_slice(&body[from..at.start]);
        out.extend_from_slice(text.as_bytes());
        from = at.end;
    }
    out.extend_from_slice(&body[from..]);
    Bytes::from(out)
}

/// `stream_options` with `include_usage: true`, other members kept; None when it says so already.
fn with_usage(raw: &[u8]) -> Option<String> {
    let mut options: Map<String, Value> = serde_json::from_slice(raw).unwrap_or_default();
    if options.get("include_usage") == Some(&Value::Bool(true)) {
        return None;
    }
    options.insert("include_usage".into(), Value::Bool(true));
    Some(Value::Object(options).to_string())
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spliced(body: &str, model: &str, ask_usage: bool) -> String {
        let request = crate::openai::peek::request(Bytes::copy_from_slice(body.as_bytes())).expect("a request");
        let out = for_upstream(request.source().expect("bytes"), model, ask_usage);
        String::from_utf8(out.to_vec()).expect("text")
    }

    #[test]
    fn only_the_named_members_change() {
        let body = r#" { "x" : 1.50e3 ,"model": "p/m" , "messages":[ {}],"z":null}"#;
        assert_eq!(spliced(body, "m", false), r#" { "x" : 1.50e3 ,"model": "m" , "messages":[ {}],"z":null}"#);
        assert_eq!(
            spliced(r#"{"stream_options":{"include_usage":false,"a":1},"model":"p/m","messages":[1]}"#, "m", true),
            r#"{"stream_options":{"a":1,"include_usage":true},"model":"m","messages":[1]}"#
        );
        assert_eq!(
            spliced(r#"{"model":"m","messages":[1]}"#, "m", true),
            r#"{"stream_options":{"include_usage":true},"model":"m","messages":[1]}"#
        );
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(".*", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        // Whatever else a client sends, it arrives: only `model` and `stream_options.include_usage` differ.
        #[test]
        fn unknown_members_survive(extra in prop::collection::hash_map("[a-z_]{1,8}", json(), 0..5), model in ".+", usage: bool) {
            let mut body: Map<String, Value> = extra.into_iter().filter(|(k, _)| k != "stream_options" && k != "stream").collect();
            body.insert("model".into(), "given".into());
            body.insert("messages".into(), serde_json::json!([{}]));
            let sent = Value::Object(body.clone()).to_string();
            let got: Map<String, Value> = serde_json::from_str(&spliced(&sent, &model, usage)).expect("json");
            body.insert("model".into(), model.into());
            if usage {
                body.insert("stream_options".into(), serde_json::json!({"include_usage": true}));
            }
            prop_assert_eq!(got, body);
        }
    }
}
