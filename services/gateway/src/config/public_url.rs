//! How people's browsers reach this server: what they are sent back to.
//!
//! Invariant: it is over TLS, or on the person's own machine: whatever else could be read, or answered, by somebody else.

use frontdesk_api::{Error, Result};
use http::{HeaderMap, Uri, header, uri::Authority};
use serde::Deserialize;

/// `https://desk.example`, perhaps with a path; over http on loopback alone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As the request reached us, where nobody can be between: on this machine.
    ///
    /// # Errors
    /// `Conflict`: the operator has to say it.
    pub fn of(headers: &HeaderMap) -> Result<Self> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        Self::try_from(format!("http://{host}")).map_err(|_| {
            let message = "where people come back to is not known: the operator names it in 'public_url' \
                           (https://desk.example); without it only those on this machine can sign in";
            Error::conflict(message).with_code("public_url_needed")
        })
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("'{text}' must be https://HOST, perhaps with a path, or http:// on this machine");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(at)) = (uri.scheme_str(), uri.authority()) else { return Err(wrong()) };
        let safe = scheme == "https" || (scheme == "http" && is_here(at));
        if !safe || at.as_str().contains('@') || uri.query().is_some() || text.contains('#') {
            return Err(wrong());
        }
        // As browsers write an origin.
        let usual = if scheme == "https" { ":443" } else { ":80" };
        let at = at.as_str().to_ascii_lowercase();
        let at = at.strip_suffix(usual).unwrap_or(&at);
        Ok(Self(format!("{scheme}://{at}{}", uri.path().trim_end_matches('/'))))
    }
}

fn is_here(at: &Authority) -> bool {
    let host = at.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_sent_back_over_tls_or_on_its_own_machine() {
        for (text, want) in [
            ("https://Desk.example", "https://desk.example"),
            ("https://desk.example:443/", "https://desk.example"),
            ("https://desk.example:8443/frontdesk/", "https://desk.example:8443/frontdesk"),
            ("http://127.0.0.1:8321", "http://127.0.0.1:8321"),
            ("http://localhost:80", "http://localhost"),
            ("http://[::1]:1", "http://[::1]:1"),
        ] {
            assert_eq!(PublicUrl::try_from(text.to_owned()).expect(text).as_str(), want);
        }
        for text in [
            "",
            "desk.example",
            "http://desk.example",
            "http://10.0.0.1",
            "http://127.0.0.1.evil.example",
            "ftp://h",
            "https://me@desk.example",
            "https://desk.example?a=1",
            "https://desk.example#a",
            "http://localhost@evil.example",
        ] {
            assert!(PublicUrl::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_request_says_of_its_host_is_believed_on_this_machine_alone() {
        let of = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("a header"));
            headers.insert("x-forwarded-proto", "https".parse().expect("a header"));
            PublicUrl::of(&headers)
        };
        assert_eq!(of("localhost:8321").expect("here").as_str(), "http://localhost:8321");
        for host in ["desk.example", "evil.example:80", "192.168.1.7", "localhost/evil?x", ""] {
            assert_eq!(of(host).expect_err(host).code.as_deref(), Some("public_url_needed"));
        }
        assert!(PublicUrl::of(&HeaderMap::new()).is_err());
    }
}
