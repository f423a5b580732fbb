//! Strikes a secret out of what a server answered, in the spellings that servers write: as it is, escaped in JSON,
//! percent-encoded once or twice, as entities of HTML.
//!
//! Invariant: this guards against echoes (a page of errors, a debugging service), not against a server that was told
//! the secret and wants to hand it on.

/// `text` with every place that reads as `secret` replaced; None: there is none.
pub(crate) fn strike(text: &[u8], secret: &str, instead: &str) -> Option<Vec<u8>> {
    let secret = secret.as_bytes();
    let mut struck: Option<Vec<u8>> = None;
    let (mut at, mut kept) = (0, 0);
    while at < text.len() {
        let Some(length) = reads(&text[at..], secret) else {
            at += 1;
            continue;
        };
        let out = struck.get_or_insert_with(Vec::new);
        out.extend_from_slice(&text[kept..at]);
        out.extend_from_slice(instead.as_bytes());
        at += length;
        kept = at;
    }
    let mut struck = struck?;
    struck.extend_from_slice(&text[kept..]);
    Some(struck)
}

/// How many bytes at the beginning of `text` read as `secret`.
fn reads(text: &[u8], secret: &[u8]) -> Option<usize> {
    let mut at = 0;
    for &wanted in secret {
        at += one(&text[at..], wanted)?;
    }
    (at > 0).then_some(at)
}

/// How many bytes at the beginning of `text` read as one ASCII character.
fn one(text: &[u8], wanted: u8) -> Option<usize> {
    let (&first, rest) = text.split_first()?;
    let escaped = match first {
        b'\\' => match rest.first() {
            Some(b'u') => hex(rest.get(1..5)?, wanted).then_some(6),
            Some(&next) => (next == wanted).then_some(2),
            None => None,
        },
        // `%252F`: what was encoded already is encoded again in a link that holds a link.
        b'%' if rest.starts_with(b"25") && rest.get(2..4).is_some_and(|digits| hex(digits, wanted)) => Some(5),
        b'%' => rest.get(..2).filter(|digits| hex(digits, wanted)).map(|_| 3),
        b'&' => entity(rest, wanted).map(|length| length + 1),
        b'+' if wanted == b' ' => Some(1),
        _ => None,
    };
    escaped.or((first == wanted).then_some(1))
}

fn hex(digits: &[u8], wanted: u8) -> bool {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    digits.iter().all(u8::is_ascii_hexdigit) && u32::from_str_radix(text, 16) == Ok(wanted.into())
}

/// What stands behind `&`, to the semicolon.
fn entity(rest: &[u8], wanted: u8) -> Option<usize> {
    let end = rest.iter().take(10).position(|b| *b == b';')?;
    let name = std::str::from_utf8(&rest[..end]).ok()?;
    let read = match name {
        "amp" => Some(u32::from(b'&')),
        "lt" => Some(u32::from(b'<')),
        "gt" => Some(u32::from(b'>')),
        "quot" => Some(u32::from(b'"')),
        "apos" => Some(u32::from(b'\'')),
        _ => match name.strip_prefix('#')? {
            digits if digits.starts_with(['x', 'X']) => u32::from_str_radix(&digits[1..], 16).ok(),
            digits => digits.parse().ok(),
        },
    };
    (read? == u32::from(wanted)).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(text: &str, secret: &str) -> String {
        strike(text.as_bytes(), secret, "[x]").map_or_else(|| text.to_owned(), |s| String::from_utf8(s).expect("text"))
    }

    #[test]
    fn a_secret_goes_however_it_is_written() {
        for (text, expected) in [
            ("a hunter2+/\"k b", "a [x] b"),
            (r#"{"a":"hunter2+\/\"k"}"#, r#"{"a":"[x]"}"#),
            (r#"{"a":"\u0068unter2\u002B\u002f\u0022k"}"#, r#"{"a":"[x]"}"#),
            ("?k=hunter2%2B%2f%22k&b", "?k=[x]&b"),
            ("?to=%3Fk%3Dhunter2%252B%252f%2522k&b", "?to=%3Fk%3D[x]&b"),
            ("<b>hunter2+/&quot;k</b> &#104;unter2&#x2b;/&#34;k", "<b>[x]</b> [x]"),
            ("hunter2+/\"khunter2+/\"k", "[x][x]"),
            ("hunter2+/\"", "hunter2+/\""),
            ("", ""),
        ] {
            assert_eq!(struck(text, "hunter2+/\"k"), expected);
        }
        assert_eq!(struck("user+pass user%20pass user pass", "user pass"), "[x] [x] [x]");
        assert_eq!(struck(r"a\\b", r"\"), "a[x]b");
        assert_eq!(struck("aab", "ab"), "a[x]");
    }
}
