//! `prompt` of a response: which stored text is meant, and the words for its variables.
//!
//! A text is filled once: what a variable brings is never looked at for variables again.

use std::collections::BTreeMap;

use frontdesk_api::{Error, Result};
use serde_json::{Value, json};

use crate::fields::Fields;

/// Bytes of a filled text: what a window of a million tokens may hold, at four bytes a token.
const MOST: usize = 4 << 20;

/// A stored prompt as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub id: String,
    /// None: the default.
    pub version: Option<i64>,
    /// Words by the names of variables.
    pub variables: BTreeMap<String, String>,
}

/// The member, and how the response repeats it.
///
/// # Errors
/// `Invalid` naming the member.
pub fn prompt(fields: &mut Fields) -> Result<(Option<Named>, Value)> {
    let Some(mut prompt) = fields.object("prompt")? else { return Ok((None, Value::Null)) };
    let id = prompt.id("id")?.ok_or_else(|| prompt.missing("id"))?;
    let version = prompt.text("version")?.map(|version| {
        let number = version.parse::<i64>().ok().filter(|n| *n > 0);
        number
            .ok_or_else(|| Error::invalid("prompt.version", "'prompt.version' must be a version's number, as a string"))
    });
    let version = version.transpose()?;
    let mut variables = BTreeMap::new();
    let given = prompt.object("variables")?.map(Fields::into_value);
    for (name, value) in given.iter().filter_map(Value::as_object).flatten() {
        let path = format!("prompt.variables.{name}");
        variables.insert(name.clone(), words(value.clone(), &path)?);
    }
    prompt.end()?;
    let shown = json!({ "id": id, "version": version.map(|n| n.to_string()), "variables": given });
    Ok((Some(Named { id, version, variables }), shown))
}

fn words(value: Value, path: &str) -> Result<String> {
    if let Value::String(text) = value {
        return Ok(text);
    }
    let mut part = Fields::of(value, path)?;
    match part.needed("type")?.as_str() {
        "input_text" => part.needed("text"),
        other => {
            let message = format!("'{path}' is '{other}': variables take texts; send other parts as input");
            Err(Error::invalid(path, message).with_code("unsupported_content"))
        }
    }
}

/// The text with the words of its variables, which are `declared`.
///
/// # Errors
/// `Invalid` naming a variable that the text has not, or one that nothing was given for, or the first that makes the
/// text longer than 4 MiB.
pub fn filled(text: &str, declared: &[String], given: &BTreeMap<String, String>) -> Result<String> {
    if let Some(name) = given.keys().find(|name| !declared.contains(name)) {
        let path = format!("prompt.variables.{name}");
        return Err(Error::invalid(path, format!("the prompt has no variable '{name}'")).with_code("unknown_variable"));
    }
    let mut filled = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(words) => filled.push_str(words),
            Piece::Name(name) => match given.get(name) {
                Some(words) if filled.len().saturating_add(words.len()) > MOST => {
                    let path = format!("prompt.variables.{name}");
                    let message = format!("'{path}' makes the prompt longer than {MOST} bytes");
                    return Err(Error::invalid(path, message).with_code("prompt_too_long"));
                }
                Some(words) => filled.push_str(words),
                None => {
                    let message = format!("the prompt's variable '{name}' is not given");
                    return Err(Error::invalid("prompt.variables", message).with_code("missing_variable"));
                }
            },
        }
    }
    Ok(filled)
}

/// The variables that a text uses, in order.
pub fn names(text: &str) -> impl Iterator<Item = &str> {
    pieces(text).into_iter().filter_map(|piece| match piece {
        Piece::Name(name) => Some(name),
        Piece::Text(_) => None,
    })
}

enum Piece<'t> {
    Text(&'t str),
    Name(&'t str),
}

/// A variable is a name out of letters, digits and `_` in double braces; anything else is text.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut rest, mut from) = (vec![], text, 0);
    while let Some(at) = rest[from..].find("{{").map(|at| from + at) {
        let inside = rest[at + 2..].split_once("}}").map(|(inside, _)| inside);
        let name =
            inside.map(str::trim).filter(|n| !n.is_empty() && n.chars().all(|c| c.is_alphanumeric() || c == '_'));
        let (Some(inside), Some(name)) = (inside, name) else {
            from = at + 1;
            continue;
        };
        pieces.push(Piece::Text(&rest[..at]));
        pieces.push(Piece::Name(name));
        rest = &rest[at + 2 + inside.len() + 2..];
        from = 0;
    }
    pieces.push(Piece::Text(rest));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str, given: &[(&str, &str)]) -> Result<String> {
        let declared = ["a".to_owned(), "b_2".to_owned()];
        filled(text, &declared, &given.iter().map(|(n, w)| ((*n).to_owned(), (*w).to_owned())).collect())
    }

    #[test]
    fn variables_are_filled_once_and_everything_else_stays() {
        let given = [("a", "{{ b_2 }}"), ("b_2", "ü")];
        assert_eq!(
            fill("{{a}} {{ b_2 }}, { {a} } {{}} {{ x y }} {{{a}}} {{", &given).expect("filled"),
            "{{ b_2 }} ü, { {a} } {{}} {{ x y }} {{{ b_2 }}} {{"
        );
        assert_eq!(names("{{ a }} {{b_2}} {{a}} {{-}}").collect::<Vec<_>>(), ["a", "b_2", "a"]);
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        assert_eq!(fill("{{a}}", &[]).expect_err("not given").code.as_deref(), Some("missing_variable"));
        let long = fill(&"{{a}}".repeat(5), &[("a", &"x".repeat(1 << 20))]).expect_err("too long");
        assert_eq!(
            (long.code.as_deref(), long.param.as_deref()),
            (Some("prompt_too_long"), Some("prompt.variables.a"))
        );
        let unknown = fill("x", &[("c", "d")]).expect_err("no such variable");
        assert_eq!(unknown.param.as_deref(), Some("prompt.variables.c"));
    }
}
