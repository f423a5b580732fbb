//! What a group's tools may send, and where: the rules in front of the way out, for every kind of tool.
//!
//! Invariants: a request goes to a host of its group's; a secret of its group's is written into it here, after that was
//! checked and only for a host that the secret is bound to; in what comes back no secret that was sent is left.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use bytes::Bytes;
use frontdesk_api::{
    Cx, Egress, Error, Kind, Result, Secrets,
    egress::{HostRule, Outbound, OutboundAnswer, OutboundLimits, Place},
    secret::Secret,
    tools::{Credential, CredentialPlace, FetchRequest},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use crate::strike::strike;

/// The most a tool's request and its answer may have, in bytes, and how long both may take together.
const REQUEST: usize = 1 << 20;
const LIMITS: OutboundLimits = OutboundLimits { time: Duration::from_secs(30), answer: 1 << 20 };

/// Headers and secrets of one request.
const MOST_HEADERS: usize = 64;
const MOST_CREDENTIALS: usize = 8;

/// Headers that ask for a piece of the answer: a secret in pieces is not found and not struck out.
const PIECES: [&str; 2] = ["range", "if-range"];

/// Rules for hosts of one group.
const MOST_HOSTS: usize = 64;

/// RFC 3986's unreserved characters stay as they are.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What one group's tools may ask and use: `args.hosts` and `args.secrets` of its registration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    pub(crate) hosts: Vec<HostRule>,
    /// Names of the tenant's secrets.
    pub(crate) secrets: BTreeSet<String>,
}

impl Policy {
    /// `hosts` is a list of rules; `secrets` a list of names, or names by what they are for.
    ///
    /// # Errors
    /// `Invalid` naming the member.
    pub fn of(args: &Value) -> Result<Self> {
        let mut policy = Self::default();
        let hosts = list("hosts", args.get("hosts"))?;
        if hosts.len() > MOST_HOSTS {
            return Err(Error::invalid("args.hosts", format!("at most {MOST_HOSTS} hosts may be named")));
        }
        for (i, host) in hosts.iter().enumerate() {
            policy.hosts.push(host.parse().map_err(|wrong: String| Error::invalid(format!("args.hosts[{i}]"), wrong))?);
        }
        policy.secrets = match args.get("secrets") {
            Some(Value::Object(by_use)) => {
                let named = by_use.values().filter(|name| !name.is_null()).cloned().collect();
                list("secrets", Some(&Value::Array(named)))?.into_iter().collect()
            }
            other => list("secrets", other)?.into_iter().collect(),
        };
        Ok(policy)
    }

    /// Sends a tool's request.
    ///
    /// # Errors
    /// As [`frontdesk_api::tools::ToolHost::fetch`].
    pub async fn send(
        &self,
        cx: &Cx,
        egress: &dyn Egress,
        secrets: &dyn Secrets,
        request: FetchRequest,
    ) -> Result<OutboundAnswer> {
        let place = Place::of(&request.url).map_err(|wrong| Error::invalid("url", wrong))?;
        if !self.hosts.iter().any(|rule| rule.admits(&place)) {
            let hosts: Vec<String> = self.hosts.iter().map(ToString::to_string).collect();
            let may = if hosts.is_empty() { "none".to_owned() } else { hosts.join(", ") };
            return Err(forbidden(format!("{place} is not a host that this tool may ask; there are: {may}")));
        }
        for (member, count, most) in [
            ("headers", request.headers.len(), MOST_HEADERS),
            ("credentials", request.credentials.len(), MOST_CREDENTIALS),
        ] {
            if count > most {
                return Err(Error::invalid(member, format!("a request has at most {most} {member}")));
            }
        }
        let piece = request.headers.iter().find(|(name, _)| PIECES.iter().any(|p| name.eq_ignore_ascii_case(p)));
        if let Some((name, _)) = piece.filter(|_| !request.credentials.is_empty()) {
            let message = format!("the header '{}' is not sent along with a secret", name.escape_default());
            return Err(Error::invalid("headers", message));
        }
        // Before secrets are looked up and copied, and once more with them.
        let mut outbound =
            Outbound { method: request.method, url: request.url, headers: request.headers, body: request.body };
        measure(&outbound)?;
        let mut sent = BTreeMap::new();
        for credential in &request.credentials {
            let secret = self.secret(cx, secrets, &credential.secret, &place).await?;
            put(&mut outbound, credential, &secret)?;
            sent.insert(credential.secret.as_str(), secret.value);
        }
        measure(&outbound)?;
        let mut answer = egress.send(cx, outbound, LIMITS).await;
        for (name, value) in sent {
            clean(&mut answer, name, &value);
        }
        answer
    }

