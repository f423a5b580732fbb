//! The keys by which a tenant vouches for its customers: added, listed, revoked, and asked at every token.
//!
//! A key is read from the database at every token, so one that was revoked opens nothing anywhere from that moment on.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use frontdesk_api::{Cx, Error, Micros, Page, PageRequest, Result, customer::Algorithm, cx::Customer};
use frontdesk_store::customer_keys::StoredCustomerKey;

use crate::{
    Accounts, random, seal,
    token::{self, Key, LONGEST_NAME, Token},
};

/// How many keys of a tenant may be alive: one for each place that signs customers in, twice while it changes.
pub const MOST_LIVE: i64 = 16;

/// The shortest secret, in bytes (RFC 7518, section 3.2), and the longest.
const SECRET: std::ops::RangeInclusive<usize> = 32..=1024;

/// What stands before the 32 bytes of a public key in its usual form (RFC 8410, section 4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A key to be added.
pub struct CustomerKeyRequest {
    /// What tokens call it; None: its id.
    pub kid: Option<String>,
    /// What `aud` of a token must be or hold.
    pub audience: String,
    /// What `iss` must be; None: it is not looked at.
    pub issuer: Option<String>,
    pub material: Material,
}

/// What signatures are checked with. Not `Debug`: it may be a secret.
pub enum Material {
    /// HS256. None: one is drawn.
    Secret(Option<String>),
    /// Ed25519: PEM (`BEGIN PUBLIC KEY`), or the `x` of a JWK.
    PublicKey(String),
}

/// A key as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerKey {
    pub id: String,
    pub kid: String,
    pub algorithm: Algorithm,
    pub audience: String,
    pub issuer: Option<String>,
    pub created_at: Micros,
    pub revoked_at: Option<Micros>,
}

impl From<StoredCustomerKey> for CustomerKey {
    fn from(row: StoredCustomerKey) -> Self {
        Self {
            id: row.id,
            kid: row.kid,
            algorithm: row.algorithm,
            audience: row.audience,
            issuer: row.issuer,
            created_at: row.created_at,
            revoked_at: row.revoked_at,
        }
    }
}

impl Accounts {
    /// Adds a key; tokens by it are good at once. The second value is the secret, where it was drawn here: show it once.
    ///
    /// # Errors
    /// `Invalid` naming the field; `Conflict` with the codes `customer_key_exists` and `too_many_customer_keys`.
    pub async fn add_customer_key(&self, cx: &Cx, wanted: CustomerKeyRequest) -> Result<(CustomerKey, Option<String>)> {
        let id = self.0.ids.next("ck");
        let kid = wanted.kid.unwrap_or_else(|| id.clone());
        if kid.is_empty() || kid.len() > LONGEST_NAME || !kid.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::invalid("kid", format!("kid has 1 to {LONGEST_NAME} visible ASCII characters")));
        }
        for (name, text) in [("audience", Some(&wanted.audience)), ("issuer", wanted.issuer.as_ref())] {
            let bad =
                |text: &String| text.is_empty() || text.len() > LONGEST_NAME || text.chars().any(char::is_control);
            if text.is_some_and(bad) {
                return Err(Error::invalid(
                    name,
                    format!("{name} has 1 to {LONGEST_NAME} bytes, no control characters"),
                ));
            }
        }
        let (algorithm, material, drawn) = match wanted.material {
            Material::Secret(Some(secret)) => {
                if !SECRET.contains(&secret.len()) {
                    let message = format!("secret has {} to {} bytes", SECRET.start(), SECRET.end());
                    return Err(Error::invalid("secret", message));
                }
                (Algorithm::Hs256, secret.into_bytes(), None)
            }
            Material::Secret(None) => {
                let secret = URL_SAFE_NO_PAD.encode(random()?);
                (Algorithm::Hs256, secret.clone().into_bytes(), Some(secret))
            }
            Material::PublicKey(text) => (Algorithm::EdDsa, public_key(&text)?, None),
        };
        let material = seal::seal(&self.0.pepper, &about(&cx.tenant, &id, algorithm), &material)?;
        let row = StoredCustomerKey {
            id,
            kid,
            algorithm,
            audience: wanted.audience,
            issuer: wanted.issuer,
            material,
            created_at: self.0.clock.now(),
            revoked_at: None,
        };
        self.0.store.tenant(cx).add_customer_key(&row, MOST_LIVE).await?;
        Ok((row.into(), drawn))
    }

    /// The tenant's keys, newest first unless asked otherwise, without what they are made of.
    ///
    /// # Errors
    /// As the store.
    pub async fn list_customer_keys(&self, cx: &Cx, page: &PageRequest) -> Result<Page<CustomerKey>> {
        let page = self.0.store.tenant(cx).list_customer_keys(page).await?;
        Ok(Page { items: page.items.into_iter().map(CustomerKey::from).collect(), more: page.more })
    }

    /// From now on tokens by the key are refused. Revoking again changes nothing.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn revoke_customer_key(&self, cx: &Cx, id: &str) -> Result<()> {
        self.0.store.tenant(cx).revoke_customer_key(id, self.0.clock.now()).await
    }

    /// The customer that a token names, by a key of the caller's tenant.
    ///
    /// # Errors
    /// `Unauthenticated`: the code is `unknown_customer_key`, `revoked_customer_key`, `expired_customer_token` or
    /// `invalid_customer_token`, the message says what is wrong and never repeats the token.
    pub async fn verify_customer(&self, cx: &Cx, text: &str) -> Result<Customer> {
        let token = Token::read(text)?;
        let Some(row) = self.0.store.tenant(cx).find_customer_key(&token.kid).await? else {
            return Err(token::bad("names a key ('kid') that is not among yours").with_code("unknown_customer_key"));
        };
        if row.revoked_at.is_some() {
            return Err(token::bad("is signed by a key that was revoked").with_code("revoked_customer_key"));
        }
        let material = seal::open(&self.0.pepper, &about(&cx.tenant, &row.id, row.algorithm), &row.material)?;
        let key = Key {
            algorithm: row.algorithm,
            material: &material,
            audience: &row.audience,
            issuer: row.issuer.as_deref(),
        };
        token.verify(&key, self.0.clock.now())
    }
}

/// What a key's material is bound to.
fn about<'a>(tenant: &'a str, id: &'a str, algorithm: Algorithm) -> [&'a str; 4] {
    ["customer_key", tenant, id, algorithm.as_str()]
}

/// The 32 bytes of an Ed25519 public key.
fn public_key(text: &str) -> Result<Vec<u8>> {
    let bytes = match text.trim().strip_prefix("-----BEGIN PUBLIC KEY-----") {
        None => URL_SAFE_NO_PAD.decode(text.trim()).ok(),
        Some(rest) => rest.trim_end().strip_suffix("-----END PUBLIC KEY-----").and_then(|body| {
            let body: String = body.split_ascii_whitespace().collect();
            Some(STANDARD.decode(body).ok()?.strip_prefix(&SPKI)?.to_vec())
        }),
    };
    bytes.filter(|bytes| bytes.len() == 32).ok_or_else(|| {
        let message = "public_key must be an Ed25519 key: PEM (BEGIN PUBLIC KEY), or the 'x' of its JWK";
        Error::invalid("public_key", message)
    })
}
