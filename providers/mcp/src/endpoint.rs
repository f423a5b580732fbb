//! Where a group's server is, and what it is sent along: read from the registration.
//!
//! Invariant: the registration's headers and a client's are never sent together, or a client would choose what is done
//! with the trust that the registration's token has.

use std::collections::BTreeSet;

use frontdesk_api::{Cx, Error, Result, tools::ToolSource};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use serde_json::{Map, Value};

use crate::{
    config::{Command, Config},
    oauth::{self, Settings},
};

/// Members of a registration's `args` that are kept sealed.
pub(crate) const SECRETS: &[&str] = &["headers", "authorization"];

/// The member of a client's provider data (`X-LlamaStack-Provider-Data`) with headers by servers' addresses.
pub(crate) const CLIENTS_HEADERS: &str = "mcp_headers";

/// Headers that say how the protocol is spoken, and those of the connection: not a registration's to set.
const OURS: [&str; 12] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A secret shorter than this is found in many texts by chance, and is not looked for.
const LEAST_SECRET: usize = 8;

/// A server, and what one tenant says to it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) at: At,
    pub(crate) headers: HeaderMap,
    /// None: all of them.
    pub(crate) allowed: Option<BTreeSet<String>>,
    /// What it says of its tools' effects is believed also where it makes them less careful.
    pub(crate) trusted: bool,
    /// Whoever is let in is so by OAuth: nothing that is sent along says who asks.
    pub(crate) signs: bool,
    /// The client of this request brought its own headers.
    pub(crate) clients_own: bool,
    pub(crate) oauth: Settings,
    /// Told apart by whom they speak for: tenant, group, whatever is sent along, and who signed in.
    pub(crate) key: [u8; 32],
    /// Values that must not come back.
    secrets: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum At {
    Http { uri: Uri, inside: bool },
    Stdio(Command),
}

impl Endpoint {
    /// # Errors
    /// `Invalid` naming the member.
    pub(crate) fn of(config: &Config, cx: &Cx, source: &ToolSource) -> Result<Self> {
        let args = source.args.as_object().cloned().unwrap_or_default();
        let written = args.get("mcp_endpoint").and_then(|e| e.get("uri")).and_then(Value::as_str).unwrap_or_default();
        for name in args.keys() {
            if !["mcp_endpoint", "allowed_tools", "trust_annotations", "oauth"].contains(&name.as_str()) {
                let message = format!(
                    "args.{name} is not known: an MCP server takes allowed_tools, authorization, headers, oauth and trust_annotations"
                );
                return Err(Error::invalid(format!("args.{name}"), message));
            }
        }
        let at = place(config, written)?;
        let mut headers = HeaderMap::new();
        let mut secrets = vec![];
        let none = Map::new();
        let members = &source.secrets.0;
        let given = match members.get("headers") {
            None => &none,
            Some(value) => value
                .as_object()
                .ok_or_else(|| Error::invalid("args.headers", "args.headers must be an object of names and texts"))?,
        };
        add(&mut headers, &mut secrets, "args.headers", given)?;
        if let Some(token) = members.get("authorization") {
            let token = token.as_str().filter(|token| !token.is_empty());
            let token =
                token.ok_or_else(|| Error::invalid("args.authorization", "args.authorization must be a token"))?;
            bearer(&mut headers, &mut secrets, token)?;
        }
        let clients_own = clients(cx, written)?;
        if let Some(given) = &clients_own {
            headers = HeaderMap::new();
            add(&mut headers, &mut secrets, CLIENTS_HEADERS, given)?;
        }
        match &at {
            At::Stdio(_) if !headers.is_empty() => {
                return Err(Error::invalid("args.headers", "a command takes no headers: its secrets are in its env"));
            }
            At::Http { uri, inside: false } if uri.scheme_str() != Some("https") => {
                let message = format!(
                    "mcp_endpoint.uri must begin with https://: {} is asked over the internet (servers inside are named in \
                     the provider's configuration, 'inside')",
                    frontdesk_http::place(uri)
                );
                return Err(Error::invalid("mcp_endpoint.uri", message));
            }
            _ => {}
        }
        if let At::Stdio(command) = &at {
            secrets = command.secrets();
        }
        let oauth = Settings::read(&args)?;
        let (allowed, trusted) = (allowed(&args)?, trusted(&args)?);
        let mut signs = false;
        let mut who = None;
        if let At::Http { uri, .. } = &at {
            // Known without the token: a session at the server outlives it.
            signs = clients_own.is_none() && !headers.contains_key(header::AUTHORIZATION);
            if let Some((token, id)) = oauth::token(source.signed.as_ref(), uri).filter(|_| signs) {
                who = Some((token, id));
            }
        }
        if args.contains_key("oauth") && !signs && clients_own.is_none() {
            let message =
                "args.oauth is for servers over https, in place of credentials in args.authorization or args.headers";
            return Err(Error::invalid("args.oauth", message));
        }
        let key = key(cx, &source.toolgroup, written, &headers, who.as_ref().map(|(_, id)| id.as_str()));
        if let Some((token, _)) = &who {
            bearer(&mut headers, &mut secrets, token)?;
        }
        let clients_own = clients_own.is_some();
        Ok(Self { at, headers, allowed, trusted, signs, clients_own, oauth, key, secrets })
    }

