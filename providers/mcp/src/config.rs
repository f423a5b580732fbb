//! The `config:` block: how long, how much, and what an operator alone may open: servers inside, and commands.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use frontdesk_api::{Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::endpoint::remember;

/// Every key has a default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    /// Longest silence of a server that was asked, 1 to 600 s; 60 where left out. What it tells of its progress is none.
    timeout_s: Option<u64>,
    /// Longest call in all, 1 to 3600 s; 600 where left out.
    call_s: Option<u64>,
    /// How long what a server says of its tools is believed, 1 to 86400 s; 300 where left out.
    relist_s: Option<u64>,
    /// Servers with addresses that are not public, `HOST` or `HOST:PORT`.
    inside: BTreeSet<String>,
    /// Programs that speak the protocol over their standard input and output.
    stdio: Vec<Command>,
    /// Whether whoever may ask models may name servers of their own (the `mcp` tool of Responses).
    request_servers: bool,
}

/// A program that tenants may name as `stdio:NAME`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Command {
    pub(crate) name: String,
    /// Absolute: nothing is looked for.
    pub(crate) command: PathBuf,
    #[serde(default)]
    pub(crate) args: Vec<String>,
    /// All that it finds in its environment beside `PATH`.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// Where it starts; None: in the root folder.
    #[serde(default)]
    pub(crate) folder: Option<PathBuf>,
}

impl Command {
    /// Values of its environment that must not come back.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let mut secrets = vec![];
        for value in self.env.values() {
            remember(&mut secrets, value);
        }
        // One that holds another is looked for first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets
    }
}

/// As it is used.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) silence: Duration,
    pub(crate) call: Duration,
    pub(crate) relist: Duration,
    pub(crate) inside: BTreeSet<String>,
    pub(crate) stdio: BTreeMap<String, Command>,
    pub(crate) request_servers: bool,
}

impl Config {
    /// # Errors
    /// `Invalid` on the key.
    pub(crate) fn read(written: Value) -> Result<Self> {
        // An entry without a `config:` block.
        let written = if written.is_null() { json!({}) } else { written };
        let written: Written = serde_path_to_error::deserialize(written).map_err(|e| {
            let path = e.path().to_string();
            Error::invalid(path, e.into_inner().to_string())
        })?;
        let mut stdio = BTreeMap::new();
        for (i, command) in written.stdio.into_iter().enumerate() {
            if !command.command.is_absolute() {
                let key = format!("stdio[{i}].command");
                let message = format!("{key} '{}' must be an absolute path", command.command.display());
                return Err(Error::invalid(key, message));
            }
            let name = command.name.clone();
            if name.is_empty() || stdio.insert(name.clone(), command).is_some() {
                let key = format!("stdio[{i}].name");
                return Err(Error::invalid(key.clone(), format!("{key} '{name}' must be a name that stands once")));
            }
        }
        Ok(Self {
            silence: seconds("timeout_s", written.timeout_s, 600, 60)?,
            call: seconds("call_s", written.call_s, 3600, 600)?,
            relist: seconds("relist_s", written.relist_s, 86_400, 300)?,
            inside: written.inside.iter().map(|host| host.to_ascii_lowercase()).collect(),
            stdio,
            request_servers: written.request_servers,
        })
    }

    /// Whether this server may have an address that is not public.
    pub(crate) fn is_inside(&self, uri: &http::Uri) -> bool {
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let place = uri.port_u16().map(|port| format!("{host}:{port}"));
        self.inside.contains(&host) || place.is_some_and(|place| self.inside.contains(&place))
    }
}

fn seconds(key: &str, value: Option<u64>, most: u64, usual: u64) -> Result<Duration> {
    match value.unwrap_or(usual) {
        n if n == 0 || n > most => Err(Error::invalid(key, format!("{key} is {n}, which is not between 1 and {most}"))),
        n => Ok(Duration::from_secs(n)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_names_its_key() {
        for (written, key) in [
            (json!({ "timeout_s": 0 }), "timeout_s"),
            (json!({ "call_s": 3601 }), "call_s"),
            (json!({ "insde": [] }), "insde"),
            (json!({ "request_servers": "yes" }), "request_servers"),
            (json!({ "stdio": [{ "name": "a", "command": "sh" }] }), "stdio[0].command"),
            (json!({ "stdio": [{ "name": "a", "command": "/a" }, { "name": "a", "command": "/b" }] }), "stdio[1].name"),
            (json!({ "stdio": [{ "name": "a", "command": "/a", "cwd": "/" }] }), "stdio[0].cwd"),
        ] {
            assert_eq!(Config::read(written).expect_err(key).param.as_deref(), Some(key));
        }
    }

    #[test]
    fn a_server_inside_is_known_by_its_host_or_by_host_and_port() {
        let config = Config::read(json!({ "inside": ["Tools.corp", "127.0.0.1:81"] })).expect("a configuration");
        let inside = |uri: &str| config.is_inside(&uri.parse().expect(uri));
        assert!(
            inside("https://tools.corp/mcp") && inside("http://TOOLS.corp:8/mcp") && inside("http://127.0.0.1:81/")
        );
        assert!(!inside("http://127.0.0.1/") && !inside("http://127.0.0.1:8/") && !inside("http://a.tools.corp/"));
    }
}
