//! Where a tool's request may go: rules for hosts, the one way to read an address, and the way out.
//!
//! A rule names a host (`api.shop.example`), all hosts below a domain (`*.shop.example`), and with them a scheme and a
//! port: without either it means https on port 443. Invariants: an address has one reading, and one that servers and
//! resolvers may read in several ways (user names, number-like hosts, trailing dots) is refused; a wildcard never
//! covers what many owners share.

use std::{fmt, net::IpAddr, str::FromStr, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Cx, Result};

/// Sends one request of a tool to the address that it names, after looking at where that is.
#[async_trait]
pub trait Egress: Send + Sync {
    /// One request, one answer; a redirect is an answer.
    ///
    /// # Errors
    /// `Invalid` for what no request may hold, `Forbidden` where the address is not one that may be reached,
    /// `TooLarge` and `Timeout` for the limits, `Upstream`, `Cancelled`.
    async fn send(&self, cx: &Cx, request: Outbound, limits: OutboundLimits) -> Result<OutboundAnswer>;
}

/// A request as it goes out. Not `Debug`: its headers may hold secrets.
#[derive(Clone, Default)]
pub struct Outbound {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// An answer, whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboundAnswer {
    pub status: u16,
    /// Names in lower case; values that are no text are left out.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl OutboundAnswer {
    /// The first header of the name, which is given in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }
}

/// How far one request may go.
#[derive(Debug, Clone, Copy)]
pub struct OutboundLimits {
    /// From the request to the end of the answer.
    pub time: Duration,
    /// Bytes of the answer's body.
    pub answer: usize,
}

/// Scheme, host and port of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub https: bool,
    /// In lower case; an IPv6 address without its brackets.
    pub host: String,
    pub port: u16,
}

impl Place {
    /// Reads an absolute http or https address.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn of(url: &str) -> Result<Self, String> {
        if let Some(bad) = url.chars().find(|c| !c.is_ascii_graphic() || "\\\"<>^`{|}#".contains(*c)) {
            return Err(format!("an address may not hold the character '{}'", bad.escape_default()));
        }
        let (scheme, rest) = url.split_once("://").ok_or("an address begins with https:// or http://")?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            other => return Err(format!("the scheme '{other}' is not allowed: use https or http")),
        };
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err("an address may not hold a user name".to_owned());
        }
        let (host, port) = host_and_port(authority)?;
        Ok(Self { https, host, port: port.unwrap_or(if https { 443 } else { 80 }) })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.https { ("https", 443) } else { ("http", 80) };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}", self.host)?;
        if self.port == usual { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// Which places a tool may ask, or a secret may be sent to: one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostRule {
    /// Every host below `place.host`, and not that one itself.
    below: bool,
    place: Place,
}

impl HostRule {
    #[must_use]
    pub fn admits(&self, place: &Place) -> bool {
        let host = if self.below {
            place.host.strip_suffix(&self.place.host).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
        } else {
            place.host == self.place.host
        };
        host && place.https == self.place.https && place.port == self.place.port
    }

    /// The rule for exactly this place.
    #[must_use]
    pub fn exactly(place: Place) -> Self {
        Self { below: false, place }
    }
}

impl FromStr for HostRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (https, rest) = match text.split_once("://") {
            None => (true, text),
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some((other, _)) => return Err(format!("'{text}': the scheme '{other}' is not allowed")),
        };
        let (below, rest) = match rest.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        if rest.contains(['/', '?', '@']) {
            return Err(format!("'{text}': a rule has a host and at most a scheme and a port"));
        }
        if rest.contains('*') || rest.is_empty() {
            return Err(format!("'{text}': '*' stands only in front of a domain, as in *.shop.example"));
        }
        let (host, port) = host_and_port(rest).map_err(|e| format!("'{text}': {e}"))?;
        if below && is_shared(&host) {
            return Err(format!("'{text}' covers hosts of many owners: name the domain of one"));
        }
        let port = port.unwrap_or(if https { 443 } else { 80 });
        Ok(Self { below, place: Place { https, host, port } })
    }
}

impl TryFrom<String> for HostRule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HostRule> for String {
    fn from(rule: HostRule) -> Self {
        rule.to_string()
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.place.to_string();
        // https is what a rule means without saying so.
        let (scheme, rest) = if self.place.https { ("", &whole["https://".len()..]) } else { whole.split_at(7) };
        write!(f, "{scheme}{}{rest}", if self.below { "*." } else { "" })
    }
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = port.map(|port| match port.parse() {
        Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
        _ => Err(format!("'{port}' is no port")),
    });
    let port = port.transpose()?;
    if let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        let address: std::net::Ipv6Addr = inner.parse().map_err(|_| format!("'{host}' is no IPv6 address"))?;
        return Ok((address.to_string(), port));
    }
    let host = host.to_ascii_lowercase();
    if host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()) {
        return Ok((host, port));
    }
    let plain = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if host.len() > 253 || !host.split('.').all(plain) {
        return Err(format!("'{}' is no host name", host.escape_default()));
    }
    // What resolvers read as an address in another spelling: 2130706433, 0x7f.1, 127.1.
    let last = host.rsplit('.').next().unwrap_or_default();
    let digits = last.strip_prefix("0x").unwrap_or(last);
    if last.bytes().all(|b| b.is_ascii_digit())
        || (last.starts_with("0x") && digits.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        return Err(format!("'{host}' is a number in another spelling: write an address with four parts"));
    }
    Ok((host, port))
}

