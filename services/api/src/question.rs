//! Questions that a tool has for a person in the middle of a call: what may be asked, and what answers it.
//!
//! The shapes are those of the Model Context Protocol ("Elicitation"). What is asked is a stranger's: of a form only what
//! is known here is kept, a flat object of texts, numbers, yes or no and choices, all of it cut or counted. Invariant: an
//! answer is passed on only where it fits what was asked.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{Error, Micros, Result};

/// Questions of one round.
pub const MOST_QUESTIONS: usize = 10;
/// Fields of a form, choices of one field.
const MOST_FIELDS: usize = 50;
const MOST_CHOICES: usize = 100;
/// Bytes of a question's words, of a field's, of a name and of a page's address.
const MOST_MESSAGE: usize = 2_000;
const MOST_WORDS: usize = 500;
const MOST_NAME: usize = 200;
const MOST_URL: usize = 2_000;
/// Bytes of a text that answers.
const MOST_TEXT: usize = 10_000;

/// What a person is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Question {
    /// For values.
    Form {
        message: String,
        /// JSON Schema of the answer's `content`: an object whose properties are texts, numbers, booleans and choices.
        #[schema(value_type = Object)]
        requested_schema: Value,
    },
    /// To visit a page, which nobody but that person opens.
    Url {
        message: String,
        /// Over https.
        url: String,
    },
}

/// What a person does about a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The values are these; of a page: the person agrees to visit it.
    Accept,
    /// The person says no.
    Decline,
    /// The person says nothing.
    Cancel,
}

/// What was answered to a question. Kept with it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub action: Action,
    /// Of an accepted form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Map<String, Value>>,
    /// The key it was said with; None: nobody answered in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// When, in microseconds.
    pub at: Micros,
}

/// Without what the person wrote: that is in no log.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({:?} by {:?})", self.action, self.key_id)
    }
}

/// How a question stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuestionState {
    /// Nobody has answered; the turn waits.
    Open,
    Answered,
    /// Nobody answered in time: the tool heard that it was cancelled.
    Expired,
    /// Its turn, or its call, ended before anyone answered: it was cancelled, a newer message took its place, or the process
    /// that had the call open was lost.
    Withdrawn,
}

/// A question that waits for an answer, as whoever can answer it is shown it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OpenQuestion {
    pub question_id: String,
    /// The call in the middle of which it is asked.
    pub call_id: String,
    /// The tool that asks, by the name that the model calls it by.
    pub tool: String,
    pub toolgroup: String,
    #[serde(flatten)]
    pub question: Question,
}

/// What a call knows of people: that one can be asked, and what was answered to what it asked before.
#[derive(Clone, Default)]
pub struct Asking {
    /// Answers by the names that the tool gave its questions, with the state that it wants back; None: it has not asked.
    pub answered: Option<Answered>,
    /// Whoever can be asked while the call stays open; None: nobody.
    pub person: Option<Arc<dyn Person>>,
}

/// Without what was answered: that is in no log.
impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asking(answered: {}, in an open call: {})", self.answered.is_some(), self.person.is_some())
    }
}

/// Somebody who is asked in the middle of a call that goes on with the answer.
#[async_trait]
pub trait Person: Send + Sync {
    /// Asks, and waits for what is said: minutes. An answer without a key says that nobody did in time. Dropped, the
    /// question is withdrawn.
    ///
    /// # Errors
    /// Why nobody was asked, in words for the model.
    async fn ask(&self, question: Question) -> std::result::Result<Answer, String>;
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answered {
    pub answers: Vec<(String, Answer)>,
    pub state: Option<String>,
}

impl Question {
    /// A question by the params of `elicitation/create`, as much of it as may be shown.
    ///
    /// # Errors
    /// Why it cannot be asked, in words.
    pub fn read(params: &Value) -> std::result::Result<Self, String> {
        let message = words(params["message"].as_str().unwrap_or_default(), MOST_MESSAGE);
        match params["mode"].as_str().unwrap_or("form") {
            "form" => Ok(Self::Form { message, requested_schema: schema(&params["requestedSchema"])? }),
            "url" => {
                let url = params["url"].as_str().unwrap_or_default();
                match url.len() <= MOST_URL && is_plain_page(url) {
                    true => Ok(Self::Url { message, url: url.to_owned() }),
                    false => Err("it names a page that is not one over https".into()),
                }
            }
            _ => Err("it is neither a form nor a page".into()),
        }
    }

