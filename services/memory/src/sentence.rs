//! Where sentences end, and how to break one that is too long to quote.
//!
//! Unicode's rules (UAX 29) plus the abbreviations that shops write. Invariant: the parts joined by a
//! space are the text, word for word.

use unicode_segmentation::UnicodeSegmentation as _;

/// Abbreviations that end in a full stop without ending a sentence, in the languages of our shops.
/// Single letters (`z. B.`, `J. Smith`) are known without a list.
const ABBREVIATIONS: &[&str] = &[
    "mr.", "mrs.", "ms.", "dr.", "prof.", "st.", "no.", "nos.", "nr.", "art.", "tel.", "approx.", "max.", "min.",
    "incl.", "excl.", "e.g.", "i.e.", "vs.", "ca.", "z.b.", "d.h.", "bzw.", "inkl.", "zzgl.", "evtl.", "ggf.", "mind.",
    "str.", "abs.", "hr.", "fr.", "u.a.", "usw.", "env.", "mme.", "p.ex.", "ex.", "sr.", "sra.", "aprox.", "núm.",
    "pág.", "sig.", "dott.", "es.", "bijv.", "a.u.b.", "dhr.", "mevr.", "resp.",
];

/// The sentences of a line, in order, trimmed.
pub(crate) fn sentences(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut start, mut end) = (0, 0);
    for part in text.split_sentence_bounds() {
        end += part.len();
        if ends_in_abbreviation(&text[start..end]) {
            continue;
        }
        push(&mut out, &text[start..end]);
        start = end;
    }
    push(&mut out, &text[start..]);
    out
}

fn push<'a>(out: &mut Vec<&'a str>, part: &'a str) {
    let part = part.trim();
    if !part.is_empty() {
        out.push(part);
    }
}

/// `… ca. ` and `… on the 3. ` (German and Dutch ordinals) go on.
fn ends_in_abbreviation(text: &str) -> bool {
    let Some(last) = text.split_whitespace().next_back() else { return false };
    let last = last.trim_start_matches(['(', '[', '„', '“', '\'', '«']).to_lowercase();
    if ABBREVIATIONS.contains(&last.as_str()) {
        return true;
    }
    let Some(number) = last.strip_suffix('.') else { return false };
    let letter = number.chars().count() == 1 && number.chars().all(char::is_alphabetic);
    letter || !number.is_empty() && number.len() <= 2 && number.bytes().all(|b| b.is_ascii_digit())
}

/// Words as people count them: runs without white space.
pub(crate) fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// A sentence in parts of at most `limit` words, broken after `;`, `:` or `,` where that leaves the part at least half full.
pub(crate) fn break_long(sentence: &str, limit: usize) -> Vec<String> {
    let all: Vec<&str> = sentence.split_whitespace().collect();
    let mut parts = Vec::new();
    let mut rest = all.as_slice();
    while rest.len() > limit {
        let window = &rest[..limit];
        let clause =
            |marks: &[char]| window.iter().rposition(|w| w.ends_with(marks)).map(|i| i + 1).filter(|n| *n * 2 >= limit);
        let at = clause(&[';', ':']).or_else(|| clause(&[',', '–', '—'])).unwrap_or(limit);
        parts.push(rest[..at].join(" "));
        rest = &rest[at..];
    }
    parts.push(rest.join(" "));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abbreviations_and_prices_do_not_end_a_sentence() {
        assert_eq!(
            sentences(
                "It costs approx. € 4.90 incl. VAT. Ask Mr. Smith! Lieferung bis zum 24. Dezember möglich, z. B. per Post. Ende?"
            ),
            [
                "It costs approx. € 4.90 incl. VAT.",
                "Ask Mr. Smith!",
                "Lieferung bis zum 24. Dezember möglich, z. B. per Post.",
                "Ende?"
            ]
        );
    }

    #[test]
    fn scripts_without_spaces_end_sentences_too() {
        assert_eq!(sentences("三十日以内に返品できます。送料は無料です。").len(), 2);
    }

    #[test]
    fn a_long_sentence_breaks_at_a_clause() {
        let parts = break_long("one two three four, five six seven eight nine ten", 6);
        assert_eq!(parts, ["one two three four,", "five six seven eight nine ten"]);
    }

    proptest::proptest! {
        #[test]
        fn no_word_is_lost_or_doubled(text in "\\PC{0,300}", limit in 1usize..20) {
            let words_of = |s: &str| s.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join("");
            let whole = words_of(&text);
            let joined: String = sentences(&text).iter().map(|s| words_of(s)).collect();
            proptest::prop_assert_eq!(&joined, &whole);
            let parts: Vec<String> = sentences(&text).iter().flat_map(|s| break_long(s, limit)).collect();
            proptest::prop_assert!(parts.iter().all(|p| words(p) <= limit));
            proptest::prop_assert_eq!(parts.iter().map(|s| words_of(s)).collect::<String>(), whole);
        }
    }
}
