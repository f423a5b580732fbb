//! Halves of a pair: `\ud800` alone is an escape that JSON's grammar has and Unicode has not.
//!
//! Servers cut their text between two tokens, and some cut there; our parser refuses such a string, and with it an answer
//! that every client in Python or JavaScript reads. So who decodes an answer reads U+FFFD in its place.
//! Invariant: nothing but such halves changes, and no byte moves.

use std::borrow::Cow;

use memchr::{memchr, memmem};

/// An escape, `\uXXXX`, in bytes.
const ESCAPE: usize = 6;

/// The same JSON with U+FFFD for every half of a surrogate pair that stands alone (RFC 8259, section 8.2).
#[must_use]
pub fn mended(json: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Cow::Borrowed(json);
    let Some(first) = memmem::find(json, br"\u") else { return out };
    // One of several backslashes before it: where an escape begins is known from the first of them.
    let mut at = json[..first].iter().rposition(|byte| *byte != b'\\').map_or(0, |before| before + 1);
    while let Some(next) = json.get(at..).and_then(|rest| memchr(b'\\', rest)) {
        at += next;
        match unit(json, at) {
            Some(0xd800..=0xdbff) if matches!(unit(json, at + ESCAPE), Some(0xdc00..=0xdfff)) => at += 2 * ESCAPE,
            Some(0xd800..=0xdfff) => {
                out.to_mut()[at + 2..at + ESCAPE].copy_from_slice(b"fffd");
                at += ESCAPE;
            }
            Some(_) => at += ESCAPE,
            // Another escape, or none.
            None => at += 2,
        }
    }
    out
}

/// The code unit that an escape at `at` names.
fn unit(json: &[u8], at: usize) -> Option<u16> {
    let hex = json.get(at..at + ESCAPE)?.strip_prefix(br"\u")?;
    let digits = std::str::from_utf8(hex).ok().filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_becomes_the_replacement_character_and_pairs_stay() {
        for (json, text) in [
            (r#""\ud800""#, "\u{fffd}"),
            (r#""a\uDC00b""#, "a\u{fffd}b"),
            (r#""\ud83d\ude00""#, "\u{1f600}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\\ud800 \\\ud800""#, "\\ud800 \\\u{fffd}"),
            (r#""\n\u00e9\ud800\n""#, "\n\u{e9}\u{fffd}\n"),
        ] {
            let mended = mended(json.as_bytes());
            assert_eq!(mended.len(), json.len(), "{json}");
            assert_eq!(serde_json::from_slice::<String>(&mended).expect(json), text, "{json}");
        }
    }

    #[test]
    fn what_has_no_half_is_not_copied() {
        for json in [r#"{"a":"\u00e9\n"}"#, "{}", r#""\ud83d\ude00""#, r#""\u""#, r#""\ud8"#, r"\", ""] {
            assert!(matches!(mended(json.as_bytes()), Cow::Borrowed(same) if same == json.as_bytes()), "{json}");
        }
    }
}
