//! A service account of Google Cloud: signs an assertion with its key and gets a token for it.
//!
//! Source: Google's page "Using OAuth 2.0 for Server to Server Applications", RFC 7523. Invariant: neither
//! key nor token is ever shown.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use frontdesk_api::{Clock, Cx, Error, Kind, Micros, Result, clock::unix_seconds, inference::CREDENTIALS};
use frontdesk_http::{
    Client, Limits,
    kept::{Kept, Loan},
};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde::Deserialize;
use serde_json::{Value, json};

/// What the token opens; roles decide what the account may do with it.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// The longest life Google grants an assertion, in seconds.
const LIFE: i64 = 3600;

/// A token is renewed this long before it ends, as Google's own libraries do (`google-auth`, `REFRESH_THRESHOLD`).
const EARLY: Micros = 225 * 1_000_000;

/// For the token's server: it does not think.
const LIMITS: Limits =
    Limits { connect: Duration::from_secs(5), head: Duration::from_secs(30), idle: Duration::from_secs(30) };

/// Largest answer of the token's server, in bytes.
const LARGEST: usize = 64 * 1024;

pub(crate) struct Account {
    provider: String,
    email: String,
    key_id: String,
    key: RsaKeyPair,
    token_uri: Uri,
    /// The address as written: what the assertion is for.
    audience: String,
    client: Client,
    clock: Arc<dyn Clock>,
    /// The whole header.
    kept: Kept<HeaderValue>,
}

/// The members of a key file that are used.
#[derive(Deserialize)]
struct KeyFile {
    client_email: String,
    #[serde(default)]
    private_key_id: String,
    private_key: String,
    token_uri: String,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    /// Seconds.
    expires_in: i64,
}

