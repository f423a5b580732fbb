//! The members of a JSON object, taken one after another: what is left at the end is known to nobody here.
//!
//! A member of the wrong type is an error that names it by its path (`messages[2].tool_calls[0].function.name`): a setting
//! that is passed over in silence is worse than one. Where nobody else could judge a member that is left, it is refused
//! too (`end`), as OpenAI does.

use frontdesk_api::{Error, Result};
use serde_json::{Map, Value};

/// The members that were not taken yet. A member that is null counts as left out.
#[derive(Debug)]
pub struct Fields {
    members: Map<String, Value>,
    /// Before each name in errors: empty, or `text.`.
    path: String,
}

impl Fields {
    /// The members of a request's body.
    ///
    /// # Errors
    /// `Invalid` for what is no object.
    pub fn of_body(body: &[u8]) -> Result<Self> {
        Ok(Self { members: serde_json::from_slice(body).map_err(crate::openai::peek::not_json)?, path: String::new() })
    }

    /// As [`Fields::of_body`], of one that was read already.
    #[must_use]
    pub fn of_members(members: Map<String, Value>) -> Self {
        Self { members, path: String::new() }
    }

    /// The members of an object that stands at `path`.
    ///
    /// # Errors
    /// `Invalid` naming the path, for what is no object.
    pub fn of(value: Value, path: &str) -> Result<Self> {
        match value {
            Value::Object(members) => Ok(Self { members, path: format!("{path}.") }),
            _ => Err(Error::invalid(path, format!("'{path}' must be an object"))),
        }
    }

