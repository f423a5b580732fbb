//! Changes single top-level members of a JSON object without touching any other byte.
//!
//! The closed list of what a passthrough may change is here: the model's name, `stream_options` so that upstream
//! reports usage, and `store` and `metadata`, which are about what this house keeps; and for a server that is known to
//! refuse a member, or to call it otherwise, that member. Everything else goes on as the client wrote it.

use std::{ops::Range, str};

use bytes::Bytes;
use frontdesk_api::chat::Source;
use serde_json::Value;

use crate::members::members;

/// The body to send upstream: `model` renamed, with `ask_usage` a stream that ends with usage, and without what the
/// client wants to have stored here.
#[must_use]
pub fn for_upstream<T>(source: &Source<T>, model: &str, ask_usage: bool) -> Bytes {
    let body = edited(source, model, ask_usage);
    if source.marks.store.is_none() && source.marks.metadata.is_none() {
        return body;
    }
    reshaped(&body, &[], &["store", "metadata"])
}

fn edited<T>(source: &Source<T>, model: &str, ask_usage: bool) -> Bytes {
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
        Some(at) if ask_usage => edits[1] = with_usage(&body[at.clone()], at.start),
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

/// The same object with some of its members under other names, and without others. Every value stays as it was
/// written; an object that has none of them is given back as it is.
///
/// A member whose new name is there already is left out: two values for one name could mean different things to
/// different readers.
#[must_use]
pub fn reshaped(body: &Bytes, renamed: &[(&str, &str)], dropped: &[&str]) -> Bytes {
    if renamed.is_empty() && dropped.is_empty() {
        return body.clone();
    }
    let mut found: Vec<(&str, Range<usize>)> = vec![];
    let whole = members(body, |name, at| found.extend(str::from_utf8(name).map(|name| (name, at))));
    let renames = |name: &str| renamed.iter().find(|(from, _)| *from == name).map(|(_, to)| *to);
    let concerned = |name: &str| dropped.contains(&name) || renames(name).is_some();
    if whole.is_none() || !found.iter().any(|(name, _)| concerned(name)) {
        return body.clone();
    }
    let mut out = Vec::with_capacity(body.len());
    for (name, at) in &found {
        let new = renames(name);
        let taken = new.is_some_and(|new| found.iter().any(|(other, _)| *other == new));
        if taken || dropped.contains(name) {
            continue;
        }
        // A name is written as it was found, with whatever is escaped in it.
        for piece in [if out.is_empty() { "{\"" } else { ",\"" }, new.unwrap_or(name), "\":"] {
            out.extend_from_slice(piece.as_bytes());
        }
        out.extend_from_slice(&body[at.clone()]);
    }
    out.extend_from_slice(if out.is_empty() { b"{}" } else { b"}" });
    Bytes::from(out)
}

/// An answer's bytes with `id` in the place of its own: a whole JSON body, or with `stream` whole server-sent events.
#[must_use]
pub fn with_id(raw: &Bytes, id: &str, stream: bool) -> Bytes {
    let id = quoted(id);
    let mut out = Vec::with_capacity(raw.len() + id.len());
    if !stream {
        put_id(raw, &id, &mut out);
        return out.into();
    }
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_prefix(b"data:") {
            Some(data) => {
                out.extend_from_slice(b"data:");
                put_id(data, &id, &mut out);
            }
            None => out.extend_from_slice(line),
        }
    }
    out.into()
}

fn put_id(json: &[u8], id: &str, out: &mut Vec<u8>) {
    let mut place = None;
    let whole = members(json, |name, at| {
        if name == b"id" {
            place = Some(at);
        }
    });
    match place.filter(|_| whole.is_some()) {
        Some(at) => {
            out.extend_from_slice(&json[..at.start]);
            out.extend_from_slice(id.as_bytes());
            out.extend_from_slice(&json[at.end..]);
        }
        None => out.extend_from_slice(json),
    }
}