impl Account {
    /// Reads the text of a key file.
    ///
    /// # Errors
    /// `Invalid` on `vertex.service_account`, without any of its text.
    pub(crate) fn read(provider: &str, text: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        let bad = |why: &str| Error::invalid("vertex.service_account", format!("service_account {why}"));
        // The error of the parser may quote the key.
        let file: KeyFile = serde_json::from_str(text).map_err(|_| {
            bad("is not the JSON of a service account's key file (client_email, private_key, token_uri); \
                 put the file in with ${file.PATH}")
        })?;
        let der = PrivatePkcs8KeyDer::from_pem_slice(file.private_key.as_bytes())
            .map_err(|_| bad("has a private_key that is not PEM"))?;
        let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())
            .map_err(|e| bad(&format!("has a private_key that is no RSA key: {e}")))?;
        let token_uri: Uri = file.token_uri.parse().map_err(|_| bad("has a token_uri that is no address"))?;
        if !matches!(token_uri.scheme_str(), Some("http" | "https")) || token_uri.authority().is_none() {
            return Err(bad("has a token_uri that is no address"));
        }
        Ok(Self {
            provider: provider.to_owned(),
            email: file.client_email,
            key_id: file.private_key_id,
            key,
            token_uri,
            audience: file.token_uri,
            client: Client::new(LIMITS),
            clock,
            kept: Kept::new(EARLY),
        })
    }

    /// The `authorization` header of now.
    ///
    /// # Errors
    /// `Upstream` when the token's server refuses the account; as [`Client::send`].
    pub(crate) async fn bearer(&self, cx: &Cx) -> Result<HeaderValue> {
        self.kept.get(&*self.clock, self.fetch(cx)).await
    }

    async fn fetch(&self, cx: &Cx) -> Result<Loan<HeaderValue>> {
        let asked = self.clock.now();
        let assertion = self.assertion(unix_seconds(asked))?;
        let body = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, form)]);
        let named = |mut e: Error| {
            e.message = format!("provider '{}' cannot sign in: {}", self.provider, e.message);
            e
        };
        let sent = self.client.send(cx, Method::POST, &self.token_uri, headers, Bytes::from(body)).await;
        let mut answer = sent.map_err(named)?;
        let body = answer.body.whole(LARGEST).await.map_err(named)?;
        if !answer.status.is_success() {
            return Err(named(refused(answer.status.as_u16(), &body)));
        }
        let granted: Granted = serde_json::from_slice(&body)
            .map_err(|_| named(Error::upstream("what came for the account is no token")))?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", granted.access_token))
            .map_err(|_| named(Error::upstream("the token is one that a header cannot carry")))?;
        bearer.set_sensitive(true);
        Ok(Loan { value: bearer, ends: asked.saturating_add(granted.expires_in.saturating_mul(1_000_000)) })
    }

    /// A JSON Web Token, signed with RS256 (RFC 7515, RFC 7518).
    fn assertion(&self, now: i64) -> Result<String> {
        let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let head = part(json!({ "alg": "RS256", "typ": "JWT", "kid": self.key_id }));
        let claims = part(json!({
            "iss": self.email, "scope": SCOPE, "aud": self.audience, "iat": now, "exp": now.saturating_add(LIFE)
        }));
        let signed = format!("{head}.{claims}");
        let mut signature = vec![0; self.key.public().modulus_len()];
        let random = SystemRandom::new();
        self.key
            .sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)
            .map_err(|_| Error::new(Kind::Internal, "signing an assertion with the key of a service account failed"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// An error answer: `{"error": "invalid_grant", "error_description": …}` (RFC 6749, 5.2).
fn refused(status: u16, body: &[u8]) -> Error {
    let wire: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| wire.get(name).and_then(Value::as_str).unwrap_or_default();
    let said = match (text("error"), text("error_description")) {
        ("", "") => "no reason was given".to_owned(),
        (code, "") => code.to_owned(),
        (code, why) => format!("{code}: {why}"),
    };
    let error = Error::upstream(format!("the service account was refused ({status}): {said}"));
    if status >= 500 { error } else { error.with_code(CREDENTIALS) }
}

#[cfg(test)]
mod tests {
    use frontdesk_api::clock::FixedClock;
    use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    /// Made for these tests, opens nothing.
    const KEY: &str = include_str!("../tests/key.pem");

    fn file() -> Value {
        json!({ "type": "service_account", "client_email": "a@p.iam", "private_key_id": "k1", "private_key": KEY,
            "token_uri": "http://127.0.0.1:1/token" })
    }

    fn read(file: &Value) -> Result<Account> {
        Account::read("v", &file.to_string(), Arc::new(FixedClock::at(0)))
    }

    // Oracle: the assertion of RFC 7523 and of Google's page; tests/conformance reads one with google-auth.
    #[test]
    fn an_assertion_is_signed_and_says_who_and_what_for() {
        let account = read(&file()).expect("a key file");
        let assertion = account.assertion(1_000).expect("signed");
        let parts: Vec<&str> = assertion.split('.').collect();
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("Base64");
        let json = |part: &str| serde_json::from_slice::<Value>(&decoded(part)).expect("JSON");
        assert_eq!(json(parts[0]), json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }));
        let want =
            json!({ "iss": "a@p.iam", "scope": SCOPE, "aud": "http://127.0.0.1:1/token", "iat": 1000, "exp": 4600 });
        assert_eq!(json(parts[1]), want);
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, account.key.public_key().as_ref());
        let signed = format!("{}.{}", parts[0], parts[1]);
        assert!(public.verify(signed.as_bytes(), &decoded(parts[2])).is_ok());
        assert!(public.verify(b"something else", &decoded(parts[2])).is_err());
    }

    #[test]
    fn a_bad_key_file_is_named_and_never_quoted() {
        let with = |member: &str, value: &str| {
            let mut file = file();
            file[member] = json!(value);
            file
        };
        let mut without = file();
        without.as_object_mut().expect("an object").remove("client_email");
        for bad in [
            json!("just a path"),
            without,
            with("private_key", "sesame"),
            with("private_key", &KEY.replace("PRIVATE", "PUBLIC")),
            with("private_key", &KEY.replacen("MII", "MIJ", 1)),
            with("token_uri", "token"),
        ] {
            let error = read(&bad).err().expect("refused");
            assert_eq!(error.param.as_deref(), Some("vertex.service_account"));
            let said = format!("{error} {:?}", error.source);
            assert!(!said.contains("sesame") && !said.contains(&KEY[60..80]), "{said}");
        }
    }
}
