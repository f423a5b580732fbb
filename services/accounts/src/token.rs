//! A customer's token: a JSON Web Token (RFC 7519) in the compact form, signed (RFC 7515).
//!
//! Read in two steps, so that nothing of it is believed before its signature is: [`Token::read`] takes it apart and says
//! which key it names, [`Token::verify`] checks it with that key. Invariants: the algorithm is the key's, and a token
//! that names another is refused; keys that a token brings or points to (`jwk`, `jku`, `x5u`) are not looked at; no error
//! repeats the token.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use frontdesk_api::{
    Error, Kind, Micros, Result,
    customer::{Algorithm, CUSTOMER_TOKEN},
    cx::Customer,
};
use ring::{hmac, signature};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

/// The longest token that is looked at, in bytes: what servers commonly take as a header.
pub(crate) const LONGEST: usize = 8 * 1024;

/// The longest `kid`, audience and issuer, in bytes.
pub(crate) const LONGEST_NAME: usize = 256;

/// The longest `sub`, in bytes (OpenID Connect Core 1.0, section 2).
const LONGEST_SUB: usize = 255;

/// How many further claims of a customer are kept, and how long a text among them may be, in bytes.
const MOST_CLAIMS: usize = 32;
const LONGEST_CLAIM: usize = 1024;

/// How far clocks may be apart, in microseconds.
const LEEWAY: Micros = 30 * 1_000_000;

/// Claims that are about the token and not about the customer (RFC 7519, section 4.1).
const OF_THE_TOKEN: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// What a token is verified by.
pub(crate) struct Key<'k> {
    pub(crate) algorithm: Algorithm,
    /// HS256: the secret. EdDSA: the 32 bytes of the public key.
    pub(crate) material: &'k [u8],
    pub(crate) audience: &'k str,
    pub(crate) issuer: Option<&'k str>,
}

/// A token that was taken apart, and of which nothing is sure.
pub(crate) struct Token<'t> {
    pub(crate) kid: String,
    algorithm: String,
    /// What is signed: header and claims, as they were sent.
    signed: &'t str,
    claims: Vec<u8>,
    signature: Vec<u8>,
}

impl<'t> Token<'t> {
    /// # Errors
    /// `Unauthenticated` saying which part is wrong.
    pub(crate) fn read(text: &'t str) -> Result<Self> {
        if text.len() > LONGEST {
            return Err(bad(format!("has {} bytes; at most {LONGEST} are looked at", text.len())));
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [header, claims, signature] = parts[..] else {
            return Err(bad("must have three parts with dots between them (a signed JWT)"));
        };
        let signed = &text[..header.len() + 1 + claims.len()];
        let header = object(&decoded(header, "header")?, "header")?;
        // RFC 7515, section 4.1.11: what must be understood and is not, is refused.
        if header.contains_key("crit") {
            return Err(bad("asks by 'crit' for an extension that is not known here"));
        }
        let member = |name: &str| header.get(name).and_then(Value::as_str);
        let Some(algorithm) = member("alg") else { return Err(bad("names no algorithm ('alg') in its header")) };
        let named =
            |kid: &&str| !kid.is_empty() && kid.len() <= LONGEST_NAME && kid.bytes().all(|b| b.is_ascii_graphic());
        let Some(kid) = member("kid").filter(named) else {
            return Err(bad(format!("must name its key in its header: 'kid', 1 to {LONGEST_NAME} visible characters")));
        };
        Ok(Self {
            kid: kid.to_owned(),
            algorithm: algorithm.to_owned(),
            signed,
            claims: decoded(claims, "claims")?,
            signature: decoded(signature, "signature")?,
        })
    }

    /// The customer that the token is about, once it is sure that the key's holder said so and still does.
    ///
    /// # Errors
    /// `Unauthenticated` saying what is wrong; the code is `expired_customer_token` where a fresh one helps.
    pub(crate) fn verify(&self, key: &Key<'_>, now: Micros) -> Result<Customer> {
        let wanted = key.algorithm.as_str();
        if self.algorithm != wanted {
            return Err(bad(format!("must be signed with {wanted}, the algorithm of its key")));
        }
        let (signed, signature) = (self.signed.as_bytes(), &self.signature);
        let good = match key.algorithm {
            // Compared in constant time.
            Algorithm::Hs256 => {
                hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key.material), signed, signature).is_ok()
            }
            Algorithm::EdDsa => {
                signature::UnparsedPublicKey::new(&signature::ED25519, key.material).verify(signed, signature).is_ok()
            }
        };
        if !good {
            return Err(bad("is not signed by its key: the signature does not fit"));
        }
        let claims = object(&self.claims, "claims")?;
        let at = |name: &str| claims.get(name).map(|value| moment(value, name)).transpose();
        let Some(until) = at("exp")? else { return Err(bad("must say until when it is good ('exp')")) };
        if until.saturating_add(LEEWAY) <= now {
            return Err(bad("has expired; sign the customer in again").with_code("expired_customer_token"));
        }
        if at("nbf")?.is_some_and(|from| from.saturating_sub(LEEWAY) > now) {
            return Err(bad("is not good yet ('nbf')"));
        }
        if !for_us(claims.get("aud"), key.audience) {
            return Err(bad(format!("is meant for others: 'aud' must be or hold '{}'", key.audience)));
        }
        let by = claims.get("iss").and_then(Value::as_str);
        if key.issuer.is_some() && by != key.issuer {
            return Err(bad(format!("comes from elsewhere: 'iss' must be '{}'", key.issuer.unwrap_or_default())));
        }
        let sub = claims.get("sub").and_then(Value::as_str);
        let named = |sub: &&str| !sub.is_empty() && sub.len() <= LONGEST_SUB && !sub.chars().any(char::is_control);
        let Some(sub) = sub.filter(named) else {
            return Err(bad(format!("must say who the customer is: 'sub', a text of 1 to {LONGEST_SUB} bytes")));
        };
        let (sub, issuer) = (sub.to_owned(), key.issuer.map(str::to_owned));
        Ok(Customer { sub, issuer, claims: about_the_customer(claims)? })
    }
}