/// What to change in `stream_options`, which stand at `place`, so that they say `include_usage: true`: that one member,
/// or all of them where they are null. None when they say so already.
fn with_usage(options: &[u8], place: usize) -> Option<(Range<usize>, String)> {
    let (mut own, mut empty) = (None, true);
    let object = members(options, |name, at| {
        empty = false;
        if name == b"include_usage" {
            own = Some(at);
        }
    });
    let (at, text) = match (object, own) {
        (None, _) => (0..options.len(), r#"{"include_usage":true}"#),
        (_, Some(at)) if options[at.clone()] == *b"true" => return None,
        (_, Some(at)) => (at, "true"),
        (_, None) if empty => (1..1, r#""include_usage":true"#),
        (_, None) => (1..1, r#""include_usage":true,"#),
    };
    Some((place + at.start..place + at.end, text.to_owned()))
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Map;

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
            r#"{"stream_options":{"include_usage":true,"a":1},"model":"m","messages":[1]}"#
        );
        for (options, want) in [("null", r#"{"include_usage":true}"#), ("{ }", r#"{"include_usage":true }"#)] {
            assert_eq!(
                spliced(&format!(r#"{{"stream_options":{options},"model":"m","messages":[1]}}"#), "m", true),
                format!(r#"{{"stream_options":{want},"model":"m","messages":[1]}}"#)
            );
        }
        assert_eq!(
            spliced(r#"{"model":"m","messages":[1]}"#, "m", true),
            r#"{"stream_options":{"include_usage":true},"model":"m","messages":[1]}"#
        );
    }

    #[test]
    fn what_is_stored_here_is_not_told_upstream() {
        let body = r#"{ "model":"p/m", "store":true,"messages":[{"metadata":1}] ,"metadata":{"a":"b"},"x":1.50e3}"#;
        assert_eq!(spliced(body, "m", false), r#"{"model":"m","messages":[{"metadata":1}],"x":1.50e3}"#);
        assert_eq!(
            spliced(r#"{"store":false,"model":"m","messages":[1]}"#, "m", false),
            r#"{"model":"m","messages":[1]}"#
        );
    }

    #[test]
    fn an_answer_gets_another_id_and_keeps_every_other_byte() {
        let again = |raw: &'static str, stream| {
            String::from_utf8(with_id(&Bytes::from_static(raw.as_bytes()), "new", stream).to_vec()).expect("text")
        };
        let whole = r#" {"x":{"id":1}, "id" : "old" ,"n":1.50e3}"#;
        assert_eq!(again(whole, false), r#" {"x":{"id":1}, "id" : "new" ,"n":1.50e3}"#);
        let events = ": ping\r\n\r\ndata: {\"id\":\"old\",\"c\":[{\"id\":2}]}\r\n\r\ndata:{\"id\":null}\n\ndata: {\"c\":1}\n\ndata: [DONE]\n\n";
        let want = ": ping\r\n\r\ndata: {\"id\":\"new\",\"c\":[{\"id\":2}]}\r\n\r\ndata:{\"id\":\"new\"}\n\ndata: {\"c\":1}\n\ndata: [DONE]\n\n";
        assert_eq!(again(events, true), want);
        assert_eq!(again("<html>", false), "<html>");
    }

    #[test]
    fn members_get_other_names_or_go_and_their_values_stay_as_they_were_written() {
        let again = |body: &'static str| {
            let bytes =
                reshaped(&Bytes::from_static(body.as_bytes()), &[("new", "old"), ("seed", "random_seed")], &["store"]);
            String::from_utf8(bytes.to_vec()).expect("text")
        };
        for (body, want) in [
            (r#"{ "a" : 1.50e3 , "new":[ 7 ],"store":true}"#, r#"{"a":1.50e3,"old":[ 7 ]}"#),
            (r#"{"new":1,"old":2,"seed":-0}"#, r#"{"old":2,"random_seed":-0}"#),
            (r#"{"store":{"new":"}"}}"#, "{}"),
            // Nothing of the kind at the top: not a byte changes.
            (r#" { "messages" : [{"store":1,"new":2}] } "#, r#" { "messages" : [{"store":1,"new":2}] } "#),
            ("[1", "[1"),
        ] {
            assert_eq!(again(body), want);
        }
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
            let mut body: Map<String, Value> = extra.into_iter().filter(|(k, _)| !["stream_options", "stream", "store", "metadata"].contains(&k.as_str())).collect();
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