    /// Values that must not come back.
    pub(crate) fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// The text without the secrets that were sent along.
    pub(crate) fn cleaned(&self, text: String) -> String {
        struck(&self.secrets, text)
    }

    /// As [`Endpoint::cleaned`], in every text of a value; names of members stay as they are.
    pub(crate) fn cleaned_value(&self, value: &Value) -> Value {
        struck_value(&self.secrets, value)
    }

    /// For people: what an error may show of it.
    pub(crate) fn shown(&self) -> String {
        match &self.at {
            At::Http { uri, .. } => frontdesk_http::place(uri),
            At::Stdio(command) => format!("stdio:{}", command.name),
        }
    }
}

/// The text with `[secret]` where one stood.
pub(crate) fn struck(secrets: &[String], text: String) -> String {
    secrets.iter().fold(text, |text, secret| match text.contains(secret.as_str()) {
        true => text.replace(secret.as_str(), "[secret]"),
        false => text,
    })
}

/// As [`struck`], in every text of a value; names of members stay as they are.
pub(crate) fn struck_value(secrets: &[String], value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(struck(secrets, text.clone())),
        Value::Array(list) => list.iter().map(|one| struck_value(secrets, one)).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, one)| (name.clone(), struck_value(secrets, one))).collect()
        }
        plain => plain.clone(),
    }
}

/// What the address of a command begins with.
const STDIO: &str = "stdio:";

/// Whether a registration with these `args` is of a command. One program serves all, one request at a time: a second one
/// would wait inside its own time limit.
pub(crate) fn is_command(args: &Value) -> bool {
    args["mcp_endpoint"]["uri"].as_str().is_some_and(|written| written.starts_with(STDIO))
}

fn place(config: &Config, written: &str) -> Result<At> {
    let wrong = |why: String| Error::invalid("mcp_endpoint.uri", why);
    if let Some(name) = written.strip_prefix(STDIO) {
        let command = config.stdio.get(name).cloned();
        return command.map(At::Stdio).ok_or_else(|| {
            wrong(format!(
                "no command is called '{name}': the operator names them in the provider's configuration, 'stdio'"
            ))
        });
    }
    let uri: Uri = written.parse().map_err(|_| wrong("mcp_endpoint.uri must be the URL of an MCP server".into()))?;
    let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    if !matches!(uri.scheme_str(), Some("http" | "https")) || !plain {
        return Err(wrong("mcp_endpoint.uri must begin with https:// and name a host, without a password".into()));
    }
    Ok(At::Http { inside: config.is_inside(&uri), uri })
}

fn allowed(args: &Map<String, Value>) -> Result<Option<BTreeSet<String>>> {
    let Some(given) = args.get("allowed_tools").filter(|v| !v.is_null()) else { return Ok(None) };
    let names = given.as_array().and_then(|list| list.iter().map(|n| n.as_str().map(str::to_owned)).collect());
    let wrong = || Error::invalid("args.allowed_tools", "args.allowed_tools must be a list of tools' names");
    names.map(Some).ok_or_else(wrong)
}

fn trusted(args: &Map<String, Value>) -> Result<bool> {
    match args.get("trust_annotations") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(trusted)) => Ok(*trusted),
        Some(_) => Err(Error::invalid("args.trust_annotations", "args.trust_annotations must be true or false")),
    }
}

