//! What a client says of a file in a knowledge store: up to 16 pairs of a key and a plain value.
//!
//! They exist so that a search can be narrowed ([`crate::filter`]). Invariant: what was set is what is shown, nothing of
//! ours among it. Source of the limits: OpenAI's API reference, "vector store file".

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// The most pairs of one file.
const PAIRS: usize = 16;
/// Characters of a key, at most.
pub const KEY: usize = 64;
/// Characters of a text, at most.
pub const TEXT: usize = 512;

/// The attributes of a file in a knowledge store. Read from a row they are taken as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attributes(Map<String, Value>);

impl Attributes {
    /// As a client sets them.
    ///
    /// # Errors
    /// `Invalid` naming `attributes`, and the key where one is wrong.
    pub fn new(pairs: Map<String, Value>) -> Result<Self> {
        let wrong = |message: String| Err(Error::invalid("attributes", message));
        if pairs.len() > PAIRS {
            return wrong(format!("'attributes' has {} pairs; at most {PAIRS} are kept", pairs.len()));
        }
        for (key, value) in &pairs {
            let long = key.chars().count();
            if long > KEY {
                let short: String = key.chars().take(KEY).collect();
                return wrong(format!(
                    "the key '{short}…' of 'attributes' has {long} characters; at most {KEY} are kept"
                ));
            }
            if key.contains('\0') || value.as_str().is_some_and(|text| text.contains('\0')) {
                let shown = key.replace('\0', "\\0");
                return wrong(format!("'attributes.{shown}' has the character NUL, which is not kept"));
            }
            match value {
                Value::String(text) if text.chars().count() > TEXT => {
                    let long = text.chars().count();
                    return wrong(format!("'attributes.{key}' has {long} characters; at most {TEXT} are kept"));
                }
                Value::String(_) | Value::Number(_) | Value::Bool(_) => {}
                _ => return wrong(format!("'attributes.{key}' must be a string, a number or a boolean")),
            }
        }
        Ok(Self(pairs))
    }

    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// From a row.
impl TryFrom<String> for Attributes {
    type Error = serde_json::Error;

    fn try_from(text: String) -> std::result::Result<Self, serde_json::Error> {
        serde_json::from_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(pairs: &Value) -> Result<Attributes> {
        Attributes::new(pairs.as_object().cloned().expect("an object"))
    }

    #[test]
    fn what_is_too_long_too_many_or_no_plain_value_is_named() {
        let (key, text) = ("ü".repeat(64), "ü".repeat(512));
        set(&json!({ key.as_str(): text, "n": 1.5, "b": false, "": "" })).expect("within the limits");
        let many = |n: usize| (0..n).map(|i| (i.to_string(), json!(i))).collect::<Map<_, _>>();
        Attributes::new(many(16)).expect("sixteen");
        let refused = [
            (Value::Object(many(17)), "17 pairs"),
            (json!({ format!("{key}x"): 1 }), "65 characters"),
            (json!({ "note": format!("{text}x") }), "'attributes.note' has 513"),
            (json!({ "url": "a\u{0}" }), "'attributes.url' has the character NUL"),
            (json!({ "a\u{0}b": 1 }), "'attributes.a\\0b' has the character NUL"),
            (json!({ "list": [1] }), "'attributes.list' must be"),
            (json!({ "none": null }), "'attributes.none' must be"),
        ];
        for (pairs, said) in refused {
            let error = set(&pairs).expect_err(said);
            assert_eq!(error.param.as_deref(), Some("attributes"));
            assert!(error.message.contains(said), "{error}");
        }
    }
}
