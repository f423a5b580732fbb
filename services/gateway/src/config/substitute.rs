//! `${env.VAR}` in the configuration, as Llama Stack's files write it, and `${file.PATH}` for secrets.
//!
//! - `${env.VAR}`: the variable, required.
//! - `${env.VAR:=default}`: the variable, or the default where it is unset or empty.
//! - `${env.VAR:+word}`: `word` where the variable is set; where it is not, the list entry that holds it
//!   is dropped (or the member is null outside a list), so one file serves several places.
//! - `${file.PATH}`: the text of a file without its line breaks at the end, for secrets that a container
//!   mounts. It is put in as it is: a password inside a URL must be URL-encoded in its file.
//!
//! A value that is one whole placeholder takes the type of its default: `${env.PORT:=80}` is a number,
//! and a key of digits alone stays text. Invariants: what was put in is never read as a placeholder again,
//! and no error of this module shows what a file says.

use std::{
    fs::File,
    io::{ErrorKind, Read},
};

use frontdesk_api::{Error, Result};
use serde_json::Value;

use super::Environment;

/// How a placeholder for a variable begins.
const VARIABLE: &str = "${env.";
/// How a placeholder for the text of a file begins.
const FILE: &str = "${file.";
/// The largest file a placeholder takes, in bytes: far above any key or certificate.
const LARGEST: usize = 64 << 10;

/// Replaces every placeholder below `value`; `path` names it in errors.
///
/// # Errors
/// `Invalid` with the path of the value: a required variable that is unset, a file that cannot be used, or a
/// placeholder that does not read.
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
        let Some(Piece::Variable(inner)) = only(text) else { return false };
        inner.split_once(":+").is_some_and(|(name, _)| variable(name, env).is_none())
    };
    match entry {
        Value::Object(members) => members.values().any(off),
        other => off(other),
    }
}

