//! Filters over the attributes of files, as searches bring them: `ComparisonFilter` and `CompoundFilter`.
//!
//! Bounded in depth and in what it compares with, since every file of a store is put to it. Source of the shapes: OpenAI's
//! API reference, "file search"; the bounds are ours but for those of attributes.

use frontdesk_api::{
    Error, Result,
    attributes::{KEY, TEXT},
    filter::{Filter, Test},
};
use serde_json::Value;

use crate::fields::Fields;

/// How deep filters may stand in one another; one comparison alone is 1.
const DEEP: usize = 8;
/// The most values that one filter compares with, those of its lists among them.
const VALUES: usize = 1_000;

const COMPARISONS: [&str; 8] = ["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"];

/// The filter that stands at `path`.
///
/// # Errors
/// `Invalid` naming the member, or the bound where it is too large.
pub fn read(filter: Value, path: &str) -> Result<Filter> {
    let mut values = 0;
    let read = one(filter, path, 1, &mut values)?;
    if values > VALUES {
        let message = format!("'{path}' compares with {values} values; at most {VALUES} are taken");
        return Err(Error::invalid(path, message));
    }
    Ok(read)
}

fn one(filter: Value, path: &str, depth: usize, values: &mut usize) -> Result<Filter> {
    if depth > DEEP {
        return Err(Error::invalid(
            path,
            format!("'{path}' stands too deep: filters stand in one another up to {DEEP} deep"),
        ));
    }
    let mut fields = Fields::of(filter, path)?;
    let kind = fields.needed("type")?;
    match kind.as_str() {
        "and" | "or" => {
            let at = fields.path("filters");
            let inner = fields.list("filters")?.unwrap_or_default();
            if inner.is_empty() {
                return Err(Error::invalid(at.clone(), format!("'{at}' must be a list of filters, one or more")));
            }
            fields.end()?;
            let inner = inner.into_iter().enumerate();
            let inner = inner.map(|(i, filter)| one(filter, &format!("{at}[{i}]"), depth + 1, values));
            let inner = inner.collect::<Result<_>>()?;
            Ok(if kind == "and" { Filter::All(inner) } else { Filter::Any(inner) })
        }
        _ if COMPARISONS.contains(&kind.as_str()) => {
            let (key, at) = (fields.needed("key")?, fields.path("key"));
            if key.chars().count() > KEY {
                return Err(Error::invalid(at.clone(), format!("'{at}' has more than {KEY} characters; no key has")));
            }
            let at = fields.path("value");
            let value = fields.take("value").ok_or_else(|| fields.missing("value"))?;
            fields.end()?;
            let test = test(&kind, value, &at, values)?;
            Ok(Filter::Key { key, test })
        }
        _ => {
            let at = format!("{path}.type");
            let message = format!("'{at}' must be one of {}, and, or", COMPARISONS.join(", "));
            Err(Error::invalid(at, message))
        }
    }
}

