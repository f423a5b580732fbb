//! Signs a request as AWS wants it: Signature Version 4 over its method, address, headers and body.
//!
//! Written here and not taken from a crate: the official `aws-sigv4` brings a client runtime of nine crates for these
//! hundred lines, whose rule has not changed since 2012. Judged by botocore's signer (tests/conformance).
//! Source: AWS IAM User Guide, "Create a signed AWS API request".
//! Invariant: neither the secret nor the token is in a value that shows itself.

use std::fmt::Write;

use frontdesk_api::{
    Result,
    clock::{Micros, rfc3339},
};
use frontdesk_http::setting;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// What Bedrock Runtime and Bedrock's control plane are signed for.
const SERVICE: &str = "bedrock";

/// Keys of an IAM identity.
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
    pub(crate) region: String,
}

impl Keys {
    /// Whether headers can carry what they must.
    ///
    /// # Errors
    /// `Invalid` naming the configuration key.
    pub(crate) fn check(&self) -> Result<()> {
        setting::secret("access_key_id", &self.id)?;
        setting::secret("session_token", self.token.as_deref().unwrap_or_default())?;
        Ok(())
    }

    /// The headers that sign a request at the time `at`. `others`: headers it has beside these, which win; those that
    /// AWS wants signed are. A body is JSON.
    ///
    /// # Errors
    /// `Invalid` as [`Keys::check`].
    pub(crate) fn sign(
        &self,
        at: Micros,
        method: &Method,
        uri: &Uri,
        others: &HeaderMap,
        body: &[u8],
    ) -> Result<HeaderMap> {
        let time = time(at);
        let mut out = HeaderMap::new();
        if !body.is_empty() {
            out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        out.insert("x-amz-date", setting::secret("x-amz-date", &time)?);
        if let Some(token) = &self.token {
            out.insert("x-amz-security-token", setting::secret("session_token", token)?);
        }
        let (names, headers) = canonical_headers(uri, others, &out);
        let request = [
            method.as_str(),
            &canonical_path(uri.path()),
            &canonical_query(uri.query().unwrap_or_default()),
            &headers,
            &names,
            &hex(&Sha256::digest(body)),
        ]
        .join("\n");
        let date = &time[..8];
        let scope = format!("{date}/{}/{SERVICE}/aws4_request", self.region);
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(&request)));
        let steps = [date, &self.region, SERVICE, "aws4_request", &text];
        let key = format!("AWS4{}", self.secret).into_bytes();
        let signature = hex(&steps.iter().fold(key, |key, step| keyed(&key, step)));
        let value =
            format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", self.id);
        out.insert(header::AUTHORIZATION, setting::secret("access_key_id", &value)?);
        Ok(out)
    }
}

/// `20261124T034821Z`.
fn time(at: Micros) -> String {
    let seconds: String = rfc3339(at).chars().take_while(|c| *c != '.').filter(|c| !"-:".contains(*c)).collect();
    format!("{seconds}Z")
}

