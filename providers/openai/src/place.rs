//! Where a request goes: one address for all models, or one with the model's name in it.

use std::{borrow::Cow, fmt::Write as _};

use frontdesk_api::{Error, Result};
use frontdesk_http::setting;
use http::Uri;

use crate::{Config, preset::is_dated};

pub(crate) enum Place {
    One(Uri),
    /// Between these stands the name of a deployment (Azure, versions with a date).
    Deployment {
        before: String,
        after: String,
    },
}

impl Place {
    /// Where `path` is for chats, completions and embeddings.
    ///
    /// # Errors
    /// `Invalid` on `base_url` or `api_version`.
    pub(crate) fn of(config: &Config, path: &str) -> Result<Self> {
        match &config.api_version {
            Some(version) if is_dated(version) => {
                let before = setting::uri(&config.base_url, "deployments/")?.to_string();
                Ok(Self::Deployment { before, after: with_version(&format!("/{path}"), Some(version))? })
            }
            version => Ok(Self::One(setting::uri(&config.base_url, &with_version(path, version.as_deref())?)?)),
        }
    }

    /// # Errors
    /// `Invalid` on `model` when no address can hold its name.
    pub(crate) fn uri(&self, model: &str) -> Result<Cow<'_, Uri>> {
        match self {
            Self::One(uri) => Ok(Cow::Borrowed(uri)),
            Self::Deployment { before, after } => {
                let uri = format!("{before}{}{after}", segment(model))
                    .parse()
                    .map_err(|_| Error::invalid("model", format!("'{model}' cannot be the name of a deployment")))?;
                Ok(Cow::Owned(uri))
            }
        }
    }
}

/// `path` with the version of the API behind it.
///
/// # Errors
/// `Invalid` on `api_version`.
pub(crate) fn with_version(path: &str, version: Option<&str>) -> Result<String> {
    let Some(version) = version else { return Ok(path.to_owned()) };
    if version.is_empty() || !version.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')) {
        return Err(Error::invalid(
            "api_version",
            format!("api_version '{version}' is not one: write 2024-10-21, say"),
        ));
    }
    Ok(format!("{path}?api-version={version}"))
}

/// A name as one segment of a path: all that is not unreserved (RFC 3986, section 2.3) is escaped, and so are the names
/// that a path would read as directions.
fn segment(name: &str) -> String {
    if name.bytes().all(|b| b == b'.') {
        return "%2E".repeat(name.len());
    }
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing into a text cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_inside_its_segment() {
        let base = "http://h/openai/deployments/";
        let place = Place::Deployment { before: base.into(), after: "/chat/completions?api-version=1".into() };
        for (name, want) in
            [("gpt-4o", "gpt-4o"), ("a b/c?d=e#f", "a%20b%2Fc%3Fd%3De%23f"), ("..", "%2E%2E"), ("ü", "%C3%BC")]
        {
            let uri = place.uri(name).expect("an address");
            assert_eq!(uri.to_string(), format!("{base}{want}/chat/completions?api-version=1"));
        }
    }
}
