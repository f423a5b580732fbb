//! What a group's tools may send, and where: the rules in front of the way out, for every kind of tool.
//!
//! Invariants: a request goes to a host of its group's; a secret of its group's is written into it here, after that was
//! checked and only for a host that the secret is bound to; in what comes back no secret that was sent is left.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use frontdesk_api::{
    Cx, Egress, Error, Kind, Result, Secrets,
    egress::{HostRule, Outbound, OutboundAnswer, OutboundLimits, Place},
    secret::Secret,
    tools::{Credential, CredentialPlace, FetchRequest},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::strike::strike;

/// The most a tool's request and its answer may have, in bytes, and how long both may take together.
const REQUEST: usize = 1 << 20;
const LIMITS: OutboundLimits = OutboundLimits { time: Duration::from_secs(30), answer: 1 << 20 };

/// Rules for hosts of one group.
const MOST_HOSTS: usize = 64;

/// RFC 3986's unreserved characters stay as they are.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What one group's tools may ask and use: `args.hosts` and `args.secrets` of its registration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) hosts: Vec<HostRule>,
    /// Names of the tenant's secrets.
    pub(crate) secrets: BTreeSet<String>,
}

impl Policy {
    /// `hosts` is a list of rules; `secrets` a list of names, or names by what they are for.
    ///
    /// # Errors
    /// `Invalid` naming the member.
    pub(crate) fn of(args: &Value) -> Result<Self> {
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
    pub(crate) async fn send(
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
        let size = request.url.len()
            + request.body.len()
            + request.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if size > REQUEST {
            return Err(Error::new(
                Kind::TooLarge,
                format!("the request has {size} bytes; at most {REQUEST} are sent"),
            ));
        }
        let mut outbound =
            Outbound { method: request.method, url: request.url, headers: request.headers, body: request.body };
        let mut sent = vec![];
        for credential in &request.credentials {
            let secret = self.secret(cx, secrets, &credential.secret, &place).await?;
            put(&mut outbound, credential, &secret)?;
            sent.push((credential.secret.as_str(), secret.value));
        }
        let mut answer = egress.send(cx, outbound, LIMITS).await?;
        for (name, value) in &sent {
            clean(&mut answer, name, value);
        }
        Ok(answer)
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
            let joint = if outbound.url.contains('?') { '&' } else { '?' };
            let (name, value) = (encoded(name), encoded(&format!("{prefix}{value}")));
            outbound.url.push_str(&format!("{joint}{name}={value}"));
        }
        CredentialPlace::Cookie => {
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || !name.bytes().all(token) {
                return Err(Error::invalid("credentials", "a cookie's name has no such characters"));
            }
            let cookie = format!("{name}={}", encoded(&format!("{prefix}{value}")));
            match outbound.headers.iter_mut().find(|(held, _)| held.eq_ignore_ascii_case("cookie")) {
                Some((_, held)) => *held = format!("{held}; {cookie}"),
                None => outbound.headers.push(("Cookie".to_owned(), cookie)),
            }
        }
    }
    Ok(())
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Strikes the secret out of the answer, as it is and in base64.
fn clean(answer: &mut OutboundAnswer, name: &str, value: &str) {
    let mut forms = vec![value.to_owned(), STANDARD.encode(value).trim_end_matches('=').to_owned()];
    // Of `user:password` the second half alone is a secret too.
    forms.extend(value.split_once(':').map(|(_, password)| password.to_owned()).filter(|p| p.len() >= 8));
    let instead = format!("[secret {name}]");
    for form in &forms {
        if let Some(body) = strike(&answer.body, form, &instead) {
            answer.body = Bytes::from(body);
        }
        for (_, text) in &mut answer.headers {
            if let Some(struck) = strike(text.as_bytes(), form, &instead) {
                *text = String::from_utf8_lossy(&struck).into_owned();
            }
        }
    }
}

#[cfg(test)]
mod tests;
