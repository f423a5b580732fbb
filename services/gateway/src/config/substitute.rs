//! `${env.VAR}` in the configuration, as Llama Stack's files write it.
//!
//! - `${env.VAR}`: the variable, required.
//! - `${env.VAR:=default}`: the variable, or the default where it is unset or empty.
//! - `${env.VAR:+word}`: `word` where the variable is set; where it is not, the list entry that holds it
//!   is dropped (or the member is null outside a list), so one file serves several places.
//!
//! A value that is one whole placeholder takes the type of its default: `${env.PORT:=80}` is a number,
//! and a key of digits alone stays text.

use frontdesk_api::{Error, Result};
use serde_json::Value;

use super::Environment;

/// Replaces every placeholder below `value`; `path` names it in errors.
///
/// # Errors
/// `Invalid` with the path of the value: a required variable that is unset, or a placeholder that does not read.
pub(super) fn substitute(value: &mut Value, path: &str, env: &Environment<'_>) -> Result<()> {
    match value {
        Value::String(text) => {
            if let Some(replaced) = replace(text, path, env)? {
                *value = replaced;
            }
        }
        Value::Array(entries) => {
            entries.retain(|entry| !is_switched_off(entry, env));
            for (i, entry) in entries.iter_mut().enumerate() {
                substitute(entry, &format!("{path}[{i}]"), env)?;
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                substitute(member, &below, env)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Whether a list entry is, or directly holds, a `:+` placeholder whose variable is unset.
fn is_switched_off(entry: &Value, env: &Environment<'_>) -> bool {
    let off = |value: &Value| {
        let Value::String(text) = value else { return false };
        let Some(Piece::Placeholder(inner)) = only(text) else { return false };
        inner.split_once(":+").is_some_and(|(name, _)| variable(name, env).is_none())
    };
    match entry {
        Value::Object(members) => members.values().any(off),
        other => off(other),
    }
}

/// The text with its placeholders filled in; None when it has none.
fn replace(text: &str, path: &str, env: &Environment<'_>) -> Result<Option<Value>> {
    if !text.contains("${env.") {
        return Ok(None);
    }
    if let Some(Piece::Placeholder(inner)) = only(text) {
        return fill(inner, path, env).map(Some);
    }
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Placeholder(inner) => match fill(inner, path, env)? {
                Value::String(filled) => out.push_str(&filled),
                Value::Null => {}
                other => out.push_str(&other.to_string()),
            },
            Piece::Unclosed => {
                return Err(Error::invalid(path, format!("'{text}' has '${{env.' without a closing '}}'")));
            }
        }
    }
    Ok(Some(Value::String(out)))
}

fn fill(inner: &str, path: &str, env: &Environment<'_>) -> Result<Value> {
    if let Some((name, default)) = inner.split_once(":=") {
        let like = typed(default);
        let Some(found) = variable(name, env) else { return Ok(like) };
        return Ok(if like.is_number() || like.is_boolean() { typed(&found) } else { Value::String(found) });
    }
    if let Some((name, word)) = inner.split_once(":+") {
        return Ok(variable(name, env).map_or(Value::Null, |_| Value::String(word.into())));
    }
    match variable(inner, env) {
        Some(found) => Ok(Value::String(found)),
        None => Err(Error::invalid(
            path,
            format!(
                "the environment variable {inner} is not set; set it, or give a default: ${{env.{inner}:=default}}, \
                 or drop the entry without it: ${{env.{inner}:+id}}"
            ),
        )),
    }
}

/// Unset and empty are the same: compose files pass unset variables on as empty ones.
fn variable(name: &str, env: &Environment<'_>) -> Option<String> {
    env(name).filter(|value| !value.is_empty())
}

/// A default as YAML would read it: number, truth value, nothing, or text.
fn typed(text: &str) -> Value {
    match text {
        "" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => match serde_json::from_str::<serde_json::Number>(text) {
            Ok(number) => Value::Number(number),
            Err(_) => Value::String(text.into()),
        },
    }
}

#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Text(&'a str),
    /// What stands between `${env.` and `}`.
    Placeholder(&'a str),
    Unclosed,
}

/// The piece, when the text is exactly one.
fn only(text: &str) -> Option<Piece<'_>> {
    let mut pieces = pieces(text);
    match (pieces.next(), pieces.next()) {
        (Some(piece), None) => Some(piece),
        _ => None,
    }
}

fn pieces(mut rest: &str) -> impl Iterator<Item = Piece<'_>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(begin) = rest.find("${env.") else { return Some(Piece::Text(std::mem::take(&mut rest))) };
        if begin > 0 {
            let (text, after) = rest.split_at(begin);
            rest = after;
            return Some(Piece::Text(text));
        }
        let inside = &rest["${env.".len()..];
        let Some(end) = inside.find('}') else {
            rest = "";
            return Some(Piece::Unclosed);
        };
        rest = &inside[end + 1..];
        Some(Piece::Placeholder(&inside[..end]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(vars: &[(&str, &str)], mut value: Value) -> Result<Value> {
        let vars: Vec<(String, String)> = vars.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let env = move |name: &str| vars.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
        substitute(&mut value, "", &env)?;
        Ok(value)
    }

    #[test]
    fn values_come_from_the_environment_or_their_default() {
        let value =
            json!({ "a": "${env.A}", "b": "${env.B:=fallback}", "c": "x-${env.A}-${env.B:=y}", "d": "plain $5" });
        let got = with(&[("A", "1")], value).expect("all set");
        assert_eq!(got, json!({ "a": "1", "b": "fallback", "c": "x-1-y", "d": "plain $5" }));
    }

    #[test]
    fn a_value_takes_the_type_of_its_default() {
        let value = json!({ "port": "${env.PORT:=80}", "on": "${env.ON:=false}", "none": "${env.URL:=}", "key": "${env.KEY:=}" });
        let got = with(&[("PORT", "8321"), ("ON", "true"), ("KEY", "12345")], value).expect("all have defaults");
        assert_eq!(got, json!({ "port": 8321, "on": true, "none": null, "key": "12345" }));
    }

    #[test]
    fn an_unset_switch_drops_its_entry_before_anything_else_is_asked_of_it() {
        let list = json!([{ "id": "${env.A:+a}", "key": "${env.A}" }, { "id": "b", "key": "k" }, "${env.C:+c}"]);
        let got = with(&[], list.clone()).expect("the entry that needs A is gone");
        assert_eq!(got, json!([{ "id": "b", "key": "k" }]));
        let got = with(&[("A", "x"), ("C", "")], list).expect("A is set");
        assert_eq!(got, json!([{ "id": "a", "key": "x" }, { "id": "b", "key": "k" }]));
    }

    #[test]
    fn a_missing_variable_names_the_key_and_the_ways_out() {
        let error = with(&[], json!({ "providers": [{ "key": "${env.NOPE}" }] })).expect_err("NOPE is unset");
        assert_eq!(error.param.as_deref(), Some("providers[0].key"));
        assert!(error.message.contains("NOPE is not set"), "{error}");
        let error = with(&[], json!({ "a": "x${env.B" })).expect_err("no closing brace");
        assert!(error.message.contains("closing"), "{error}");
    }
}
