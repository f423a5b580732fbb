//! What a key looks like: `fd_<id>_<secret>_<checksum>`.
//!
//! The id (26 characters) is that of the key's row, so a key found in a log can be named and revoked; the
//! secret is 32 random bytes (52 characters); the checksum (8 characters) tells a mistyped or cut key from
//! an unknown one. All of it is lower-case Crockford base 32, so a double click selects the whole.

use frontdesk_api::Result;

/// The longest text that can be a key: what an operator may choose for the first admin key.
pub(crate) const LONGEST: usize = 512;

const PREFIX: &str = "fd_";
const ID: usize = 26;
const SECRET: usize = 52;
const CHECKSUM: usize = 8;
const WHOLE: usize = PREFIX.len() + ID + 1 + SECRET + 1 + CHECKSUM;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A new key for the row `key_<id>`.
///
/// # Errors
/// `Internal` when the operating system has no randomness to give.
pub(crate) fn make(row_id: &str) -> Result<String> {
    Ok(compose(row_id, &crate::random()?))
}

fn compose(row_id: &str, secret: &[u8; 32]) -> String {
    let id = row_id.split_once('_').map_or(row_id, |(_, body)| body);
    let mut key = format!("{PREFIX}{id}_{}", base32(secret));
    let checksum = checksum(&key);
    key.push('_');
    key.push_str(&checksum);
    key
}

/// Why a key is not in the table, for the one who presents it.
pub(crate) fn why_unknown(presented: &str) -> &'static str {
    if presented.starts_with(PREFIX) && !is_whole(presented) {
        return "this API key is incomplete or mistyped: its checksum does not match";
    }
    "unknown API key"
}

/// Whether this was ever made by [`make`]: shape and checksum agree.
pub(crate) fn is_whole(presented: &str) -> bool {
    let Some((front, found)) = presented.rsplit_once('_') else { return false };
    presented.len() == WHOLE && presented.starts_with(PREFIX) && checksum(front) == found
}

/// The first 40 bits of BLAKE3; no secret, only a guard against slips.
fn checksum(front: &str) -> String {
    base32(&blake3::hash(front.as_bytes()).as_bytes()[..5])
}

/// Five bits a character, the last one filled with zeros.
fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut held, mut bits) = (0u32, 0u32);
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[((held >> bits) & 31) as usize]));
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[((held << (5 - bits)) & 31) as usize]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "key_01jd00000000000000000000aa";

    // Oracle: RFC 4648 section 10's vectors ("foobar" = MZXW6YTBOI), with its alphabet replaced by Crockford's.
    #[test]
    fn base32_agrees_with_the_rfc() {
        assert_eq!(base32(b"foobar"), crockford("MZXW6YTBOI"));
        assert_eq!(base32(b"fooba"), crockford("MZXW6YTB"));
        assert_eq!(base32(b"f"), crockford("MY"));
        assert_eq!(base32(b""), "");
    }

    fn crockford(rfc: &str) -> String {
        let of = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        rfc.bytes().map(|c| char::from(ALPHABET[of.iter().position(|o| *o == c).expect("in the alphabet")])).collect()
    }

    #[test]
    fn a_key_names_its_row_and_is_whole() {
        let key = compose(ROW, &[7; 32]);
        assert_eq!(key.len(), WHOLE);
        assert!(key.starts_with("fd_01jd00000000000000000000aa_"));
        assert!(is_whole(&key));
        assert!(key.bytes().all(|b| b == b'_' || ALPHABET.contains(&b)));
    }

    #[test]
    fn two_keys_of_one_row_differ() {
        assert_ne!(make(ROW).expect("random"), make(ROW).expect("random"));
    }

    #[test]
    fn every_single_slip_is_seen() {
        let key = compose(ROW, &[7; 32]);
        for at in 0..key.len() {
            let mut slipped = key.clone().into_bytes();
            slipped[at] = if slipped[at] == b'z' { b'y' } else { b'z' };
            assert!(!is_whole(std::str::from_utf8(&slipped).expect("text")), "character {at}");
            assert!(!is_whole(&key[..at]), "cut at {at}");
        }
    }

    #[test]
    fn a_slip_reads_differently_from_an_unknown_key() {
        let key = compose(ROW, &[7; 32]);
        assert_eq!(why_unknown(&key), "unknown API key");
        assert!(why_unknown(&key[..key.len() - 1]).contains("mistyped"));
        assert_eq!(why_unknown("sk-someone-elses"), "unknown API key");
    }
}
