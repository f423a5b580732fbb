//! Secrets at rest: AES-256-GCM with a key that is derived from the [`Pepper`] and so lives outside the database.
//!
//! Invariant: what was sealed for one row opens in no other. The row's tenant, table, id and whatever gives the secret
//! its meaning are authenticated with it, so who can write to the database can neither move a secret nor change what it
//! is good for.

use frontdesk_api::{Error, Kind, Result};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::Pepper;

/// The first byte of what is sealed; another way of sealing would take another.
const VERSION: u8 = 1;

/// `about` says what is sealed, from its table to its id.
///
/// # Errors
/// `Internal` when the operating system has no randomness to give.
pub(crate) fn seal(pepper: &Pepper, about: &[&str], plain: &[u8]) -> Result<Vec<u8>> {
    // Random: with 96 bits two are the same once in 2^32 secrets with a chance below one in 2^32.
    let mut nonce = [0u8; NONCE_LEN];
    getrandom::fill(&mut nonce).map_err(|e| {
        Error::new(Kind::Internal, "the operating system gives no random bytes").with_source(e.to_string())
    })?;
    let mut text = plain.to_vec();
    let done = key(pepper)?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(about), &mut text);
    done.map_err(|_| Error::new(Kind::Internal, "a secret could not be sealed"))?;
    let mut sealed = vec![VERSION];
    sealed.extend_from_slice(&nonce);
    sealed.append(&mut text);
    Ok(sealed)
}

/// # Errors
/// `Internal` where it was sealed otherwise, for another row, or with another pepper, or was changed since.
pub(crate) fn open(pepper: &Pepper, about: &[&str], sealed: &[u8]) -> Result<Vec<u8>> {
    let damaged = || Error::new(Kind::Internal, "a secret in the database is damaged or was not sealed here");
    let (version, rest) = sealed.split_first().ok_or_else(damaged)?;
    if *version != VERSION {
        return Err(damaged());
    }
    let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
    let mut text = text.to_vec();
    let opened = key(pepper)?.open_in_place(Nonce::assume_unique_for_key(*nonce), aad(about), &mut text);
    let length = opened.map_err(|_| damaged())?.len();
    text.truncate(length);
    Ok(text)
}

fn key(pepper: &Pepper) -> Result<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, &pepper.sealing_key());
    key.map(LessSafeKey::new).map_err(|_| Error::new(Kind::Internal, "the sealing key has the wrong length"))
}

/// Each part behind its length: no two lists of parts are one text.
fn aad(about: &[&str]) -> Aad<Vec<u8>> {
    let mut bytes = vec![];
    for part in about {
        bytes.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    Aad::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_where_it_was_sealed_and_nowhere_else() {
        let (pepper, other) = (Pepper::draw().expect("a pepper"), Pepper::draw().expect("a pepper"));
        let about = ["customer_key", "acme", "ck_1", "HS256"];
        let sealed = seal(&pepper, &about, b"a secret").expect("sealed");
        assert!(!sealed.windows(8).any(|w| w == b"a secret"));
        assert_eq!(open(&pepper, &about, &sealed).expect("opened"), b"a secret");
        assert_ne!(seal(&pepper, &about, b"a secret").expect("sealed"), sealed, "a nonce is used once");
        for elsewhere in [
            ["customer_key", "bolt", "ck_1", "HS256"],
            ["customer_key", "acme", "ck_1", "EdDSA"],
            ["customer_keya", "cme", "ck_1", "HS256"],
        ] {
            assert!(open(&pepper, &elsewhere, &sealed).is_err(), "{elsewhere:?}");
        }
        assert!(open(&other, &about, &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&pepper, &about, &changed).is_err(), "byte {at}");
            assert!(open(&pepper, &about, &sealed[..at]).is_err(), "cut at {at}");
        }
    }
}