    /// Where a member stands, as errors name it.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| !value.is_null())
    }

    /// Whether the member is there, be it null.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    #[must_use]
    pub fn is_object(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(Value::is_object)
    }

    #[must_use]
    pub fn is_list(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(Value::is_array)
    }

    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }

    fn must(&self, name: &str, what: &str) -> Error {
        let path = self.path(name);
        Error::invalid(path.clone(), format!("'{path}' must be {what}"))
    }

    /// # Errors
    /// `Invalid` naming the member.
    pub fn text(&mut self, name: &str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.must(name, "a string")),
        }
    }

    /// A text that is not empty and must be there.
    ///
    /// # Errors
    /// `Invalid` naming the member.
    pub fn name(&mut self, name: &str) -> Result<String> {
        match self.needed(name)? {
            empty if empty.is_empty() => Err(self.must(name, "a string that is not empty")),
            text => Ok(text),
        }
    }

    /// A text that names something here.
    ///
    /// # Errors
    /// `Invalid` naming the member, also where it holds U+0000, which no id has and PostgreSQL cannot look for.
    pub fn id(&mut self, name: &str) -> Result<Option<String>> {
        match self.text(name)? {
            Some(id) if id.is_empty() || id.contains('\0') => Err(self.must(name, "an id")),
            id => Ok(id),
        }
    }

    /// # Errors
    /// `Invalid` naming the member that is no string or is missing.
    pub fn needed(&mut self, name: &str) -> Result<String> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    #[must_use]
    pub fn missing(&self, name: &str) -> Error {
        let path = self.path(name);
        Error::invalid(path.clone(), format!("missing required parameter: '{path}'"))
            .with_code("missing_required_parameter")
    }

    /// # Errors
    /// `Invalid` naming the member.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.must(name, "true or false")),
        }
    }

    /// A number from `least` to `most`.
    ///
    /// # Errors
    /// `Invalid` naming the member.
    pub fn number(&mut self, name: &str, least: f64, most: f64) -> Result<Option<f64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_f64().filter(|n| (least..=most).contains(n));
        number.map(Some).ok_or_else(|| self.must(name, &format!("a number from {least} to {most}")))
    }

    /// A number of any size: its range is the model's to judge.
    ///
    /// # Errors
    /// `Invalid` naming the member.
    pub fn real(&mut self, name: &str) -> Result<Option<f64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.must(name, "a number"))
    }

    /// A whole number of 64 bits.
    ///
    /// # Errors
    /// `Invalid` naming the member.
    pub fn whole(&mut self, name: &str) -> Result<Option<i64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_i64().map(Some).ok_or_else(|| self.must(name, "a whole number of 64 bits"))
    }

    /// A whole number, `least` or more.
    ///
    /// # Errors
    /// `Invalid` naming the member.
    pub fn count(&mut self, name: &str, least: u32) -> Result<Option<u32>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let count = value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n >= least);
        count.map(Some).ok_or_else(|| self.must(name, &format!("a whole number, {least} or more")))
    }

    /// One of these words.
    ///
    /// # Errors
    /// `Invalid` naming the member.
    pub fn word(&mut self, name: &str, words: &[&str]) -> Result<Option<String>> {
        match self.text(name)? {
            Some(word) if !words.contains(&word.as_str()) => {
                Err(self.must(name, &format!("one of {}", words.join(", "))))
            }
            word => Ok(word),
        }
    }

    /// # Errors
    /// `Invalid` naming the member.
    pub fn list(&mut self, name: &str) -> Result<Option<Vec<Value>>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(_) => Err(self.must(name, "a list")),
        }
    }

    /// A list of objects, each read by `read`; absent: empty.
    ///
    /// # Errors
    /// `Invalid` naming the member or the element (`tools[1]`), and those of `read`.
    pub fn each<T>(&mut self, name: &str, read: impl Fn(Self) -> Result<T>) -> Result<Vec<T>> {
        let list = self.list(name)?.unwrap_or_default();
        let path = self.path(name);
        list.into_iter().enumerate().map(|(i, value)| read(Self::of(value, &format!("{path}[{i}]"))?)).collect()
    }

    /// A list of texts; absent: empty.
    ///
    /// # Errors
    /// `Invalid` naming the member or the element.
    pub fn texts(&mut self, name: &str) -> Result<Vec<String>> {
        let list = self.list(name)?.unwrap_or_default();
        let text = |(i, value)| match value {
            Value::String(text) => Ok(text),
            _ => Err(self.must(&format!("{name}[{i}]"), "a string")),
        };
        list.into_iter().enumerate().map(text).collect()
    }

    /// The members of an object.
    ///
    /// # Errors
    /// `Invalid` naming the member.
    pub fn object(&mut self, name: &str) -> Result<Option<Self>> {
        let path = self.path(name);
        self.take(name).map(|value| Self::of(value, &path)).transpose()
    }

    /// Takes members that decide nothing here.
    pub fn pass_over(&mut self, names: &[&str]) {
        for name in names {
            self.members.remove(*name);
        }
    }

    /// A member that stays where it is, for others to read, must fit where it is there.
    ///
    /// # Errors
    /// `Invalid` naming the member.
    pub fn expect(&self, name: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Result<()> {
        match self.members.get(name) {
            Some(value) if !value.is_null() && !fits(value) => Err(self.must(name, what)),
            _ => Ok(()),
        }
    }

    /// As [`Fields::expect`], of a member of a member.
    ///
    /// # Errors
    /// `Invalid` naming the inner member.
    pub fn expect_in(&self, outer: &str, name: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Result<()> {
        match self.members.get(outer).and_then(|outer| outer.get(name)) {
            Some(value) if !value.is_null() && !fits(value) => Err(self.must(&format!("{outer}.{name}"), what)),
            _ => Ok(()),
        }
    }

    /// What was not taken.
    #[must_use]
    pub fn into_members(self) -> Map<String, Value> {
        self.members
    }

    /// What was not taken, as an object.
    #[must_use]
    pub fn into_value(self) -> Value {
        Value::Object(self.members)
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// `Invalid` naming the first member that was not taken.
    pub fn end(self) -> Result<()> {
        match self.members.into_iter().find(|(_, value)| !value.is_null()) {
            None => Ok(()),
            Some((name, _)) => {
                let path = format!("{}{name}", self.path);
                Err(Error::invalid(path.clone(), format!("unknown parameter: '{path}'")).with_code("unknown_parameter"))
            }
        }
    }
}