    /// All that a person reads of it.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Url { message, url } => format!("{message} {url}"),
            Self::Form { message, requested_schema } => {
                let fields = requested_schema["properties"].as_object().filter(|fields| !fields.is_empty());
                fields.map_or_else(|| message.clone(), |fields| format!("{message} {}", Value::Object(fields.clone())))
            }
        }
    }

    /// What is kept of an answer: of an accepted form its values, those that are missing as the form says by default.
    ///
    /// # Errors
    /// `Invalid` naming the member.
    pub fn fits(&self, action: Action, content: Option<Map<String, Value>>) -> Result<Option<Map<String, Value>>> {
        let wrong = |why: &str| Err(Error::invalid("content", format!("content {why}")));
        match (self, action, content) {
            (Self::Form { requested_schema, .. }, Action::Accept, content) => {
                filled(requested_schema, content.unwrap_or_default()).map(Some)
            }
            (_, _, None) => Ok(None),
            (Self::Url { .. }, Action::Accept, Some(_)) => wrong("is left out where a page was asked to be visited"),
            (..) => wrong("goes with the action 'accept' alone"),
        }
    }
}

/// Whether an address is one over https that reads as what it leads to: in ASCII, at a host that nothing stands before.
fn is_plain_page(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.split(':').next().unwrap_or_default();
    // Browsers read a backslash as a slash.
    url.chars().all(|c| c.is_ascii_graphic() && c != '\\') && !host.is_empty() && !authority.contains('@')
}

/// What is kept of a form's schema.
fn schema(asked: &Value) -> std::result::Result<Value, String> {
    let none = Map::new();
    let properties = asked["properties"].as_object().unwrap_or(&none);
    if properties.len() > MOST_FIELDS {
        return Err(format!("its form has more than {MOST_FIELDS} fields"));
    }
    let mut fields = Map::new();
    for (name, asked) in properties {
        if name.len() > MOST_NAME {
            return Err(format!("a field's name has more than {MOST_NAME} bytes"));
        }
        if name.contains(is_hidden) {
            return Err("a field has control characters in its name".into());
        }
        let kept =
            field(asked).ok_or_else(|| format!("its field '{}' is of no kind that forms have", words(name, 50)))?;
        fields.insert(name.clone(), kept);
    }
    let required = asked["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let required: Vec<&str> =
        required.iter().filter_map(Value::as_str).filter(|name| fields.contains_key(*name)).collect();
    Ok(json!({ "type": "object", "properties": fields, "required": required }))
}

/// What is kept of a field's schema; None where it is no text, number, boolean or choice.
fn field(asked: &Value) -> Option<Value> {
    let kind = asked["type"].as_str()?;
    let mut kept = Map::from_iter([("type".to_owned(), json!(kind))]);
    for name in ["title", "description"] {
        if let Some(said) = asked[name].as_str() {
            kept.insert(name.into(), words(said, MOST_WORDS).into());
        }
    }
    let mut keep = |name: &str, fits: fn(&Value) -> bool| {
        if let Some(value) = asked.get(name).filter(|value| fits(value)) {
            kept.insert(name.into(), value.clone());
        }
    };
    match kind {
        "string" => {
            keep("minLength", Value::is_u64);
            keep("maxLength", Value::is_u64);
            keep("format", |v| matches!(v.as_str(), Some("email" | "uri" | "date" | "date-time")));
        }
        "number" | "integer" => {
            keep("minimum", Value::is_number);
            keep("maximum", Value::is_number);
        }
        "boolean" => {}
        "array" => {
            keep("minItems", Value::is_u64);
            keep("maxItems", Value::is_u64);
            kept.insert("items".into(), Value::Object(choices(&asked["items"], &["enum", "anyOf"])??));
        }
        _ => return None,
    }
    if kind == "string"
        && let Some(choices) = choices(asked, &["enum", "oneOf"])
    {
        kept.extend(choices?);
    }
    let mut kept = Value::Object(kept);
    if let Some(default) = asked.get("default").filter(|default| check(&kept, default).is_ok()) {
        kept["default"] = default.clone();
    }
    Some(kept)
}

/// The choices under one of `names`, with what they are called; None: there are none. Some of None: they are not to be
/// read.
fn choices(asked: &Value, names: &[&str; 2]) -> Option<Option<Map<String, Value>>> {
    let (name, all) = names.iter().find_map(|name| Some((*name, asked[name].as_array()?)))?;
    let read = |one: &Value| {
        let value = one
            .as_str()
            .or_else(|| one["const"].as_str())
            .filter(|value| value.len() <= MOST_NAME && !value.contains(is_hidden))?;
        Some(match one["title"].as_str() {
            Some(title) => json!({ "const": value, "title": words(title, MOST_WORDS) }),
            None if one.is_string() => json!(value),
            None => json!({ "const": value }),
        })
    };
    if all.is_empty() || all.len() > MOST_CHOICES {
        return Some(None);
    }
    let Some(kept) = all.iter().map(read).collect::<Option<Vec<_>>>() else { return Some(None) };
    let mut choices = Map::from_iter([(name.to_owned(), Value::Array(kept))]);
    // What revisions before 2025-11-25 call them.
    if let Some(titles) = asked["enumNames"].as_array().filter(|titles| titles.len() == all.len()) {
        let titles = titles.iter().map(|title| words(title.as_str().unwrap_or_default(), MOST_WORDS));
        choices.insert("enumNames".into(), titles.collect());
    }
    if name == "enum" && names[1] == "anyOf" {
        choices.insert("type".into(), "string".into());
    }
    Some(Some(choices))
}

/// The content with what the form says by default.
fn filled(schema: &Value, mut content: Map<String, Value>) -> Result<Map<String, Value>> {
    let none = Map::new();
    let fields = schema["properties"].as_object().unwrap_or(&none);
    let wrong = |name: &str, why: &str| {
        let name = format!("content.{}", words(name, MOST_NAME));
        Err(Error::invalid(name.clone(), format!("{name} {why}")))
    };
    if let Some(name) = content.keys().find(|name| !fields.contains_key(*name)) {
        return wrong(name, "was not asked for");
    }
    for (name, field) in fields {
        let Some(value) = content.get(name) else {
            match field.get("default") {
                Some(default) => drop(content.insert(name.clone(), default.clone())),
                None if schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name)) => {
                    return wrong(name, "is missing");
                }
                None => {}
            }
            continue;
        };
        if let Err(why) = check(field, value) {
            return wrong(name, &why);
        }
    }
    Ok(content)
}