/// What the client that asks sends along for this server.
fn clients(cx: &Cx, uri: &str) -> Result<Option<Map<String, Value>>> {
    let Some(given) = cx.client_keys.get(CLIENTS_HEADERS) else { return Ok(None) };
    let wrong = || {
        let message =
            format!("{CLIENTS_HEADERS} must be an object by servers' addresses, each with an object of headers");
        Error::invalid(CLIENTS_HEADERS, message)
    };
    let mut by_server: Map<String, Value> = serde_json::from_str(given).map_err(|_| wrong())?;
    match by_server.remove(uri) {
        None => Ok(None),
        Some(Value::Object(headers)) => Ok(Some(headers)),
        Some(_) => Err(wrong()),
    }
}

fn add(to: &mut HeaderMap, secrets: &mut Vec<String>, at: &str, headers: &Map<String, Value>) -> Result<()> {
    for (name, value) in headers {
        let param = format!("{at}.{name}");
        let wrong = |why: &str| Error::invalid(param.clone(), format!("{param} {why}"));
        let name: HeaderName = name.parse().map_err(|_| wrong("is no name of a header"))?;
        if OURS.contains(&name.as_str()) {
            return Err(wrong("is set by the protocol"));
        }
        let text = value.as_str().ok_or_else(|| wrong("must be a text"))?;
        let mut value =
            HeaderValue::from_str(text).map_err(|_| wrong("holds characters that a header cannot carry"))?;
        value.set_sensitive(true);
        remember(secrets, text);
        to.insert(name, value);
    }
    Ok(())
}

fn bearer(to: &mut HeaderMap, secrets: &mut Vec<String>, token: &str) -> Result<()> {
    remember(secrets, token);
    let value = frontdesk_http::setting::secret("args.authorization", &format!("Bearer {token}"))?;
    to.insert(header::AUTHORIZATION, value);
    Ok(())
}

/// A value, and what stands in it behind a scheme (`Bearer …`).
pub(crate) fn remember(secrets: &mut Vec<String>, value: &str) {
    let behind = value.split_once(' ').map_or(value, |(_, rest)| rest).trim();
    for secret in [value, behind] {
        if secret.len() >= LEAST_SECRET && !secrets.iter().any(|known| known == secret) {
            secrets.push(secret.to_owned());
        }
    }
}

