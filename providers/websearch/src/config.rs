//! The `config:` block of a search engine.

use std::time::Duration;

use frontdesk_api::{Error, Result};
use frontdesk_http::Limits;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::engine::Kind;

/// What the file says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    base_url: Option<String>,
    api_key: Option<String>,
    /// Pages of an answer, 1 to 20.
    max_results: Option<usize>,
    /// Seconds an engine may take, 1 to 120.
    timeout_s: Option<u64>,
}

/// With its defaults. Not `Debug`: it holds a key.
pub(crate) struct Config {
    pub(crate) kind: Kind,
    pub(crate) base_url: String,
    /// None: SearXNG needs none.
    pub(crate) api_key: Option<String>,
    pub(crate) max_results: usize,
    timeout: Duration,
}

impl Config {
    /// # Errors
    /// `Invalid` naming the key.
    pub(crate) fn read(kind: Kind, config: Value) -> Result<Self> {
        let config = if config.is_null() { json!({}) } else { config };
        let block: Block = serde_path_to_error::deserialize(config).map_err(|e| {
            let path = e.path().to_string();
            Error::invalid(path, e.into_inner().to_string())
        })?;
        let api_key = block.api_key.filter(|key| !key.is_empty());
        if api_key.is_none() && kind != Kind::Searxng {
            return Err(Error::invalid("api_key", "api_key is missing: the engine asks who searches"));
        }
        let base_url = match (block.base_url, kind) {
            (Some(url), _) => url,
            (None, Kind::Brave) => "https://api.search.brave.com/res/v1".to_owned(),
            (None, Kind::Tavily) => "https://api.tavily.com".to_owned(),
            (None, Kind::Searxng) => {
                return Err(Error::invalid("base_url", "base_url is missing: the address of your SearXNG"));
            }
        };
        let max_results = within("max_results", block.max_results.unwrap_or(5), 1, 20)?;
        let timeout = Duration::from_secs(within("timeout_s", block.timeout_s.unwrap_or(15), 1, 120)?);
        Ok(Self { kind, base_url, api_key, max_results, timeout })
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { connect: self.timeout.min(Duration::from_secs(5)), head: self.timeout, idle: self.timeout }
    }
}

fn within<T: PartialOrd + std::fmt::Display>(key: &str, value: T, least: T, most: T) -> Result<T> {
    if value < least || value > most {
        return Err(Error::invalid(key, format!("{key} is {value}, which is not between {least} and {most}")));
    }
    Ok(value)
}
