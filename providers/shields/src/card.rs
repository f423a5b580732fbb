//! Card numbers: by issuer, length and check digit (ISO/IEC 7812), however a person spaces them.

use std::ops::Range;

/// Ranges of the card numbers in a text.
pub(crate) fn find(text: &str) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    for run in runs(text) {
        let mut from = 0;
        while from < run.len() {
            let Some(until) = card_at(&run, from) else {
                from += 1;
                continue;
            };
            out.push(run[from].at..run[until - 1].end);
            from = until;
        }
    }
    out
}

/// A digit and where it stands. `glued`: the digit before it follows without a separator.
struct Digit {
    value: u8,
    at: usize,
    end: usize,
    glued: bool,
}

/// Digits with at most two separators between them.
fn runs(text: &str) -> Vec<Vec<Digit>> {
    let mut out = Vec::new();
    let mut run: Vec<Digit> = Vec::new();
    let mut apart = 0;
    // A digit right after a letter belongs to a code, not to a card.
    let mut after_letter = false;
    for (at, c) in text.char_indices() {
        if let Some(value) = digit(c) {
            if run.is_empty() && after_letter {
                continue;
            }
            run.push(Digit { value, at, end: at + c.len_utf8(), glued: apart == 0 && !run.is_empty() });
            apart = 0;
            continue;
        }
        after_letter = c.is_alphabetic();
        if !run.is_empty() && apart < 2 && is_separator(c) {
            apart += 1;
            continue;
        }
        if !run.is_empty() {
            out.push(std::mem::take(&mut run));
        }
        apart = 0;
    }
    out.push(run);
    out
}

/// Digits as keyboards of several scripts write them.
fn digit(c: char) -> Option<u8> {
    let zeros = ['0', '０', '٠', '۰', '०'];
    zeros
        .iter()
        .find_map(|zero| (c as u32).checked_sub(*zero as u32).filter(|d| *d < 10).and_then(|d| u8::try_from(d).ok()))
}

fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '-' | '–'
                | '‐'
                | '‑'
                | '.'
                | '/'
                | '\u{200b}'
                | '\u{200c}'
                | '\u{200d}'
                | '\u{2060}'
                | '\u{feff}'
                | '\u{ad}'
        )
}

/// The end of the longest card number that begins at `from`: both ends fall between groups of digits.
fn card_at(run: &[Digit], from: usize) -> Option<usize> {
    if run[from].glued {
        return None;
    }
    (13..=19).rev().map(|length| from + length).filter(|until| *until <= run.len()).find(|until| {
        let ends = run.get(*until).is_none_or(|next| !next.glued);
        let digits: Vec<u8> = run[from..*until].iter().map(|d| d.value).collect();
        ends && issued(&digits) && luhn(&digits)
    })
}

/// Whether an issuer gives out numbers that begin and end like this. Ranges: the issuers' published IIN
/// ranges (Visa, Mastercard, American Express, Discover, Diners, JCB, UnionPay, Maestro, RuPay).
fn issued(digits: &[u8]) -> bool {
    let front = |n: usize| digits[..n].iter().fold(0u32, |sum, d| sum * 10 + u32::from(*d));
    match digits.len() {
        13 => front(1) == 4,
        14 => matches!(front(2), 36 | 38 | 39) || matches!(front(3), 300..=305 | 309),
        15 => matches!(front(2), 34 | 37),
        16 => {
            front(1) == 4
                || matches!(front(2), 50..=55 | 60 | 62 | 64 | 65 | 67 | 81 | 82)
                || matches!(front(4), 2221..=2720 | 3528..=3589 | 5600..=5899 | 6300..=6399 | 6600..=6699)
        }
        17 | 18 => matches!(front(2), 50 | 56..=58 | 62 | 63 | 67),
        19 => {
            front(1) == 4 || matches!(front(2), 50 | 56..=58 | 62..=65 | 67) || matches!(front(4), 3528..=3589 | 6011)
        }
        _ => false,
    }
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, d)| {
            let d = u32::from(*d);
            if i % 2 == 0 {
                d
            } else if d > 4 {
                d * 2 - 9
            } else {
                d * 2
            }
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|d| *d != digits[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        find(text).into_iter().map(|r| &text[r]).collect()
    }

    // Numbers: the card schemes' and payment providers' published test numbers.
    #[test]
    fn cards_are_found_however_they_are_spaced() {
        for card in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "4111\u{a0}1111\u{a0}1111\u{a0}1111",
            "5555 5555 5555 4444",
            "3782 822463 10005",
            "6011 1111 1111 1117",
            "3056 930902 5904",
            "3530 1113 3330 0000",
            "2223 0031 2200 3222",
            "６０１１０００９９０１３９４２４",
            "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        ] {
            assert_eq!(found(&format!("My card {card}, thanks")), [card]);
        }
    }

    #[test]
    fn a_card_is_found_before_its_expiry_and_after_a_word() {
        assert_eq!(found("card:4111 1111 1111 1111 12/28 123"), ["4111 1111 1111 1111"]);
        assert_eq!(found("4111111111111111 5555555555554444").len(), 2);
    }

    #[test]
    fn order_numbers_phones_and_codes_are_left() {
        for text in [
            "order 48213",
            "+32 9 555 01 23 45 67 89",
            "4111 1111 1111 1112",
            "0000 0000 0000 0000",
            "sha4111111111111111",
            "41111111111111110",
            "1234567812345670",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }
}
