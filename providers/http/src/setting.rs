//! What the configurations of all providers of models have in common: defaults, addresses, headers.
//!
//! The structs themselves stay with the providers, because each refuses the keys it does not know.

use std::collections::BTreeMap;

use frontdesk_api::{Error, Result};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

/// Default of `timeout_s`: seconds to wait for the head of an answer.
#[must_use]
pub fn ten_minutes() -> u64 {
    600
}

/// Default of `idle_timeout_s`: longest silence inside an answer, in seconds.
#[must_use]
pub fn two_minutes() -> u64 {
    120
}

/// Default of `max_event_kb`: largest single event of a stream, in KiB.
#[must_use]
pub fn four_mib() -> usize {
    4 * 1024
}

/// Default of `max_answer_kb`: largest whole answer, in KiB.
#[must_use]
pub fn sixty_four_mib() -> usize {
    64 * 1024
}

/// The address of `path` under the configured `base_url`.
///
/// # Errors
/// `Invalid` on `base_url`.
pub fn uri(base_url: &str, path: &str) -> Result<Uri> {
    let base = base_url.trim_end_matches('/');
    let bad = |why: &str| Error::invalid("base_url", format!("base_url '{base}' {why}"));
    let uri: Uri = format!("{base}/{path}").parse().map_err(|_| bad("is not a URL"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err(bad("must begin with http:// or https:// and name a host")),
    }
}

/// The value of the configuration key `param` as a header that is never shown.
///
/// # Errors
/// `Invalid` on `param` when a header cannot carry it.
pub fn secret(param: &str, value: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| Error::invalid(param, format!("{param} holds characters that a header cannot carry")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Adds the configured `headers`, which win over what is there.
///
/// # Errors
/// `Invalid` on `headers.NAME`.
pub fn add_headers(to: &mut HeaderMap, headers: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in headers {
        let bad = |_| Error::invalid(format!("headers.{name}"), format!("'{name}' is not a valid header"));
        let name: HeaderName = name.parse().map_err(|e: header::InvalidHeaderName| bad(e.to_string()))?;
        let mut value = HeaderValue::from_str(value).map_err(|e| bad(e.to_string()))?;
        value.set_sensitive(true);
        to.insert(name, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_needs_scheme_and_host() {
        for bad in ["localhost:1/v1", "ftp://x/v1", "", "/v1"] {
            let error = uri(bad, "models").expect_err(bad);
            assert_eq!(error.param.as_deref(), Some("base_url"));
        }
        assert_eq!(uri("http://h:1/v1/", "models").expect("good").to_string(), "http://h:1/v1/models");
    }
}