/// The claims that are kept: plain values, and not too many.
fn about_the_customer(claims: Map<String, Value>) -> Result<Map<String, Value>> {
    let plain = |value: &Value| matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_));
    let kept = claims.into_iter().filter(|(name, value)| !OF_THE_TOKEN.contains(&name.as_str()) && plain(value));
    let kept: Map<String, Value> = kept.collect();
    if kept.len() > MOST_CLAIMS {
        return Err(bad(format!("has {} claims about the customer; at most {MOST_CLAIMS} are taken", kept.len())));
    }
    let long = |name: &String, value: &Value| {
        name.len() > LONGEST_NAME || value.as_str().is_some_and(|t| t.len() > LONGEST_CLAIM || t.contains('\0'))
    };
    if kept.iter().any(|(name, value)| long(name, value)) {
        return Err(bad(format!("has a claim that is too long or holds a zero byte: at most {LONGEST_CLAIM} bytes")));
    }
    Ok(kept)
}

/// RFC 7519, section 4.1.3: a text or a list of texts.
fn for_us(aud: Option<&Value>, audience: &str) -> bool {
    match aud {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) => several.iter().any(|one| one == audience),
        _ => false,
    }
}

/// Seconds since 1970, perhaps with a fraction (RFC 7519, section 2, NumericDate), as microseconds.
fn moment(value: &Value, name: &str) -> Result<Micros> {
    if let Some(whole) = value.as_i64() {
        return Ok(whole.saturating_mul(1_000_000));
    }
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite());
    let seconds = seconds.ok_or_else(|| bad(format!("must give '{name}' as a number of seconds since 1970")))?;
    // A float that no i64 holds becomes the nearest one.
    Ok((seconds * 1e6) as Micros)
}

fn decoded(part: &str, what: &str) -> Result<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| bad(format!("must have a {what} in base64url without padding")))
}

fn object(bytes: &[u8], what: &str) -> Result<Map<String, Value>> {
    let read: Result<Once, _> = serde_json::from_slice(bytes);
    read.map(|once| once.0).map_err(|_| bad(format!("must have {what} that are a JSON object with each name once")))
}

/// An object in which no name comes twice: two readers must not see two things (RFC 7519, section 4).
struct Once(Map<String, Value>);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Once;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Once, A::Error> {
                let mut map = Map::new();
                while let Some((name, value)) = members.next_entry::<String, Value>()? {
                    if map.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a name comes twice"));
                    }
                }
                Ok(Once(map))
            }
        }
        from.deserialize_map(Members)
    }
}

/// `why` goes on where "the customer's token" began.
pub(crate) fn bad(why: impl AsRef<str>) -> Error {
    let message = format!("the customer's token ({CUSTOMER_TOKEN}) {}", why.as_ref());
    Error::new(Kind::Unauthenticated, message).with_param(CUSTOMER_TOKEN).with_code("invalid_customer_token")
}
