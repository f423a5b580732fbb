//! Values in addresses and headers, as OpenAPI's styles write them (OpenAPI 3.1.1, "Style Examples"; RFC 6570).
//!
//! Invariant: what a value holds is encoded, so that it stays the value: no slash, no separator, no line break of it
//! means anything. Only `allowReserved` lets a query's value keep what is reserved, without `#`, `&` and `+`, which would end it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::plan::Style;

/// RFC 3986's unreserved characters stay.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// With the reserved ones that end nothing in a query.
const RESERVED: &AsciiSet = &VALUE
    .remove(b':')
    .remove(b'/')
    .remove(b'?')
    .remove(b'[')
    .remove(b']')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b',')
    .remove(b';')
    .remove(b'=');

pub(crate) fn encoded(text: &str, reserved: bool) -> String {
    utf8_percent_encode(text, if reserved { RESERVED } else { VALUE }).to_string()
}

/// A scalar as text; None: a list or an object.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null => Some(String::new()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// A value inside another: what is nested deeper than a style can say is written as JSON.
fn inner(value: &Value) -> String {
    scalar(value).unwrap_or_else(|| value.to_string())
}

/// One value in a path or a header: simple, label or matrix, encoded by `encode`.
pub(crate) fn single(
    name: &str,
    value: &Value,
    style: Style,
    explode: bool,
    encode: impl Fn(&str) -> String,
) -> String {
    let (lead, between) = match style {
        Style::Label => (".", if explode { "." } else { "," }),
        Style::Matrix => (";", if explode { ";" } else { "," }),
        _ => ("", ","),
    };
    let named = |name: &str, text: String| {
        if text.is_empty() { name.to_owned() } else { format!("{name}={text}") }
    };
    let matrix = style == Style::Matrix;
    let text = match value {
        Value::Array(items) => {
            let one = |item: &Value| {
                let text = encode(&inner(item));
                if matrix && explode { named(name, text) } else { text }
            };
            let all: Vec<String> = items.iter().map(one).collect();
            let all = all.join(between);
            if matrix && !explode { named(name, all) } else { all }
        }
        Value::Object(members) => {
            let one = |(key, value): (&String, &Value)| {
                format!("{}{}{}", encode(key), if explode { "=" } else { "," }, encode(&inner(value)))
            };
            let all: Vec<String> = members.iter().map(one).collect();
            let all = all.join(between);
            if matrix && !explode { named(name, all) } else { all }
        }
        scalar => {
            let text = encode(&inner(scalar));
            if matrix { named(name, text) } else { text }
        }
    };
    format!("{lead}{text}")
}

/// The `name=value` pairs of a query, a form or a cookie, both encoded.
pub(crate) fn pairs(name: &str, value: &Value, style: Style, explode: bool, reserved: bool) -> Vec<(String, String)> {
    let key = encoded(name, false);
    let write = |value: &Value| encoded(&inner(value), reserved);
    match (style, value) {
        (Style::Json, _) => vec![(key, encoded(&value.to_string(), reserved))],
        (Style::Deep, Value::Object(_) | Value::Array(_)) => {
            let mut out = vec![];
            deep(&key, value, reserved, &mut out);
            out
        }
        (_, Value::Array(items)) if explode => items.iter().map(|item| (key.clone(), write(item))).collect(),
        (_, Value::Object(members)) if explode => {
            members.iter().map(|(name, value)| (encoded(name, false), write(value))).collect()
        }
        (_, Value::Array(items)) => {
            let all: Vec<String> = items.iter().map(write).collect();
            vec![(key, all.join(separator(style)))]
        }
        (_, Value::Object(members)) => {
            let all: Vec<String> =
                members.iter().flat_map(|(name, value)| [encoded(name, false), write(value)]).collect();
            vec![(key, all.join(separator(style)))]
        }
        (_, scalar) => vec![(key, write(scalar))],
    }
}

fn separator(style: Style) -> &'static str {
    match style {
        Style::Space => "%20",
        Style::Pipe => "%7C",
        _ => ",",
    }
}