fn key(cx: &Cx, group: &str, uri: &str, headers: &HeaderMap, signed: Option<&str>) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hash.update(&bytes.len().to_le_bytes());
        hash.update(bytes);
    };
    for text in [&cx.tenant, group, uri] {
        part(text.as_bytes());
    }
    let mut sent: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    sent.sort_unstable();
    for (name, value) in sent {
        part(name.as_bytes());
        part(value);
    }
    // No header is called so.
    if let Some(who) = signed {
        part(b":signed");
        part(who.as_bytes());
    }
    *hash.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use frontdesk_api::{client_keys::ClientKeys, tools::SecretArgs};
    use serde_json::json;

    use super::*;

    fn source(args: Value, secrets: Value) -> ToolSource {
        let Value::Object(secrets) = secrets else { panic!("an object") };
        ToolSource { toolgroup: "shop".into(), args, secrets: SecretArgs(secrets), ..ToolSource::default() }
    }

    fn config() -> Config {
        let commands = json!([{ "name": "files", "command": "/bin/cat" }]);
        Config::read(json!({ "inside": ["127.0.0.1"], "stdio": commands })).expect("a configuration")
    }

    fn at(uri: &str) -> Value {
        json!({ "mcp_endpoint": { "uri": uri } })
    }

    #[test]
    fn what_is_wrong_with_a_registration_is_named() {
        let (cx, good) = (Cx::internal("t", "r"), "https://mcp.example/mcp");
        let with = |name: &str, value: Value| {
            let mut args = at(good);
            args[name] = value;
            args
        };
        for (args, secrets, param) in [
            (at("mcp.example"), json!({}), "mcp_endpoint.uri"),
            (at("file:///etc/passwd"), json!({}), "mcp_endpoint.uri"),
            (at("https://user:pass@mcp.example/"), json!({}), "mcp_endpoint.uri"),
            // In the clear only inside.
            (at("http://mcp.example/"), json!({}), "mcp_endpoint.uri"),
            (at("stdio:shell"), json!({}), "mcp_endpoint.uri"),
            (at("stdio:files"), json!({ "authorization": "x" }), "args.headers"),
            (with("allowed_tools", json!("look")), json!({}), "args.allowed_tools"),
            (with("trust_annotations", json!("yes")), json!({}), "args.trust_annotations"),
            (with("timeout", json!(1)), json!({}), "args.timeout"),
            (at(good), json!({ "headers": [] }), "args.headers"),
            (at(good), json!({ "headers": { "Host": "inside" } }), "args.headers.Host"),
            (at(good), json!({ "headers": { "mcp-session-id": "1" } }), "args.headers.mcp-session-id"),
            (at(good), json!({ "headers": { "X-A": "a\r\nX-B: b" } }), "args.headers.X-A"),
            (at(good), json!({ "headers": { "X A": "a" } }), "args.headers.X A"),
            (at(good), json!({ "headers": { "X-A": 7 } }), "args.headers.X-A"),
            (at(good), json!({ "authorization": "a\nb" }), "args.authorization"),
        ] {
            let error = Endpoint::of(&config(), &cx, &source(args, secrets)).expect_err(param);
            assert_eq!(error.param.as_deref(), Some(param), "{error}");
        }
        for fits in [good, "http://127.0.0.1:8/mcp", "stdio:files"] {
            Endpoint::of(&config(), &cx, &source(at(fits), json!({}))).expect(fits);
        }
    }

    #[test]
    fn secrets_are_sent_never_shown_and_taken_out_of_what_comes_back() {
        let secrets =
            json!({ "authorization": "tok-12345678", "headers": { "X-Key": "Basic abcdefgh", "X-Short": "7" } });
        let endpoint =
            Endpoint::of(&config(), &Cx::internal("t", "r"), &source(at("https://h/"), secrets)).expect("an endpoint");
        assert_eq!(endpoint.headers["authorization"], "Bearer tok-12345678");
        assert!(!format!("{:?}", endpoint.headers).contains("tok-"));
        let said = "you sent Bearer tok-12345678 and Basic abcdefgh or abcdefgh, 7 times".to_owned();
        assert_eq!(endpoint.cleaned(said), "you sent Bearer [secret] and [secret] or [secret], 7 times");
    }

    #[test]
    fn a_clients_headers_stand_in_for_the_registrations_and_not_beside_them() {
        let headers = json!({ "https://h/mcp": { "X-On-Behalf-Of": "someone else" } }).to_string();
        let keys = ClientKeys::new([(CLIENTS_HEADERS.to_owned(), headers)]);
        let cx = Cx { client_keys: keys, ..Cx::internal("t", "r") };
        let sealed = json!({ "authorization": "tok-12345678", "headers": { "X-Key": "sealed-12345" } });
        let of = |uri: &str| Endpoint::of(&config(), &cx, &source(at(uri), sealed.clone())).expect("an endpoint");
        let sent = of("https://h/mcp").headers;
        assert_eq!((sent.len(), &sent["x-on-behalf-of"]), (1, &HeaderValue::from_static("someone else")));
        assert_eq!(of("https://h/other").headers["authorization"], "Bearer tok-12345678");
    }

    #[test]
    fn a_client_brings_headers_for_one_server_and_they_tell_its_session_apart() {
        let headers = json!({ "https://h/mcp": { "Authorization": "Bearer mine" } }).to_string();
        let keys = ClientKeys::new([(CLIENTS_HEADERS.to_owned(), headers)]);
        let mine = Cx { client_keys: keys, ..Cx::internal("t", "r") };
        let of = |cx: &Cx, uri: &str| Endpoint::of(&config(), cx, &source(at(uri), json!({}))).expect("an endpoint");
        assert_eq!(of(&mine, "https://h/mcp").headers["authorization"], "Bearer mine");
        assert!(of(&mine, "https://h/other").headers.is_empty());
        let (theirs, other) = (Cx::internal("t", "r"), Cx::internal("u", "r"));
        let keys = [&mine, &theirs, &other].map(|cx| of(cx, "https://h/mcp").key);
        assert!(keys[0] != keys[1] && keys[1] != keys[2]);
        assert_eq!(of(&theirs, "https://h/mcp").key, keys[1]);
    }
}
