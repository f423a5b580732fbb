//! Uploads in parts that never came to their end: found by their key, and ended.
//!
//! The server keeps the parts of an upload that nobody completes, for ever and at a price, and shows them in no list of
//! objects. The library does not ask for them, so that one request is made here and signed by its signer.

use frontdesk_api::{Error, Result};
use http::{Method, StatusCode};
use object_store::{
    aws::{AwsAuthorizer, AwsCredential},
    client::{HttpRequest, HttpRequestBody, HttpService as _},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{refusal::LONGEST, wire::Wire};

/// What is encoded in a query, as a signature has it ("Create a signed AWS API request", AWS IAM User Guide).
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// An answer to ListMultipartUploads (Amazon S3 API Reference).
#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "Upload", default)]
    uploads: Vec<Upload>,
}

#[derive(Deserialize)]
struct Upload {
    #[serde(rename = "Key")]
    key: String,
    #[serde(rename = "UploadId")]
    id: String,
}

/// Asks a bucket for its unfinished uploads.
pub(super) struct Uploads {
    pub(super) wire: Wire,
    pub(super) bucket_url: String,
    pub(super) keys: AwsCredential,
    pub(super) region: String,
}

impl Uploads {
    /// Ids of the unfinished uploads of exactly this key. A server that does not know the question has none.
    ///
    /// # Errors
    /// As [`super::refusal::Named`] says them.
    pub(super) async fn of(&self, key: &str) -> Result<Vec<String>> {
        let named = &self.wire.named;
        let prefix = utf8_percent_encode(key, QUERY);
        let url = format!("{}?uploads=&prefix={prefix}", self.bucket_url);
        let broken = |e| Error::internal("ask a file store for its unfinished uploads", e);
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = url.parse().map_err(broken)?;
        AwsAuthorizer::new(&self.keys, "s3", &self.region)
            .try_authorize(&mut request, None)
            .map_err(|e| Error::internal("sign a request to a file store", e))?;
        let explain = |e| named.explain(object_store::Error::Generic { store: "S3", source: Box::new(e) });
        let answer = match self.wire.call(request).await {
            Ok(answer) => answer,
            Err(e) => {
                let error = explain(e);
                let unknown =
                    error.message.ends_with("(MethodNotAllowed)") || error.message.ends_with("(NotImplemented)");
                return if unknown { Ok(vec![]) } else { Err(error) };
            }
        };
        match answer.status() {
            StatusCode::NOT_IMPLEMENTED => return Ok(vec![]),
            status if !status.is_success() => return Err(named.down(&format!("it answers with {status}"))),
            _ => {}
        }
        let body = answer.into_body().bytes().await.map_err(explain)?;
        if body.len() > LONGEST {
            return Err(named.down("its list of uploads is too long"));
        }
        let listed: Listed = quick_xml::de::from_reader(&body[..])
            .map_err(|e| named.down("its list of uploads cannot be read").with_source(e))?;
        Ok(listed.uploads.into_iter().filter(|upload| upload.key == key).map(|upload| upload.id).collect())
    }
}
