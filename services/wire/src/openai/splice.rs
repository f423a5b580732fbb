//! Changes single top-level members of a JSON object without touching any other byte.
//!
//! The closed list of what a passthrough may change is here: the model's name, and `stream_options`
//! so that upstream reports usage. Everything else goes on as the client wrote it.

use bytes::Bytes;
use frontdesk_api::Result;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    stream_options: Option<&'a RawValue>,
}

/// The body to send upstream: `model` renamed, and with `ask_usage` a stream that ends with usage.
///
/// # Errors
/// `Invalid` when `body` is not a JSON object (callers have peeked before, so this does not happen to clients).
pub fn for_upstream(body: &Bytes, model: &str, ask_usage: bool) -> Result<Bytes> {
    let members: Members<'_> = serde_json::from_slice(body).map_err(super::peek::not_json)?;
    let mut edits: Vec<(std::ops::Range<usize>, String)> = vec![];
    let mut inserted = String::new();
    let name = quoted(model);
    match members.model {
        Some(raw) if raw.get() == name => {}
        Some(raw) => edits.push((range(body, raw), name)),
        None => inserted = format!("\"model\":{name},"),
    }
    if ask_usage {
        match members.stream_options {
            Some(raw) => {
                if let Some(changed) = with_usage(raw) {
                    edits.push((range(body, raw), changed));
                }
            }
            None => inserted.push_str(r#""stream_options":{"include_usage":true},"#),
        }
    }
    if edits.is_empty() && inserted.is_empty() {
        return Ok(body.clone());
    }
    edits.sort_by_key(|(range, _)| range.start);
    let open = body.iter().position(|b| *b == b'{').map_or(0, |at| at + 1);
    let mut out = Vec::with_capacity(body.len() + inserted.len() + 64);
    out.extend_from_slice(&body[..open]);
    out.extend_from_slice(inserted.as_bytes());
    let mut from = open;
    for (range, text) in edits {
        out.extend_from_slice(&body[from..range.start]);
        out.extend_from_slice(text.as_bytes());
        from = range.end;
    }
    out.extend_from_slice(&body[from..]);
    Ok(Bytes::from(out))
}

/// `stream_options` with `include_usage: true`, other members kept; None when it says so already.
fn with_usage(raw: &RawValue) -> Option<String> {
    let mut options: Map<String, Value> = serde_json::from_str(raw.get()).unwrap_or_default();
    if options.get("include_usage") == Some(&Value::Bool(true)) {
        return None;
    }
    options.insert("include_usage".into(), Value::Bool(true));
    Some(Value::Object(options).to_string())
}

/// Where `raw`, borrowed from `body`, stands in it.
fn range(body: &Bytes, raw: &RawValue) -> std::ops::Range<usize> {
    let start = raw.get().as_ptr() as usize - body.as_ptr() as usize;
    start..start + raw.get().len()
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spliced(body: &str, model: &str, ask_usage: bool) -> String {
        let out = for_upstream(&Bytes::copy_from_slice(body.as_bytes()), model, ask_usage).expect("an object");
        String::from_utf8(out.to_vec()).expect("text")
    }

    #[test]
    fn only_the_named_members_change() {
        let body = r#" { "x" : 1.50e3 ,"model": "p/m" , "messages":[ ],"z":null}"#;
        assert_eq!(spliced(body, "m", false), r#" { "x" : 1.50e3 ,"model": "m" , "messages":[ ],"z":null}"#);
        assert_eq!(
            spliced(r#"{"stream_options":{"include_usage":false,"a":1},"model":"p/m"}"#, "m", true),
            r#"{"stream_options":{"a":1,"include_usage":true},"model":"m"}"#
        );
        assert_eq!(
            spliced(r#"{"model":"m","messages":[]}"#, "m", true),
            r#"{"stream_options":{"include_usage":true},"model":"m","messages":[]}"#
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
            let mut body: Map<String, Value> = extra.into_iter().filter(|(k, _)| k != "stream_options").collect();
            body.insert("model".into(), "given".into());
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