/// Why the value does not fit the field.
fn check(field: &Value, value: &Value) -> std::result::Result<(), String> {
    let most = |name: &str| field[name].as_u64().and_then(|n| usize::try_from(n).ok());
    let limits = |n: usize, (least, greatest): (&str, &str), what: &str| match (most(least), most(greatest)) {
        (Some(least), _) if n < least => Err(format!("must have at least {least} {what}")),
        (_, Some(greatest)) if n > greatest => Err(format!("must have at most {greatest} {what}")),
        _ => Ok(()),
    };
    match field["type"].as_str().unwrap_or_default() {
        "boolean" if value.is_boolean() => Ok(()),
        "boolean" => Err("must be true or false".into()),
        "integer" if value.as_i64().is_none() && value.as_f64().is_none_or(|n| n.fract() != 0.0) => {
            Err("must be a whole number".into())
        }
        "number" | "integer" => {
            let number = value.as_f64().ok_or("must be a number")?;
            match (field["minimum"].as_f64(), field["maximum"].as_f64()) {
                (Some(least), _) if number < least => Err(format!("must be at least {least}")),
                (_, Some(greatest)) if number > greatest => Err(format!("must be at most {greatest}")),
                _ => Ok(()),
            }
        }
        "array" => {
            let all = value.as_array().ok_or("must be a list of choices")?;
            if all.len() > MOST_CHOICES {
                return Err(format!("must have at most {MOST_CHOICES} choices"));
            }
            limits(all.len(), ("minItems", "maxItems"), "choices")?;
            for (at, one) in all.iter().enumerate() {
                one_of(&field["items"], one.as_str().ok_or("must be a list of choices")?)?;
                if all[..at].contains(one) {
                    return Err("must name each choice once".into());
                }
            }
            Ok(())
        }
        _ => {
            let text = value.as_str().ok_or("must be a text")?;
            if text.len() > MOST_TEXT {
                return Err(format!("must have at most {MOST_TEXT} bytes"));
            }
            limits(text.chars().count(), ("minLength", "maxLength"), "characters")?;
            one_of(field, text)?;
            match field["format"].as_str() {
                Some(format) if !is_of(format, text) => Err(format!("must be of the format '{format}'")),
                _ => Ok(()),
            }
        }
    }
}