/// `filter[a][b]=1`; lists inside as `filter[a][]=1`, of objects as `items[0][a]=1`: without its number a server could not tell
/// where one ends (Stripe, PHP and Node's qs read both so).
fn deep(key: &str, value: &Value, reserved: bool, out: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                deep(&format!("{key}%5B{}%5D", encoded(name, false)), value, reserved, out);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let place = if scalar(item).is_some() { String::new() } else { i.to_string() };
                deep(&format!("{key}%5B{place}%5D"), item, reserved, out);
            }
        }
        scalar => out.push((key.to_owned(), encoded(&inner(scalar), reserved))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(style: Style, explode: bool, value: Value) -> String {
        single("color", &value, style, explode, |text| encoded(text, false))
    }

    fn query(style: Style, explode: bool, value: Value) -> String {
        let pairs = pairs("color", &value, style, explode, false);
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    }

    /// The table of the specification, its order of members being JSON's.
    #[test]
    fn the_specifications_examples_come_out_as_it_says() {
        let (text, list) = (json!("blue"), json!(["blue", "black", "brown"]));
        let object = json!({ "B": 150, "G": 200, "R": 100 });
        for (style, explode, on_text, on_list, on_object) in [
            (Style::Matrix, false, ";color=blue", ";color=blue,black,brown", ";color=B,150,G,200,R,100"),
            (Style::Matrix, true, ";color=blue", ";color=blue;color=black;color=brown", ";B=150;G=200;R=100"),
            (Style::Label, false, ".blue", ".blue,black,brown", ".B,150,G,200,R,100"),
            (Style::Label, true, ".blue", ".blue.black.brown", ".B=150.G=200.R=100"),
            (Style::Simple, false, "blue", "blue,black,brown", "B,150,G,200,R,100"),
            (Style::Simple, true, "blue", "blue,black,brown", "B=150,G=200,R=100"),
        ] {
            assert_eq!(path(style, explode, text.clone()), on_text);
            assert_eq!(path(style, explode, list.clone()), on_list);
            assert_eq!(path(style, explode, object.clone()), on_object);
        }
        assert_eq!(path(Style::Matrix, false, json!("")), ";color");
        for (style, explode, on_list, on_object) in [
            (Style::Form, false, "color=blue,black,brown", "color=B,150,G,200,R,100"),
            (Style::Form, true, "color=blue&color=black&color=brown", "B=150&G=200&R=100"),
            (Style::Space, false, "color=blue%20black%20brown", "color=B%20150%20G%20200%20R%20100"),
            (Style::Pipe, false, "color=blue%7Cblack%7Cbrown", "color=B%7C150%7CG%7C200%7CR%7C100"),
            (
                Style::Deep,
                true,
                "color%5B%5D=blue&color%5B%5D=black&color%5B%5D=brown",
                "color%5BB%5D=150&color%5BG%5D=200&color%5BR%5D=100",
            ),
        ] {
            assert_eq!(query(style, explode, list.clone()), on_list);
            assert_eq!(query(style, explode, object.clone()), on_object);
        }
        assert_eq!(query(Style::Form, true, json!("")), "color=");
        assert_eq!(query(Style::Json, false, json!({ "a": [1] })), "color=%7B%22a%22%3A%5B1%5D%7D");
        assert_eq!(
            query(Style::Deep, true, json!({ "a": { "b": [1, 2] } })),
            "color%5Ba%5D%5Bb%5D%5B%5D=1&color%5Ba%5D%5Bb%5D%5B%5D=2"
        );
        assert_eq!(
            query(Style::Deep, true, json!([{ "a": 1 }, { "a": 2, "b": [3] }])),
            "color%5B0%5D%5Ba%5D=1&color%5B1%5D%5Ba%5D=2&color%5B1%5D%5Bb%5D%5B%5D=3"
        );
    }

    #[test]
    fn a_value_stays_a_value() {
        assert_eq!(path(Style::Simple, false, json!("a/b?c#d&e%2f\r\n\u{f6}")), "a%2Fb%3Fc%23d%26e%252f%0D%0A%C3%B6");
        assert_eq!(query(Style::Form, true, json!("a&b=c+d e")), "color=a%26b%3Dc%2Bd%20e");
        assert_eq!(pairs("q", &json!("a/b:c&d#e+f"), Style::Form, true, true)[0].1, "a/b:c%26d%23e%2Bf");
        assert_eq!(query(Style::Form, false, json!([1, true, null, { "a": 1 }])), "color=1,true,,%7B%22a%22%3A1%7D");
    }
}
