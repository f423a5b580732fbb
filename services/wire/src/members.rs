//! The members of a JSON object, found without reading their values: strings are skipped, brackets are counted.
//!
//! For answers that pass through: one look tells the few members that matter, and whether the text holds together at
//! all (a page of HTML, an answer cut in two). It takes less than half the instructions of a parse and checks less:
//! what it accepts may still be no JSON. Invariant: it finds exactly the members that a parser finds in valid JSON.

use std::ops::Range;

/// Calls `visit` with the name (as written, without its quotation marks) and the place of the value of every member.
/// None when `json` is no object or does not hold together; `visit` may have been called before that shows.
pub fn members<'a>(json: &'a [u8], mut visit: impl FnMut(&'a [u8], Range<usize>)) -> Option<()> {
    let mut at = expect(json, space(json, 0), b'{')?;
    at = space(json, at);
    if json.get(at) == Some(&b'}') {
        return end(json, at + 1);
    }
    loop {
        let name = at + 1;
        at = string(json, expect(json, at, b'"')?)?;
        let name = &json[name..at - 1];
        let start = space(json, expect(json, space(json, at), b':')?);
        at = value(json, start)?;
        visit(name, start..at);
        at = space(json, at);
        match json.get(at)? {
            b',' => at = space(json, at + 1),
            b'}' => return end(json, at + 1),
            _ => return None,
        }
    }
}

fn end(json: &[u8], at: usize) -> Option<()> {
    (space(json, at) == json.len()).then_some(())
}

fn space(json: &[u8], at: usize) -> usize {
    let rest = json.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t')).count()
}

fn expect(json: &[u8], at: usize, byte: u8) -> Option<usize> {
    (*json.get(at)? == byte).then_some(at + 1)
}

/// The place after a string whose first character stands at `at`.
fn string(json: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'"', b'\\', json.get(at..)?)?;
        if json[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The place after the value that begins at `at`.
fn value(json: &[u8], at: usize) -> Option<usize> {
    match json.get(at)? {
        b'"' => string(json, at + 1),
        b'{' | b'[' => nested(json, at),
        _ => {
            let rest = &json[at..];
            let length =
                rest.iter().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')).count();
            (length > 0).then_some(at + length)
        }
    }
}

fn nested(json: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match json.get(at)? {
            b'"' => {
                at = string(json, at + 1)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json, value::RawValue};

    use super::*;

    fn found(json: &str) -> Option<Vec<(String, String)>> {
        let mut found = vec![];
        let whole = members(json.as_bytes(), |name, at| {
            found.push((String::from_utf8_lossy(name).into_owned(), json[at].to_owned()));
        });
        whole.map(|()| found)
    }

    #[test]
    fn members_are_found_whatever_their_values_hold() {
        let text = " {\n\"a\" : \"x\\\"}\\\\\" ,\"b\":[{\"usage\":{}},\"]\"],\"c\":-1.5e+3,\"d\":null , \"e\":{}} \n";
        let want =
            [("a", "\"x\\\"}\\\\\""), ("b", "[{\"usage\":{}},\"]\"]"), ("c", "-1.5e+3"), ("d", "null"), ("e", "{}")];
        let found = found(text).expect("an object");
        assert_eq!(found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), want);
        assert_eq!(members(b"{ }", |_, _| panic!("none")), Some(()));
    }

    #[test]
    fn what_does_not_hold_together_is_none() {
        for bad in [
            "",
            "<html>",
            "[]",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,}",
            "{\"a\":\"x}",
            "{\"a\":[1}",
            "{} x",
            "{\"a\" 1}",
            "{a:1}",
        ] {
            assert_eq!(found(bad), None, "{bad}");
        }
        assert_eq!(found("{\"a\":\"\\"), None);
        // Brackets are counted and not matched: a wrong one inside is for a parser to see.
        assert!(found("{\"a\":[1}}").is_some());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::hash_map(".*", inner, 0..5).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn as_a_parser_finds_them(object in prop::collection::btree_map("[a-z\"\\\\é]{0,6}", any_json(), 0..6), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.expect("JSON");
            let parsed: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&text).expect("an object");
            let found = found(&text).expect("an object");
            prop_assert_eq!(found.len(), parsed.len());
            for (name, value) in found {
                let name: String = serde_json::from_str(&format!("\"{name}\"")).expect("a name");
                prop_assert_eq!(&value, parsed[&name].get());
            }
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), Just(b'{'), Just(b'}'), Just(b':'), Just(b','), any::<u8>()], 0..64)) {
            let _ = members(&bytes, |_, at| drop(bytes[at].to_vec()));
        }
    }
}