/// Whether the text is among the choices, where there are any.
fn one_of(field: &Value, text: &str) -> std::result::Result<(), String> {
    let Some(all) = ["enum", "oneOf", "anyOf"].iter().find_map(|name| field[name].as_array()) else { return Ok(()) };
    let all: Vec<&str> = all.iter().filter_map(|one| one.as_str().or_else(|| one["const"].as_str())).collect();
    if all.contains(&text) { Ok(()) } else { Err(format!("must be one of {}", all.join(", "))) }
}

/// Whether a text looks like one of the format; the tool has the last word.
fn is_of(format: &str, text: &str) -> bool {
    let date = |text: &str| {
        let fits = |(at, c): (usize, char)| if at == 4 || at == 7 { c == '-' } else { c.is_ascii_digit() };
        text.len() == 10 && text.chars().enumerate().all(fits)
    };
    match format {
        "email" => text.split_once('@').is_some_and(|(who, at)| !who.is_empty() && !at.is_empty() && !at.contains('@')),
        "uri" => text.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty()),
        "date" => date(text),
        _ => text.split_once(['T', 't']).is_some_and(|(day, time)| date(day) && time.contains(':')),
    }
}

/// Control characters, and those that turn the direction of what is read after them.
fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A stranger's words, as long as they may be shown and without hidden characters but for the ends of lines.
fn words(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let shown = text[..end].chars().filter_map(|c| match c {
        '\n' => Some(c),
        c if c.is_control() => Some(' '),
        c => (!is_hidden(c)).then_some(c),
    });
    shown.collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(properties: Value, required: Value) -> Question {
        let schema = json!({ "type": "object", "properties": properties, "required": required });
        Question::read(&json!({ "message": "m", "requestedSchema": schema })).expect("a question")
    }

    fn accepted(question: &Question, content: Value) -> std::result::Result<Value, String> {
        let content = content.as_object().cloned();
        match question.fits(Action::Accept, content) {
            Ok(content) => Ok(json!(content)),
            Err(error) => Err(error.message),
        }
    }

    #[test]
    fn an_answer_is_held_against_what_was_asked_and_the_member_is_named() {
        let question = form(
            json!({
                "name": { "type": "string", "minLength": 2, "maxLength": 5 },
                "mail": { "type": "string", "format": "email" },
                "day": { "type": "string", "format": "date" },
                "at": { "type": "string", "format": "date-time" },
                "page": { "type": "string", "format": "uri" },
                "nights": { "type": "integer", "minimum": 1, "maximum": 9 },
                "price": { "type": "number" },
                "late": { "type": "boolean" },
                "size": { "type": "string", "enum": ["s", "m"] },
                "colour": { "type": "string", "oneOf": [{ "const": "r", "title": "Red" }] },
                "extras": { "type": "array", "minItems": 1, "items": { "type": "string", "enum": ["a", "b"] } },
                "more": { "type": "array", "items": { "anyOf": [{ "const": "x", "title": "X" }] } },
            }),
            json!(["name"]),
        );
        let good = json!({ "name": "Äda", "mail": "a@b", "day": "2026-01-31", "at": "2026-01-31T10:00:00Z", "page": "tel:1",
                           "nights": 2.0, "price": 1.5, "late": false, "size": "s", "colour": "r", "extras": ["b"],
                           "more": [] });
        assert_eq!(accepted(&question, good.clone()), Ok(good));
        for (member, value, why) in [
            ("name", json!(7), "must be a text"),
            ("name", json!("A"), "must have at least 2 characters"),
            ("name", json!("Augusta"), "must have at most 5 characters"),
            ("mail", json!("ada"), "must be of the format 'email'"),
            ("day", json!("tomorrow"), "must be of the format 'date'"),
            ("at", json!("2026-01-31"), "must be of the format 'date-time'"),
            ("page", json!("page"), "must be of the format 'uri'"),
            ("nights", json!(1.5), "must be a whole number"),
            ("nights", json!(0), "must be at least 1"),
            ("nights", json!(10), "must be at most 9"),
            ("price", json!("1"), "must be a number"),
            ("late", json!("no"), "must be true or false"),
            ("size", json!("xl"), "must be one of s, m"),
            ("colour", json!("Red"), "must be one of r"),
            ("extras", json!([]), "must have at least 1 choices"),
            ("extras", json!(["c"]), "must be one of a, b"),
            ("extras", json!(["a", 1]), "must be a list of choices"),
            ("extras", json!(["a", "a"]), "must name each choice once"),
            ("extras", json!(vec!["a"; 101]), "must have at most 100 choices"),
            ("more", json!("x"), "must be a list of choices"),
            ("secret", json!("x"), "was not asked for"),
        ] {
            let mut content = json!({ "name": "Ada" });
            content[member] = value.clone();
            assert_eq!(accepted(&question, content), Err(format!("content.{member} {why}")), "{value}");
        }
        assert_eq!(accepted(&question, json!({})), Err("content.name is missing".into()));
        assert_eq!(accepted(&question, Value::Null), Err("content.name is missing".into()));
        let error = question.fits(Action::Accept, None).expect_err("nothing");
        assert_eq!(error.param.as_deref(), Some("content.name"));
    }

    #[test]
    fn what_is_left_out_is_as_the_form_says() {
        let question = form(
            json!({ "n": { "type": "integer", "default": 3 }, "bad": { "type": "boolean", "default": "yes" },
                    "all": { "type": "array", "items": { "type": "string", "enum": ["a"] }, "default": ["a"] } }),
            json!(["n"]),
        );
        assert_eq!(accepted(&question, json!({})), Ok(json!({ "n": 3, "all": ["a"] })));
        assert_eq!(accepted(&question, json!({ "n": 4, "all": [] })), Ok(json!({ "n": 4, "all": [] })));
    }

    #[test]
    fn content_goes_with_an_accepted_form_alone() {
        let page =
            Question::read(&json!({ "mode": "url", "message": "Sign", "url": "https://h/sign" })).expect("a page");
        let form = form(json!({}), json!([]));
        let some = || Some(Map::from_iter([("a".to_owned(), json!(1))]));
        for (question, action) in [(&page, Action::Accept), (&form, Action::Decline), (&form, Action::Cancel)] {
            let error = question.fits(action, some()).expect_err("content");
            assert_eq!(error.param.as_deref(), Some("content"));
            assert_eq!(question.fits(action, None).expect("without"), None);
        }
    }

    #[test]
    fn what_cannot_be_asked_is_said_and_what_is_unknown_is_left_out() {
        let fields = |kind: Value| json!({ "message": "m", "requestedSchema": { "properties": { "f": kind } } });
        for wrong in [
            fields(json!({ "type": "object" })),
            fields(json!({})),
            fields(json!({ "type": "array", "items": { "type": "string" } })),
            fields(json!({ "type": "string", "enum": [] })),
            fields(json!({ "type": "string", "enum": [1] })),
            json!({ "mode": "voice", "message": "m" }),
            json!({ "mode": "url", "message": "m", "url": "http://h/" }),
            json!({ "mode": "url", "message": "m", "url": "https://h/ x" }),
            json!({ "mode": "url", "message": "m", "url": "javascript:alert(1)" }),
            json!({ "mode": "url", "message": "m", "url": "https:///h" }),
            json!({ "mode": "url", "message": "m", "url": "https://:443/" }),
            json!({ "mode": "url", "message": "m", "url": "https://bank.example@h/" }),
            json!({ "mode": "url", "message": "m", "url": "https://bank.example\\@h/" }),
            json!({ "mode": "url", "message": "m", "url": "https://b\u{430}nk.example/" }),
            json!({ "message": "m", "requestedSchema": { "properties": { "a\u{7}": { "type": "string" } } } }),
            fields(json!({ "type": "string", "enum": ["a\u{202e}b"] })),
        ] {
            Question::read(&wrong).expect_err("not to be asked");
        }
        let asked = fields(
            json!({ "type": "string", "title": "a\u{7}b\u{202e}\u{2066}\u{200f}", "pattern": "(a+)+$", "$ref": "https://h/", "default": 7 }),
        );
        let Ok(Question::Form { requested_schema, .. }) = Question::read(&asked) else { panic!("a form") };
        assert_eq!(requested_schema["properties"]["f"], json!({ "type": "string", "title": "a b" }));
    }
}