/// Names of the signed headers, and the headers with a line each: the host, the body's type, all of AWS's own.
fn canonical_headers(uri: &Uri, others: &HeaderMap, own: &HeaderMap) -> (String, String) {
    let mut all = vec![("host", host(uri))];
    for (name, value) in own.iter().filter(|(name, _)| !others.contains_key(*name)).chain(others) {
        let name = name.as_str();
        if name == "content-type" || name.starts_with("x-amz-") {
            let value = String::from_utf8_lossy(value.as_bytes());
            all.push((name, value.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }
    all.sort();
    let names = all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines = all.iter().fold(String::new(), |lines, (name, value)| format!("{lines}{name}:{value}\n"));
    (names, lines)
}

/// As the client sends it: with a port only where it is not the scheme's own.
fn host(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    match (uri.port_u16(), uri.scheme_str()) {
        (None, _) | (Some(443), Some("https")) | (Some(80), Some("http")) => host,
        (Some(port), _) => format!("{host}:{port}"),
    }
}

/// The path is encoded once more: what it holds encoded is signed encoded twice (for every service but S3).
fn canonical_path(path: &str) -> String {
    path.split('/').map(encoded).collect::<Vec<_>>().join("/")
}

/// Members are encoded already; they are put in order.
fn canonical_query(query: &str) -> String {
    let mut members: Vec<(&str, &str)> =
        query.split('&').filter(|m| !m.is_empty()).map(|m| m.split_once('=').unwrap_or((m, ""))).collect();
    members.sort_unstable();
    members.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// What AWS leaves as it is: letters, digits and these four; not the slash.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encodes a segment of a path or a value of a query.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

fn keyed(key: &[u8], text: &str) -> Vec<u8> {
    // An HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return vec![] };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02x}"); // a String takes everything
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-24T03:48:21Z.
    const AT: Micros = 1_795_492_101_000_000;

    fn keys(token: Option<&str>) -> Keys {
        Keys {
            id: "AKIDEXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            token: token.map(str::to_owned),
            region: "eu-central-1".into(),
        }
    }

    fn signed(token: Option<&str>, method: &Method, uri: &str, others: &HeaderMap, body: &str) -> HeaderMap {
        let uri = uri.parse().expect("a uri");
        keys(token).sign(AT, method, &uri, others, body.as_bytes()).expect("signed")
    }

    // Oracle: botocore 1.44.8, `SigV4Auth` with the same keys, time, address, headers and body.
    #[test]
    fn another_implementation_signs_the_same() {
        let scope =
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261124/eu-central-1/bedrock/aws4_request, SignedHeaders=";
        let model = "https://bedrock-runtime.eu-central-1.amazonaws.com/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse";
        let got = signed(None, &Method::POST, model, &HeaderMap::new(), r#"{"messages":[]}"#);
        let want =
            "content-type;host;x-amz-date, Signature=5992a85843af8f3c9a2696c063ff12ca53fb80e91850c206b84b68f8179b22f9";
        assert_eq!(got["authorization"], format!("{scope}{want}"));
        assert_eq!(got["x-amz-date"], "20261124T034821Z");

        let profile = "http://127.0.0.1:8080/base/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Ainference-profile%2Feu.m%C3%BC~_-v1/converse-stream";
        let mut others = HeaderMap::new();
        others.insert("x-amz-extra", HeaderValue::from_static("a   b"));
        others.insert("x-unsigned", HeaderValue::from_static("c"));
        let got = signed(Some("tok+en/=="), &Method::POST, profile, &others, "{}");
        let want = "content-type;host;x-amz-date;x-amz-extra;x-amz-security-token, Signature=51a82a99462de71e230c615a49a588022b7537c033253917b632a98ccc866a16";
        assert_eq!(got["authorization"], format!("{scope}{want}"));
        assert_eq!(got["x-amz-security-token"], "tok+en/==");

        let list =
            "https://bedrock.eu-central-1.amazonaws.com/inference-profiles?nextToken=a%2Bb%2Fc%3D&maxResults=1000";
        let got = signed(None, &Method::GET, list, &HeaderMap::new(), "");
        let want = "host;x-amz-date, Signature=9980dd8b809f625f01e5605c731a0ec6c695e1a28e970743de67868a3961dcae";
        assert_eq!(got["authorization"], format!("{scope}{want}"));
    }

    #[test]
    fn what_is_secret_does_not_show_itself() {
        let got = signed(Some("token"), &Method::POST, "https://h/model/m/converse", &HeaderMap::new(), "{}");
        assert!(got["authorization"].is_sensitive() && got["x-amz-security-token"].is_sensitive());
        assert!(!format!("{got:?}").contains("Signature="));
    }

    #[test]
    fn a_model_s_name_is_one_segment() {
        assert_eq!(
            encoded("arn:aws:bedrock:::foundation-model/a.b-c_d~e"),
            "arn%3Aaws%3Abedrock%3A%3A%3Afoundation-model%2Fa.b-c_d~e"
        );
        assert_eq!(encoded("../x?y#z %41\u{fc}"), "..%2Fx%3Fy%23z%20%2541%C3%BC");
    }
}
