//! What an S3 server means when it refuses, in words that say what to do.
//!
//! Source of the codes: Amazon S3 API Reference, "Error responses". Invariant: an error names the place and its bucket,
//! never a key or a secret.

use std::{error::Error as _, time::Duration};

use frontdesk_api::{Error, Kind};
use http::StatusCode;

/// When to come again where the server is out of reach or of capacity.
const COME_AGAIN: Duration = Duration::from_secs(5);

/// The most of a refusal that is read, in bytes.
pub(super) const LONGEST: usize = 64 << 10;

/// The bucket as errors name it.
#[derive(Debug, Clone)]
pub(super) struct Named {
    /// Of the entry in the configuration.
    pub(super) id: String,
    pub(super) bucket: String,
    /// Scheme, host and port.
    pub(super) server: String,
    pub(super) region: String,
}

impl Named {
    /// What a refusal means.
    pub(super) fn refusal(&self, status: StatusCode, body: &[u8]) -> Error {
        let body = String::from_utf8_lossy(body);
        let said = element(&body, "Code").unwrap_or_else(|| status.as_str());
        let Self { id, bucket, server, region } = self;
        let (code, why) = match (said, status.as_u16()) {
            ("NoSuchKey" | "NoSuchUpload", _) => return Error::not_found(format!("the file store '{id}' has no such content")),
            ("NoSuchBucket", _) => ("file_store_bucket_missing", "there is no such bucket: create it, or correct the name".to_owned()),
            ("InvalidAccessKeyId", _) => ("file_store_denied", "the server does not know the access key: correct access_key_id".into()),
            ("SignatureDoesNotMatch", _) => ("file_store_denied", "the signature does not match: correct secret_access_key".into()),
            ("ExpiredToken" | "InvalidToken", _) => ("file_store_denied", "the session token has expired or is wrong: correct session_token".into()),
            ("RequestTimeTooSkewed", _) => ("file_store_clock", "the clocks of this machine and of the server differ too much: set the one that is wrong".into()),
            ("AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect" | "IllegalLocationConstraintException", _) | (_, 300..=399) => {
                let there = element(&body, "Region").map(|there| format!(" '{there}'")).unwrap_or_default();
                ("file_store_region", format!("the bucket is in another region{there} than '{region}': correct region"))
            }
            (_, 401 | 403) => ("file_store_denied", "the access key may not do this: allow it s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListBucketMultipartUploads".into()),
            // Not the store's own word: what stands before it, say. Content must not count as gone for that.
            (_, 404) => ("file_store_refused", "404 without a code of S3's: is the store there?".into()),
            _ => ("file_store_refused", "the server refused".into()),
        };
        Error::upstream(format!("the file store '{id}' (bucket '{bucket}' at {server}): {why} ({said})"))
            .with_code(code)
    }

    /// What went wrong on the way, from the innermost of our own errors that the library carries.
    pub(super) fn explain(&self, error: object_store::Error) -> Error {
        let mut cause = error.source();
        while let Some(inner) = cause {
            if let Some(own) = inner.downcast_ref::<Error>() {
                let (kind, message, code) = (own.kind, own.message.clone(), own.code.clone());
                let told = Error { code, ..Error::new(kind, message) };
                // What the wire says of a refusal names the place already.
                return if kind == Kind::NotFound
                    || told.code.as_deref().is_some_and(|code| code.starts_with("file_store"))
                {
                    told.with_source(error)
                } else {
                    self.down(&told.message).with_source(error)
                };
            }
            cause = inner.source();
        }
        self.down("the server answers with errors").with_source(error)
    }

    /// That the server cannot be used now.
    pub(super) fn down(&self, why: &str) -> Error {
        let Self { id, bucket, server, .. } = self;
        Error::unavailable(format!("the file store '{id}' (bucket '{bucket}' at {server}) is out of reach: {why}"))
            .with_code("file_store_unavailable")
            .with_retry_after(COME_AGAIN)
    }
}

/// The text of the first element of that name.
fn element<'x>(xml: &'x str, name: &str) -> Option<&'x str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once("</").map(|(text, _)| text.trim()).filter(|text| text.len() <= 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> Error {
        let named =
            Named { id: "s3".into(), bucket: "b".into(), server: "http://h".into(), region: "us-east-1".into() };
        named.refusal(StatusCode::from_u16(status).expect("a status"), body.as_bytes())
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        for (status, code, kind, want, words) in [
            (404, "NoSuchBucket", Kind::Upstream, Some("file_store_bucket_missing"), "create it"),
            (404, "NoSuchKey", Kind::NotFound, None, "no such content"),
            (403, "InvalidAccessKeyId", Kind::Upstream, Some("file_store_denied"), "access_key_id"),
            (403, "SignatureDoesNotMatch", Kind::Upstream, Some("file_store_denied"), "secret_access_key"),
            (403, "AccessDenied", Kind::Upstream, Some("file_store_denied"), "s3:PutObject"),
            (403, "RequestTimeTooSkewed", Kind::Upstream, Some("file_store_clock"), "clocks"),
            (400, "AuthorizationHeaderMalformed", Kind::Upstream, Some("file_store_region"), "region 'eu-west-1'"),
            (400, "EntityTooLarge", Kind::Upstream, Some("file_store_refused"), "EntityTooLarge"),
        ] {
            let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Region>eu-west-1</Region></Error>");
            let error = said(status, &body);
            assert_eq!((error.kind, error.code.as_deref()), (kind, want), "{error}");
            assert!(error.message.contains(words) && error.message.contains("'s3'"), "{error}");
        }
        assert_eq!(said(301, "").code.as_deref(), Some("file_store_region"));
        assert_eq!(said(403, "<html>").code.as_deref(), Some("file_store_denied"));
        assert_eq!(said(404, "<Error><Code>NoSuchUpload</Code></Error>").kind, Kind::NotFound);
        assert_eq!(said(404, "default backend - 404").code.as_deref(), Some("file_store_refused"));
    }
}