    async fn secret(&self, cx: &Cx, secrets: &dyn Secrets, name: &str, place: &Place) -> Result<Secret> {
        let shown = name.escape_default();
        if !self.secrets.contains(name) {
            return Err(forbidden(format!("the secret '{shown}' is not among those of this tool (args.secrets)")));
        }
        let Some(secret) = secrets.find(cx, name).await? else {
            return Err(forbidden(format!("there is no secret '{shown}' any more: an admin has to put it back")));
        };
        if !secret.hosts.iter().any(|rule| rule.admits(place)) {
            return Err(forbidden(format!("the secret '{shown}' may not be sent to {place}")));
        }
        Ok(secret)
    }
}

fn measure(outbound: &Outbound) -> Result<()> {
    let headers: usize = outbound.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    let size = outbound.url.len() + outbound.body.len() + headers;
    if size <= REQUEST {
        return Ok(());
    }
    Err(Error::new(Kind::TooLarge, format!("the request has {size} bytes; at most {REQUEST} are sent")))
}

fn forbidden(message: String) -> Error {
    Error::new(Kind::Forbidden, message)
}

fn list(name: &str, value: Option<&Value>) -> Result<Vec<String>> {
    let wrong = || Error::invalid(format!("args.{name}"), format!("args.{name} must be a list of texts"));
    match value {
        None | Some(Value::Null) => Ok(vec![]),
        Some(Value::Array(items)) => items.iter().map(|i| i.as_str().map(str::to_owned).ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

/// Writes the secret where it belongs; what the tool itself put there goes.
fn put(outbound: &mut Outbound, credential: &Credential, secret: &Secret) -> Result<()> {
    let Credential { name, prefix, .. } = credential;
    let value = if credential.base64 { STANDARD.encode(&secret.value) } else { secret.value.clone() };
    match credential.place {
        CredentialPlace::Header => {
            outbound.headers.retain(|(held, _)| !held.eq_ignore_ascii_case(name));
            outbound.headers.push((name.clone(), format!("{prefix}{value}")));
        }
        CredentialPlace::Query => {
            let (front, query) = outbound.url.split_once('?').unwrap_or((&outbound.url, ""));
            let others = query.split('&').filter(|pair| !pair.is_empty() && !is_named(pair, name));
            let own = format!("{}={}", encoded(name), encoded(&format!("{prefix}{value}")));
            let query: Vec<&str> = others.chain([own.as_str()]).collect();
            outbound.url = format!("{front}?{}", query.join("&"));
        }
        CredentialPlace::Cookie => {
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || !name.bytes().all(token) {
                return Err(Error::invalid("credentials", "a cookie's name has no such characters"));
            }
            let cookie = format!("{name}={}", encoded(&format!("{prefix}{value}")));
            let (held, others): (Vec<_>, Vec<_>) =
                outbound.headers.drain(..).partition(|(held, _)| held.eq_ignore_ascii_case("cookie"));
            outbound.headers = others;
            let pairs = held.iter().flat_map(|(_, pairs)| pairs.split(';')).map(str::trim);
            let kept = pairs.filter(|pair| !pair.is_empty() && !is_named(pair, name));
            let all: Vec<&str> = kept.chain([cookie.as_str()]).collect();
            outbound.headers.push(("Cookie".to_owned(), all.join("; ")));
        }
    }
    Ok(())
}

/// Whether a pair of a query or a cookie has the name, for a server that decodes it and reads no capitals.
fn is_named(pair: &str, name: &str) -> bool {
    let held = pair.split('=').next().unwrap_or_default().replace('+', " ");
    percent_decode_str(&held).decode_utf8_lossy().trim().eq_ignore_ascii_case(name)
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Strikes the secret out of the answer, or of what is said about there being none, as it is and in both kinds of base64.
fn clean(answer: &mut Result<OutboundAnswer>, name: &str, value: &str) {
    let mut forms = vec![value.to_owned()];
    forms.extend([STANDARD, URL_SAFE].map(|base64| base64.encode(value).trim_end_matches('=').to_owned()));
    // Of `user:password` the second half alone is a secret too.
    forms.extend(value.split_once(':').map(|(_, password)| password.to_owned()).filter(|p| p.len() >= 8));
    let instead = format!("[secret {name}]");
    forms.dedup();
    for form in &forms {
        let within = |text: &mut String| {
            if let Some(struck) = strike(text.as_bytes(), form, &instead) {
                *text = String::from_utf8_lossy(&struck).into_owned();
            }
        };
        match answer {
            Ok(answer) => {
                if let Some(body) = strike(&answer.body, form, &instead) {
                    answer.body = Bytes::from(body);
                }
                answer.headers.iter_mut().for_each(|(_, text)| within(text));
            }
            Err(error) => within(&mut error.message),
        }
    }
}

#[cfg(test)]
mod tests;
