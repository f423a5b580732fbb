//! What an operator writes under `config:` of a place of type `s3`.

use std::time::Duration;

use frontdesk_api::{Error, Result};
use frontdesk_http::{Limits, setting};
use http::Uri;
use serde::Deserialize;
use serde_json::Value;

/// Unknown keys are refused.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// The server (`https://minio.example.com:9000`); absent: Amazon's of the region.
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default = "us_east_1")]
    pub(super) region: String,
    pub(super) bucket: String,
    /// What every key in the bucket begins with.
    #[serde(default)]
    pub(super) prefix: String,
    #[serde(default)]
    pub(super) access_key_id: String,
    #[serde(default)]
    pub(super) secret_access_key: String,
    /// Beside keys that are only lent.
    #[serde(default)]
    session_token: Option<String>,
    /// True: the bucket is the first part of the path, false: of the host's name. Absent: of the path where an endpoint
    /// is given.
    #[serde(default)]
    path_style: Option<bool>,
    /// Seconds to wait for the answer to one request, a part of 8 MiB on its way included, and the longest silence
    /// inside an answer.
    #[serde(default = "a_minute")]
    timeout_s: u64,
}

/// AWS's first region; servers that know no regions take it for theirs.
fn us_east_1() -> String {
    "us-east-1".into()
}

fn a_minute() -> u64 {
    60
}

impl Config {
    /// # Errors
    /// `Invalid` on the key at fault.
    pub(super) fn of(config: Value) -> Result<Self> {
        let config: Self = crate::read(config)?;
        let host = |text: &str, also: char| {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == also;
            !text.is_empty() && text.chars().all(fits)
        };
        // Both may become part of a host's name.
        if !host(&config.bucket, '.') || !(3..=63).contains(&config.bucket.len()) {
            let message = format!("'{}' is not the name of a bucket: 3 to 63 of a-z, 0-9, '-' and '.'", config.bucket);
            return Err(Error::invalid("bucket", message));
        }
        if !host(&config.region, '-') {
            return Err(Error::invalid("region", format!("'{}' is not the name of a region", config.region)));
        }
        for (key, value) in [("access_key_id", &config.access_key_id), ("secret_access_key", &config.secret_access_key)]
        {
            if value.is_empty() {
                return Err(Error::invalid(key, format!("{key} is missing: requests are signed with it")));
            }
            setting::secret(key, value)?;
        }
        setting::secret("session_token", config.session_token.as_deref().unwrap_or_default())?;
        if !(1..=3600).contains(&config.timeout_s) {
            return Err(Error::invalid("timeout_s", format!("must be 1 to 3600, found {}", config.timeout_s)));
        }
        config.bucket_url()?;
        Ok(config)
    }

    pub(super) fn session_token(&self) -> Option<String> {
        self.session_token.clone().filter(|token| !token.is_empty())
    }

    /// Whether the bucket is a part of the path. A name with a dot in it fits no certificate as a part of the host's.
    fn path_style(&self) -> bool {
        self.path_style.unwrap_or_else(|| self.endpoint().is_some() || self.bucket.contains('.'))
    }

    fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref().filter(|endpoint| !endpoint.is_empty())
    }

    /// The address of the bucket, without a slash at its end.
    ///
    /// # Errors
    /// `Invalid` on `endpoint`.
    pub(super) fn bucket_url(&self) -> Result<String> {
        let amazon = format!("https://s3.{}.amazonaws.com", self.region);
        let wrong = |why: &str| Error::invalid("endpoint", why.replace("base_url", "endpoint"));
        let uri: Uri = setting::uri(self.endpoint().unwrap_or(&amazon), "").map_err(|e| wrong(&e.message))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong("endpoint must begin with http:// or https:// and name a host"));
        };
        if !uri.path().trim_matches('/').is_empty() || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(wrong("endpoint is scheme, host and port and nothing more: the bucket has a key of its own"));
        }
        let bucket = &self.bucket;
        Ok(if self.path_style() {
            format!("{scheme}://{authority}/{bucket}")
        } else {
            format!("{scheme}://{bucket}.{authority}")
        })
    }

    pub(super) fn limits(&self) -> Limits {
        let patience = Duration::from_secs(self.timeout_s);
        Limits { head: patience, idle: patience, ..Limits::default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(more: &Value) -> Value {
        let mut config = json!({ "bucket": "files", "access_key_id": "A", "secret_access_key": "s" });
        for (key, value) in more.as_object().expect("keys") {
            config[key] = value.clone();
        }
        config
    }

    // Oracle: the addresses in "Virtual hosting of general purpose buckets", Amazon S3 User Guide.
    #[test]
    fn a_bucket_is_a_part_of_the_path_or_of_the_host() {
        for (config, url) in [
            (json!({}), "https://files.s3.us-east-1.amazonaws.com"),
            (json!({ "region": "eu-west-1", "path_style": true }), "https://s3.eu-west-1.amazonaws.com/files"),
            (json!({ "bucket": "a.b.c" }), "https://s3.us-east-1.amazonaws.com/a.b.c"),
            (json!({ "endpoint": "http://127.0.0.1:9000/" }), "http://127.0.0.1:9000/files"),
            (json!({ "endpoint": "https://s3.example", "path_style": false }), "https://files.s3.example"),
            (json!({ "endpoint": "" }), "https://files.s3.us-east-1.amazonaws.com"),
        ] {
            let read = Config::of(with(&config)).unwrap_or_else(|e| panic!("{config}: {e}"));
            assert_eq!(read.bucket_url().expect("good"), url, "{config}");
        }
    }

    #[test]
    fn a_bad_key_is_named() {
        for (config, param) in [
            (json!({ "bucket": "A_b" }), "bucket"),
            (json!({ "bucket": "x.evil.example/" }), "bucket"),
            (json!({ "region": "x.evil.example" }), "region"),
            (json!({ "region": "" }), "region"),
            (json!({ "access_key_id": "" }), "access_key_id"),
            (json!({ "secret_access_key": "" }), "secret_access_key"),
            (json!({ "access_key_id": "A\n" }), "access_key_id"),
            (json!({ "session_token": "\n" }), "session_token"),
            (json!({ "endpoint": "minio:9000" }), "endpoint"),
            (json!({ "endpoint": "http://minio:9000/files" }), "endpoint"),
            (json!({ "endpoint": "http://user:secret@minio" }), "endpoint"),
            (json!({ "timeout_s": 0 }), "timeout_s"),
        ] {
            let error = Config::of(with(&config)).err().unwrap_or_else(|| panic!("{config}"));
            assert_eq!(error.param.as_deref(), Some(param), "{config}: {error}");
            assert!(!error.message.contains("secret@"), "{error}");
        }
        let unknown = Config::of(with(&json!({ "buckte": "x" }))).err().expect("refused");
        assert!(unknown.message.contains("buckte"), "{unknown}");
    }
}
