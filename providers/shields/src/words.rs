//! A text as words that can be compared, each with the bytes it came from.
//!
//! Seen through: case, accents, invisible characters, letters of other scripts that only look Latin.

use std::ops::Range;

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) range: Range<usize>,
}

pub(crate) fn words(text: &str) -> Vec<Word> {
    let mut out: Vec<Word> = Vec::new();
    let mut word: Option<Word> = None;
    for (at, c) in text.char_indices() {
        if is_invisible(c) || is_combining_mark(c) {
            continue;
        }
        let end = at + c.len_utf8();
        if !c.is_alphanumeric() {
            // `don't` and `dont` are one word.
            let inside = matches!(c, '\'' | '’') && word.is_some();
            if !inside {
                out.extend(word.take());
            }
            continue;
        }
        if is_ideograph(c) {
            out.extend(word.take());
            out.push(Word { text: c.to_string(), range: at..end });
            continue;
        }
        let word = word.get_or_insert_with(|| Word { text: String::new(), range: at..end });
        word.range.end = end;
        let folded = c.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase);
        for c in folded.filter(|c| !is_combining_mark(*c)) {
            match c {
                'ß' => word.text.push_str("ss"),
                c => word.text.push(c),
            }
        }
    }
    out.extend(word);
    for word in &mut out {
        unmask(word);
    }
    out
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}')
}

/// Scripts written without spaces: each character is its own word.
fn is_ideograph(c: char) -> bool {
    matches!(c as u32, 0x2e80..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3134f)
}

/// In a word that mixes Latin with Cyrillic or Greek, the strangers are read as what they look like.
fn unmask(word: &mut Word) {
    let latin = word.text.bytes().any(|b| b.is_ascii_alphabetic());
    if !latin || word.text.is_ascii() {
        return;
    }
    word.text = word
        .text
        .chars()
        .map(|c| match c {
            'а' | 'α' => 'a',
            'в' | 'β' => 'b',
            'с' | 'ϲ' => 'c',
            'ԁ' => 'd',
            'е' | 'ε' => 'e',
            'һ' | 'н' => 'h',
            'і' | 'ι' => 'i',
            'ј' => 'j',
            'к' | 'κ' => 'k',
            'м' => 'm',
            'ո' => 'n',
            'о' | 'ο' => 'o',
            'р' | 'ρ' => 'p',
            'ѕ' => 's',
            'т' | 'τ' => 't',
            'υ' => 'u',
            'ν' => 'v',
            'х' | 'χ' => 'x',
            'у' => 'y',
            c => c,
        })
        .collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        words(text).into_iter().map(|w| w.text).collect()
    }

    #[test]
    fn disguises_fall_away() {
        assert_eq!(
            texts("BÓMB b\u{200b}o\u{ad}mb bоmb ｂｏｍｂ Straße don’t"),
            ["bomb", "bomb", "bomb", "bomb", "strasse", "dont"]
        );
    }

    #[test]
    fn words_of_another_script_stay_what_they_are() {
        assert_eq!(texts("Московская"), ["московская"]);
    }

    proptest::proptest! {
        #[test]
        fn ranges_are_in_order_and_on_character_boundaries(text in "\\PC*") {
            let mut before = 0;
            for word in words(&text) {
                proptest::prop_assert!(before <= word.range.start && word.range.start < word.range.end);
                proptest::prop_assert!(text.get(word.range.clone()).is_some());
                before = word.range.end;
            }
        }
    }
}