fn test(kind: &str, value: Value, at: &str, values: &mut usize) -> Result<Test> {
    let must = |what: &str| Err(Error::invalid(at, format!("'{at}' must be {what} for '{kind}'")));
    *values += value.as_array().map_or(1, |list| list.len().max(1));
    for text in value.as_array().map_or(std::slice::from_ref(&value), Vec::as_slice).iter().filter_map(Value::as_str) {
        if text.chars().count() > TEXT {
            return Err(Error::invalid(
                at,
                format!("'{at}' has a text of more than {TEXT} characters; no attribute has"),
            ));
        }
    }
    let is_plain = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
    match (kind, value) {
        ("in" | "nin", Value::Array(list)) if list.iter().all(is_plain) => {
            Ok(if kind == "in" { Test::In(list) } else { Test::Nin(list) })
        }
        ("in" | "nin", _) => must("a list of strings, numbers and booleans"),
        ("eq", value) if is_plain(&value) => Ok(Test::Eq(value)),
        ("ne", value) if is_plain(&value) => Ok(Test::Ne(value)),
        ("eq" | "ne", _) => must("a string, a number or a boolean"),
        (_, value) if !value.is_string() && !value.is_number() => must("a string or a number"),
        ("gt", value) => Ok(Test::Gt(value)),
        ("gte", value) => Ok(Test::Gte(value)),
        ("lt", value) => Ok(Test::Lt(value)),
        (_, value) => Ok(Test::Lte(value)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nested(depth: usize) -> Value {
        (1..depth).fold(
            json!({ "type": "eq", "key": "k", "value": 1 }),
            |inner, _| json!({ "type": "or", "filters": [inner] }),
        )
    }

    #[test]
    fn every_kind_is_read() {
        let values = json!(["de", 1, true]);
        let read = |kind: &str, value: &Value| {
            let filter = read(json!({ "type": kind, "key": "lang", "value": value }), "filters").expect(kind);
            let Filter::Key { key, test } = filter else { panic!("{filter:?}") };
            assert_eq!(key, "lang");
            test
        };
        let (text, list) = (json!("de"), values.as_array().cloned().expect("a list"));
        assert_eq!(read("eq", &text), Test::Eq(text.clone()));
        assert_eq!(read("ne", &json!(false)), Test::Ne(json!(false)));
        assert_eq!(read("gt", &json!(1.5)), Test::Gt(json!(1.5)));
        assert_eq!(read("gte", &text), Test::Gte(text.clone()));
        assert_eq!(read("lt", &text), Test::Lt(text.clone()));
        assert_eq!(read("lte", &text), Test::Lte(text));
        assert_eq!(read("in", &values), Test::In(list.clone()));
        assert_eq!(read("nin", &values), Test::Nin(list));
        assert_eq!(read("in", &json!([])), Test::In(vec![]));
        let both = json!({ "type": "and", "filters": [nested(1), { "type": "or", "filters": [nested(1)] }] });
        let key = || Filter::Key { key: "k".into(), test: Test::Eq(json!(1)) };
        let both = super::read(both, "filters").expect("nested");
        assert_eq!(both, Filter::All(vec![key(), Filter::Any(vec![key()])]));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_bound() {
        let with = |kind: &str, value: Value| json!({ "type": kind, "key": "k", "value": value });
        let (text, many) = ("ü".repeat(513), vec![1; 1_001]);
        read(nested(8), "f").expect("eight deep");
        read(with("in", json!(many[1..])), "f").expect("a thousand values");
        let refused = [
            (json!([]), "f", "object"),
            (json!({}), "f.type", "missing"),
            (with("like", json!("x")), "f.type", "eq, ne, gt"),
            (json!({ "type": "eq", "value": 1 }), "f.key", "missing"),
            (json!({ "type": "eq", "key": "k" }), "f.value", "missing"),
            (json!({ "type": "eq", "key": "k", "value": 1, "boost": 2 }), "f.boost", "unknown"),
            (json!({ "type": "eq", "key": "k".repeat(65), "value": 1 }), "f.key", "64"),
            (with("eq", json!([1])), "f.value", "string, a number or a boolean"),
            (with("eq", json!({})), "f.value", "string, a number or a boolean"),
            (with("lte", json!(true)), "f.value", "string or a number"),
            (with("gt", json!([1])), "f.value", "string or a number"),
            (with("in", json!("de")), "f.value", "list"),
            (with("nin", json!([[]])), "f.value", "list"),
            (with("ne", json!(text)), "f.value", "512"),
            (with("in", json!([text])), "f.value", "512"),
            (json!({ "type": "and", "filters": [] }), "f.filters", "one or more"),
            (json!({ "type": "and", "filters": [nested(1), 1] }), "f.filters[1]", "object"),
            (
                json!({ "type": "or", "filters": [with("in", json!(many[..999])), with("in", json!([1, 2]))] }),
                "f",
                "1001 values; at most 1000",
            ),
            (nested(9), &format!("f{}", ".filters[0]".repeat(8)), "8 deep"),
        ];
        for (filter, path, said) in refused {
            let error = read(filter, "f").expect_err(said);
            assert_eq!(error.param.as_deref(), Some(path), "{error}");
            assert!(error.message.contains(said), "{error}");
        }
    }
}