/// The text with its placeholders filled in; None when it has none.
fn replace(text: &str, path: &str, env: &Environment<'_>) -> Result<Option<Value>> {
    if first_placeholder(text).is_none() {
        return Ok(None);
    }
    if let Some(Piece::Variable(inner)) = only(text) {
        return fill(inner, path, env).map(Some);
    }
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Variable(inner) => match fill(inner, path, env)? {
                Value::String(filled) => out.push_str(&filled),
                Value::Null => {}
                other => out.push_str(&other.to_string()),
            },
            Piece::File(file) => out.push_str(&content(file, path)?),
            Piece::Unclosed(begin) => {
                return Err(Error::invalid(path, format!("'{text}' has '{begin}' without a closing '}}'")));
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

/// What a file says. An empty one is refused as an empty variable is: a secret that was never written.
fn content(file: &str, path: &str) -> Result<String> {
    let unusable = |why: String| Error::invalid(path, why);
    let mut bytes = vec![];
    File::open(file).and_then(|open| open.take(LARGEST as u64 + 1).read_to_end(&mut bytes)).map_err(|e| {
        unusable(match e.kind() {
            ErrorKind::NotFound => format!("there is no file {file}; write the value into it, or mount it there"),
            _ => format!("cannot read the file {file}: {e}; the user that runs this program must be able to read it"),
        })
    })?;
    if bytes.len() > LARGEST {
        let most = LARGEST >> 10;
        return Err(unusable(format!("the file {file} is larger than {most} KiB; name one that holds only the value")));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| unusable(format!("the file {file} is not UTF-8 text; write the value into it as text")))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(unusable(format!("the file {file} is empty; write the value into it"))),
        said => Ok(said.to_owned()),
    }
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
    Variable(&'a str),
    /// What stands between `${file.` and `}`.
    File(&'a str),
    /// How the placeholder begins that never ends.
    Unclosed(&'static str),
}

/// Where the first placeholder of a text is, and how it begins.
fn first_placeholder(text: &str) -> Option<(usize, &'static str)> {
    [VARIABLE, FILE].into_iter().filter_map(|begin| Some((text.find(begin)?, begin))).min()
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
        let Some((at, begin)) = first_placeholder(rest) else { return Some(Piece::Text(std::mem::take(&mut rest))) };
        if at > 0 {
            let (text, after) = rest.split_at(at);
            rest = after;
            return Some(Piece::Text(text));
        }
        let inside = &rest[begin.len()..];
        let Some(end) = inside.find('}') else {
            rest = "";
            return Some(Piece::Unclosed(begin));
        };
        rest = &inside[end + 1..];
        let inner = &inside[..end];
        Some(if begin == FILE { Piece::File(inner) } else { Piece::Variable(inner) })
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
        assert!(error.message.contains("'${env.' without a closing"), "{error}");
        let error = with(&[], json!({ "a": "${env.B:=b}${file.B" })).expect_err("no closing brace");
        assert!(error.message.contains("'${file.' without a closing"), "{error}");
    }

    /// A file that says `bytes`, and the placeholder for it; the file goes with the folder.
    fn file(bytes: &[u8]) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, bytes).expect("written");
        let placeholder = format!("${{file.{}}}", path.display());
        (folder, placeholder)
    }

    fn refused(placeholder: &str) -> String {
        let error = with(&[], json!({ "db": { "url": placeholder } })).expect_err("the file cannot be used");
        assert_eq!(error.param.as_deref(), Some("db.url"));
        assert!(error.source.is_none(), "a cause would be printed beside the message");
        error.message
    }

    #[test]
    fn a_file_gives_its_text_without_the_line_breaks_at_its_end() {
        let (_folder, secret) = file(b" two\nlines \r\n\n");
        let got = with(&[("HOST", "db")], json!([secret, format!("u:{secret}@${{env.HOST}}")])).expect("readable");
        assert_eq!(got, json!([" two\nlines ", "u: two\nlines @db"]));
    }

    #[test]
    fn what_a_file_says_stays_text_and_is_no_placeholder() {
        for said in ["12345", "true", "null", "${env.A}", "${file./nowhere}", "a}: [b", "${env."] {
            let (_folder, secret) = file(said.as_bytes());
            let got = with(&[("A", "x")], json!([secret, format!("${{env.A}}{secret}")])).expect("readable");
            assert_eq!(got, json!([said, format!("x{said}")]));
        }
    }

    #[test]
    fn what_a_variable_says_names_no_file() {
        let (_folder, secret) = file(b"hush");
        let got = with(&[("A", &secret)], json!(["${env.A}", "x${env.A}"])).expect("A is set");
        assert_eq!(got, json!([secret, format!("x{secret}")]));
    }

    #[test]
    fn a_file_of_an_entry_that_is_switched_off_is_not_asked_for() {
        let list = json!([{ "id": "${env.A:+a}", "key": "${file./nowhere/key}" }]);
        assert_eq!(with(&[], list).expect("the entry is gone"), json!([]));
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_the_way_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let there = folder.path().display();
        let message = refused(&format!("${{file.{there}/nowhere}}"));
        assert!(message.contains(&format!("no file {there}/nowhere")) && message.contains("mount it"), "{message}");
        // A folder: unlike a file without rights it stops root as well.
        let message = refused(&format!("${{file.{there}}}"));
        assert!(message.contains(&format!("cannot read the file {there}: ")), "{message}");
        assert!(refused("${file.}").contains("no file"), "a placeholder without a path");
        let (_folder, empty) = file(b"\n");
        assert!(refused(&empty).contains("is empty"));
    }

    #[test]
    fn an_error_about_a_file_never_shows_what_it_says() {
        let (_folder, binary) = file(b"hush\xff");
        let message = refused(&binary);
        assert!(message.contains("is not UTF-8") && !message.contains("hush"), "{message}");
        let mut long = b"hush".repeat(LARGEST / 4);
        let (_folder, largest) = file(&long);
        with(&[], json!([largest])).expect("just as large as allowed");
        long.push(b'\n');
        let (_folder, larger) = file(&long);
        let message = refused(&larger);
        assert!(message.contains("larger than 64 KiB") && !message.contains("hush"), "{message}");
    }
}
