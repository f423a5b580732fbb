//! The command line as a small map: `--name value`, or `--name` alone for a switch.

use std::collections::HashMap;

pub(crate) struct Options(HashMap<String, String>);

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Self {
        let mut map = HashMap::new();
        let mut rest = arguments.iter().peekable();
        while let Some(name) = rest.next() {
            let value = rest.next_if(|next| !next.starts_with("--")).cloned();
            map.insert(name.trim_start_matches("--").to_owned(), value.unwrap_or_else(|| "1".into()));
        }
        Self(map)
    }

    pub(crate) fn number(&self, name: &str, default: u64) -> u64 {
        self.0.get(name).and_then(|v| v.parse().ok()).unwrap_or(default)
    }

    pub(crate) fn text(&self, name: &str, default: &str) -> String {
        self.0.get(name).cloned().unwrap_or_else(|| default.to_owned())
    }

    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}
