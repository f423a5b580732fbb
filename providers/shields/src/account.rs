//! International bank account numbers: country, its length, and the check digits of ISO 13616.

use std::ops::Range;

/// Lengths by country, from the SWIFT IBAN registry.
const LENGTHS: &[(&str, usize)] = &[
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BR", 29),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MT", 31),
    ("NL", 18),
    ("NO", 15),
    ("PK", 24),
    ("PL", 28),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("SA", 24),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("XK", 20),
];

/// Ranges of the account numbers in a text.
pub(crate) fn find(text: &str) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let begins = bytes[at].is_ascii_alphabetic() && (at == 0 || !bytes[at - 1].is_ascii_alphanumeric());
        match begins.then(|| account_at(text, at)).flatten() {
            Some(end) => {
                out.push(at..end);
                at = end;
            }
            None => at += 1,
        }
    }
    out
}

/// The end of the account number that begins at `at`.
fn account_at(text: &str, at: usize) -> Option<usize> {
    let country = text.get(at..at + 2)?.to_ascii_uppercase();
    let length = LENGTHS.iter().find(|(name, _)| *name == country)?.1;
    let mut number = String::with_capacity(length);
    let mut end = at;
    let mut apart = 0;
    for c in text[at..].chars() {
        if c.is_ascii_alphanumeric() {
            number.push(c.to_ascii_uppercase());
            apart = 0;
        } else if matches!(c, ' ' | '-' | '\u{a0}' | '\u{202f}') && apart == 0 {
            apart += 1;
        } else {
            return None;
        }
        end += c.len_utf8();
        if number.len() == length {
            break;
        }
    }
    let alone = !text[end..].starts_with(|c: char| c.is_ascii_alphanumeric());
    (number.len() == length && alone && checks(&number)).then_some(end)
}

/// ISO 7064 mod 97-10 over the rearranged number.
fn checks(number: &str) -> bool {
    let (front, back) = number.split_at(4);
    let rest = back.chars().chain(front.chars()).try_fold(0u32, |rest, c| {
        let value = c.to_digit(36)?;
        Some(if value < 10 { (rest * 10 + value) % 97 } else { (rest * 100 + value) % 97 })
    });
    rest == Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Numbers: the examples of the SWIFT IBAN registry.
    #[test]
    fn accounts_are_found_spaced_or_not() {
        for account in
            ["BE68 5390 0754 7034", "DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19", "nl91 abna 0417 1643 00"]
        {
            let text = format!("Pay to {account}, please");
            assert_eq!(find(&text).into_iter().map(|r| &text[r]).collect::<Vec<_>>(), [account]);
        }
    }

    #[test]
    fn a_wrong_digit_or_a_sentence_is_none() {
        for text in ["BE68 5390 0754 7035", "DE 89 Euro kostet es", "BE", "être", "IT27 est une référence é"] {
            assert!(find(text).is_empty(), "{text}");
        }
    }
}