/// Second labels under which registries of countries sell names.
const SECOND: [&str; 12] = ["ac", "co", "com", "edu", "go", "gob", "gov", "mil", "ne", "net", "or", "org"];

/// Domains under which strangers get hosts of their own, at whatever depth. Incomplete, as every such list.
const LENT: [&str; 43] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "amplifyapp.com",
    "appspot.com",
    "awsapprunner.com",
    "azure-api.net",
    "azurecontainerapps.io",
    "azurefd.net",
    "azurestaticapps.net",
    "azurewebsites.net",
    "b-cdn.net",
    "cloudapp.azure.com",
    "cloudapp.net",
    "cloudflarestorage.com",
    "cloudfront.net",
    "cloudfunctions.net",
    "core.windows.net",
    "deno.dev",
    "digitaloceanspaces.com",
    "firebaseapp.com",
    "firebaseio.com",
    "fly.dev",
    "github.io",
    "gitlab.io",
    "googleapis.com",
    "googleusercontent.com",
    "herokuapp.com",
    "loca.lt",
    "myshopify.com",
    "netlify.app",
    "ngrok-free.app",
    "ngrok.app",
    "ngrok.io",
    "ondigitalocean.app",
    "onrender.com",
    "pages.dev",
    "railway.app",
    "run.app",
    "supabase.co",
    "trycloudflare.com",
    "vercel.app",
    "web.app",
    "workers.dev",
];

/// Whether hosts below the domain belong to many owners. The list is short and no promise; one label is always so.
fn is_shared(domain: &str) -> bool {
    let labels: Vec<&str> = domain.split('.').collect();
    match labels[..] {
        [_] => true,
        [second, country] if country.len() == 2 && SECOND.contains(&second) => true,
        _ => {
            let lent =
                |base: &&str| domain.strip_suffix(base).is_some_and(|front| front.is_empty() || front.ends_with('.'));
            LENT.iter().any(lent) || domain.parse::<IpAddr>().is_ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(rule: &str, url: &str) -> bool {
        let rule: HostRule = rule.parse().expect(rule);
        Place::of(url).is_ok_and(|place| rule.admits(&place))
    }

    #[test]
    fn a_rule_admits_its_host_scheme_and_port_alone() {
        assert!(admits("api.shop.example", "https://api.shop.example/a?b"));
        assert!(admits("api.shop.example", "HTTPS://API.shop.EXAMPLE:443"));
        assert!(admits("*.shop.example", "https://eu.api.shop.example/"));
        assert!(admits("http://127.0.0.1:8080", "http://127.0.0.1:8080/x"));
        assert!(admits("https://[::1]:8443", "https://[0:0::1]:8443/"));
        for (rule, url) in [
            ("api.shop.example", "http://api.shop.example/"),
            ("api.shop.example", "https://api.shop.example:8443/"),
            ("api.shop.example", "https://api.shop.example.evil.example/"),
            ("api.shop.example", "https://evil-api.shop.example/"),
            ("api.shop.example", "https://evil.example/api.shop.example"),
            ("api.shop.example", "https://evil.example?api.shop.example"),
            ("*.shop.example", "https://shop.example/"),
            ("*.shop.example", "https://evilshop.example/"),
            ("*.shop.example", "https://.shop.example/"),
        ] {
            assert!(!admits(rule, url), "{rule} {url}");
        }
    }

    #[test]
    fn an_address_with_two_readings_is_refused() {
        for url in [
            "https://user@shop.example/",
            "https://shop.example:pw@evil.example/",
            "https://shop.example./",
            "https://shop.example\\@evil.example/",
            "https://shop.example%2eevil.example/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://127.1/",
            "http://0177.0.0.1/",
            "http://127.0.0.0x1/",
            "https://shop..example/",
            "https:///a",
            "https://:443/",
            "ftp://shop.example/",
            "file:///etc/passwd",
            "gopher://shop.example",
            "//shop.example/",
            "shop.example",
            "https://shop.example/a b",
            "https://shop.example/\r\nHost: x",
            "https://sh\u{f6}p.example/",
            "https://shop.example:0/",
            "https://shop.example:+1/",
            "https://shop.example:99999/",
            "https://[::1/",
            "https://[fe80::1%25eth0]/",
            "https://shop.example/#x",
        ] {
            assert!(Place::of(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_wildcard_over_many_owners_is_refused_by_name() {
        for rule in [
            "*",
            "*.com",
            "*.",
            "*.co.uk",
            "*.com.au",
            "*.github.io",
            "*.amazonaws.com",
            "*.s3.eu-west-1.amazonaws.com",
            "*.execute-api.eu-west-1.amazonaws.com",
            "*.web.core.windows.net",
            "*.azure-api.net",
            "*.supabase.co",
            "*.trycloudflare.com",
            "*.*.shop.example",
            "a.*.example",
        ] {
            let refused = rule.parse::<HostRule>().expect_err(rule);
            assert!(refused.contains(rule), "{refused}");
        }
        // One host there has one owner; a name that only ends alike is another.
        for rule in ["shop.s3.eu-west-1.amazonaws.com", "*.mysupabase.co"] {
            assert!(rule.parse::<HostRule>().is_ok(), "{rule}");
        }
        for rule in ["ftp://a.example", "a.example/path", "u@a.example", "", "a example", "http://10.1"] {
            assert!(rule.parse::<HostRule>().is_err(), "{rule}");
        }
        for rule in ["a.example", "*.a.example:8443", "http://a.example", "http://*.a.example:81", "[::1]"] {
            assert_eq!(rule.parse::<HostRule>().expect(rule).to_string(), rule);
        }
    }
}
