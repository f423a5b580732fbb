//! The settings under `hub`: where `frontdesk models pull` fetches models from.

use frontdesk_api::{Error, Result};
use http::Uri;
use serde::Deserialize;

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hub {
    /// Scheme and host of a hub that speaks Hugging Face's API; a path before `/api` may follow.
    pub endpoint: String,
    /// Sent to that host as a bearer token, and to no other.
    token: Option<String>,
}

impl Default for Hub {
    fn default() -> Self {
        Self { endpoint: "https://huggingface.co".into(), token: None }
    }
}

/// Whether there is a token, and never which.
impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("endpoint", &self.endpoint).field("token", &self.token().is_some()).finish()
    }
}

impl Hub {
    /// None where none is set.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref().filter(|token| !token.is_empty())
    }

    /// Rules that types cannot say.
    pub(super) fn check(&self) -> Result<()> {
        let uri: Option<Uri> = self.endpoint.parse().ok();
        let good = uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.query().is_none()
                && uri.authority().is_some_and(|host| !host.as_str().contains('@'))
        });
        if good {
            return Ok(());
        }
        // A password may stand in it, so it is not shown.
        Err(Error::invalid("hub.endpoint", "is no address of a hub: write it as https://host, without user and query"))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    #[test]
    fn an_endpoint_that_is_no_address_is_refused_and_not_shown() {
        for bad in
            ["hub.example", "ftp://hub.example", "https://me:s3cret@hub.example", "https://hub.example/?k=s3cret", ""]
        {
            let error = parse(&format!("hub: {{ endpoint: '{bad}' }}"), &|_| None).expect_err(bad);
            assert_eq!(error.param.as_deref(), Some("hub.endpoint"), "{bad}");
            assert!(!error.message.contains("s3cret"), "{}", error.message);
        }
    }

    #[test]
    fn a_token_is_not_in_what_is_printed_for_debugging() {
        let hub = parse("hub: { token: hf_s3cret }", &|_| None).expect("good").hub;
        assert_eq!(hub.token(), Some("hf_s3cret"));
        assert!(!format!("{hub:?}").contains("s3cret"));
        assert_eq!(parse("hub: { token: '' }", &|_| None).expect("good").hub.token(), None);
    }
}
