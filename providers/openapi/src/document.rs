//! The document: read, recognised, and its references followed.

use std::cell::Cell;

use frontdesk_api::{Error, Result};
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// References one may lead to another through.
const CHAIN: usize = 32;

/// A document of a version this crate knows.
pub(crate) struct Document {
    pub(crate) root: Value,
    /// 3.0, whose schemas are no JSON Schema yet.
    pub(crate) old: bool,
    /// Nodes of schemas that were written out so far.
    spent: Cell<usize>,
    /// Something of a schema was left open since this was asked last.
    left_open: Cell<bool>,
}

impl Document {
    /// # Errors
    /// `Invalid` on `param`: neither JSON nor YAML, or of another kind or version.
    pub(crate) fn read(text: &[u8], param: &str) -> Result<Self> {
        let refuse = |why: String| Error::invalid(param, why);
        let text = std::str::from_utf8(text).map_err(|_| refuse("the document is no text".into()))?;
        let text = text.trim_start_matches('\u{feff}').trim();
        let root: Value = if text.starts_with('{') {
            serde_json::from_str(text).map_err(|e| refuse(format!("the document is not valid JSON: {e}")))?
        } else {
            serde_saphyr::from_str(text).map_err(|e| {
                let whole = e.to_string();
                refuse(format!("the document is not valid YAML: {}", whole.lines().next().unwrap_or_default()))
            })?
        };
        Self::of(root, param)
    }

    /// # Errors
    /// As [`Document::read`].
    pub(crate) fn of(root: Value, param: &str) -> Result<Self> {
        let refuse = |why: &str| Err(Error::invalid(param, why));
        if root.get("swagger").is_some() {
            return refuse("this is a document of Swagger 2.0; convert it to OpenAPI 3 first");
        }
        let version = match root.get("openapi") {
            Some(Value::String(version)) => version.clone(),
            Some(Value::Number(version)) => version.to_string(),
            _ => return refuse("this is no OpenAPI document: it has no member 'openapi' that says its version"),
        };
        let old = version.starts_with("3.0");
        if !old && !version.starts_with("3.1") {
            let known = "OpenAPI 3.0 and 3.1 are read";
            return refuse(&format!("the document says version '{}'; {known}", version.escape_default()));
        }
        if !root.get("paths").is_some_and(Value::is_object) {
            return refuse("the document has no paths");
        }
        Ok(Self { root, old, spent: Cell::new(0), left_open: Cell::new(false) })
    }

    pub(crate) fn spend(&self, nodes: usize) {
        self.spent.set(self.spent.get().saturating_add(nodes));
    }

    pub(crate) fn spent(&self) -> usize {
        self.spent.get()
    }

    pub(crate) fn leave_open(&self) {
        self.left_open.set(true);
    }

    /// Whether anything was left open, once.
    pub(crate) fn take_left_open(&self) -> bool {
        self.left_open.take()
    }

    /// What a value means: itself, or what its `$ref` leads to in the end.
    ///
    /// # Errors
    /// Why it leads nowhere.
    pub(crate) fn follow<'a>(&'a self, value: &'a Value) -> Result<&'a Value, String> {
        let mut at = value;
        for _ in 0..CHAIN {
            let Some(to) = at.get("$ref").and_then(Value::as_str) else { return Ok(at) };
            at = self.at(to)?;
        }
        Err("a chain of references does not end".to_owned())
    }

    /// What a reference names.
    ///
    /// # Errors
    /// It leads out of the document, or to nothing.
    pub(crate) fn at(&self, reference: &str) -> Result<&Value, String> {
        let Some(pointer) = reference.strip_prefix('#') else {
            let shown: String = reference.chars().take(100).collect();
            return Err(format!("'{shown}' leads out of the document; bundle it into one"));
        };
        let pointer = percent_decode_str(pointer).decode_utf8_lossy();
        self.root.pointer(&pointer).ok_or_else(|| format!("'{reference}' leads to nothing"))
    }
}

/// The text of a member.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_document_is_told_apart() {
        for (text, words) in [
            ("{", "not valid JSON"),
            ("a: [", "not valid YAML"),
            ("just words", "no member 'openapi'"),
            (r#"{"swagger":"2.0","paths":{}}"#, "Swagger 2.0"),
            ("openapi: 2.5\npaths: {}", "version '2.5'"),
            ("openapi: 3.1.0\ninfo: {}", "no paths"),
            ("\u{feff}{}", "no member 'openapi'"),
        ] {
            let error = Document::read(text.as_bytes(), "args.document").err().expect(text);
            assert!(error.message.contains(words), "{text}: {error}");
        }
        assert!(Document::read(&[0xff, 0xfe], "d").err().expect("no text").message.contains("no text"));
        let yaml = "openapi: 3.0.3\npaths:\n  /a:\n    get:\n      responses:\n        200: {description: ok}\n";
        assert!(Document::read(yaml.as_bytes(), "d").expect("a document").old);
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut yaml = "openapi: 3.1.0\na: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (name, before) in
            ["b", "c", "d", "e", "f", "g", "h", "i"].iter().zip(["a", "b", "c", "d", "e", "f", "g", "h"])
        {
            yaml.push_str(&format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(",")));
        }
        yaml.push_str("paths: {}\n");
        assert!(Document::read(yaml.as_bytes(), "d").is_err());
    }

    #[test]
    fn references_lead_inside_and_end() {
        let root = serde_json::json!({"openapi": "3.1.0", "paths": {"/a/{b}": {"x": 1}}, "r": {"$ref": "#/r"},
            "s": {"$ref": "#/paths/~1a~1%7Bb%7D/x"}});
        let document = Document::of(root, "d").expect("a document");
        assert_eq!(document.follow(&document.root["s"]), Ok(&serde_json::json!(1)));
        assert!(document.follow(&document.root["r"]).expect_err("a circle").contains("does not end"));
        assert!(document.at("https://evil.example/x.json").expect_err("outside").contains("leads out"));
        assert!(document.at("#/none").expect_err("nothing").contains("leads to nothing"));
    }
}
