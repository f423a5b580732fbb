//! Folding: what a person may type differently for the same word.

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

/// Lower case without diacritics: `Größe` → `grosse`, `Żółty` → `zolty`, `ﬁx` → `fix`.
pub(crate) fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase) {
        match c {
            'ß' => out.push_str("ss"),
            'æ' => out.push_str("ae"),
            'œ' => out.push_str("oe"),
            'ø' => out.push('o'),
            'ł' => out.push('l'),
            'đ' | 'ð' => out.push('d'),
            'þ' => out.push_str("th"),
            'ı' => out.push('i'),
            c if !is_combining_mark(c) => out.push(c),
            _ => {}
        }
    }
    out
}

/// German written without umlauts: `rueckgabe` and `ruckgabe` (from `Rückgabe`) meet. `ue` after a vowel
/// or `q` is not an umlaut (`neue`, `bauen`, `quelle`); the rule is the German2 stemmer's.
pub(crate) fn without_umlaut_spelling(folded: &str) -> String {
    let mut out = String::with_capacity(folded.len());
    let mut before = ' ';
    let mut chars = folded.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        let spelt = matches!(c, 'a' | 'o' | 'u')
            && chars.peek() == Some(&'e')
            && !matches!(before, 'a' | 'e' | 'i' | 'o' | 'u' | 'q');
        if spelt {
            chars.next();
        }
        before = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_meet_however_they_are_typed() {
        assert_eq!(fold("GRÖSSE"), fold("Größe"));
        assert_eq!(fold("Żółty Café İstanbul ﬁx"), "zolty cafe istanbul fix");
        assert_eq!(without_umlaut_spelling("rueckgabe"), without_umlaut_spelling(&fold("Rückgabe")));
        assert_eq!(without_umlaut_spelling("neue bauen quelle"), "neue bauen quelle");
    }

    proptest::proptest! {
        #[test]
        fn folding_twice_is_folding_once(text in "\\PC{0,80}") {
            let once = fold(&text);
            proptest::prop_assert_eq!(fold(&once), once);
        }
    }
}
