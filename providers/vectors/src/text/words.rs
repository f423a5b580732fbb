//! Words, codes and numbers of a text.
//!
//! Unicode's word boundaries, then what they do not know about shops: `K-137` is one code, `l'envoi` is
//! `envoi`, `e-mail` is also `email`.

use unicode_normalization::UnicodeNormalization as _;
use unicode_segmentation::UnicodeSegmentation as _;

use super::fold::fold;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    /// One letter alone: says nothing, but may be half of a code (`K 137`) or a unit (`60 W`).
    Letter,
    /// Letters then digits (`K-137`, `E27`): names exactly one thing.
    Code,
    /// Digits, or digits with a unit (`30`, `4.90`, `60W`).
    Number,
}

/// A word with the ways it may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) kind: Kind,
    /// Stands in the code before it (`137` of `K-137`).
    pub(super) in_code: bool,
    /// Lower case with accents, for the stemmer; for codes and numbers the same as `forms[0]`.
    pub(super) lower: String,
    /// Folded spellings, the first one being the word's own; never empty.
    forms: Vec<String>,
}

impl Word {
    /// None where folding leaves nothing (a text of combining marks alone).
    fn plain(lower: &str) -> Option<Self> {
        let kind = if is_letter(lower) { Kind::Letter } else { Kind::Word };
        let main = fold(lower);
        (!main.is_empty()).then(|| Self { kind, in_code: false, lower: lower.to_owned(), forms: vec![main] })
    }

    fn exact(kind: Kind, text: String) -> Self {
        Self { kind, in_code: false, lower: text.clone(), forms: vec![text] }
    }

    pub(super) fn main(&self) -> &str {
        self.forms.first().map_or("", String::as_str)
    }

    /// Other spellings.
    pub(super) fn others(&self) -> &[String] {
        self.forms.get(1..).unwrap_or_default()
    }
}

/// The words of a text in order.
pub(super) fn words(text: &str) -> Vec<Word> {
    let text: String = text.nfkc().map(|c| if matches!(c, '’' | 'ʼ' | '`') { '\'' } else { c }).collect();
    let text = text.to_lowercase();
    let mut out = Vec::new();
    let mut run: Vec<&str> = Vec::new();
    let mut bounds = text.split_word_bounds().peekable();
    while let Some(part) = bounds.next() {
        if part.chars().any(char::is_alphanumeric) {
            run.push(part);
            continue;
        }
        // A hyphen between two parts keeps the run open.
        let joins = matches!(part, "-" | "‐" | "‑")
            && !run.is_empty()
            && bounds.peek().is_some_and(|p| p.starts_with(char::is_alphanumeric));
        if !joins {
            close(&mut run, &mut out);
        }
    }
    close(&mut run, &mut out);
    out
}

/// Ends a run of parts joined by hyphens.
fn close(run: &mut Vec<&str>, out: &mut Vec<Word>) {
    let parts = std::mem::take(run);
    let [single] = parts.as_slice() else {
        if !parts.is_empty() {
            joined(&parts, out);
        }
        return;
    };
    one(single, out);
}

fn joined(parts: &[&str], out: &mut Vec<Word>) {
    let whole: String = parts.iter().flat_map(|p| p.chars()).filter(|c| c.is_alphanumeric()).collect();
    let whole_kind = kind(&whole);
    let all_numbers = parts.iter().all(|p| kind(p) == Kind::Number);
    if whole_kind == Kind::Word && parts.iter().all(|p| p.chars().count() <= 2) {
        // `y-a-t-il`: small words strung together.
        for part in parts {
            one(part, out);
        }
        return;
    }
    if whole_kind == Kind::Word {
        // `e-mail` may be written `email`; its parts count as well.
        let Some(mut word) = Word::plain(&whole) else { return };
        let spellings = parts.iter().filter(|p| p.chars().count() > 2).map(|p| fold(p));
        word.forms.extend(spellings.filter(|s| !s.is_empty()));
        out.push(word);
        return;
    }
    if whole_kind == Kind::Code {
        out.push(Word::exact(Kind::Code, fold(&whole)));
    }
    let first = out.len();
    for part in parts {
        // `1-2` is two numbers; of `K-137` only the number may stand alone.
        if all_numbers || whole_kind != Kind::Code || kind(part) != Kind::Code && part.chars().count() > 2 {
            one(part, out);
        }
    }
    if whole_kind == Kind::Code {
        out[first..].iter_mut().for_each(|word| word.in_code = true);
    }
}

fn one(part: &str, out: &mut Vec<Word>) {
    match kind(part) {
        Kind::Word => {
            for piece in part.split(['.', '_', ':', '·']) {
                out.extend(Word::plain(without_elision(piece)));
            }
        }
        exact => {
            let text: String = part.chars().filter(|c| c.is_alphanumeric()).collect();
            out.push(Word::exact(exact, fold(&text)));
        }
    }
}

fn kind(part: &str) -> Kind {
    let mut chars = part.chars().filter(|c| c.is_alphanumeric());
    let Some(first) = chars.next() else { return Kind::Word };
    if first.is_numeric() {
        return Kind::Number;
    }
    if chars.any(char::is_numeric) { Kind::Code } else { Kind::Word }
}

/// `l'envoi` → `envoi`, `dell'ordine` → `ordine`, `shop's` → `shop`; `don't` stays (it is a stop word).
fn without_elision(word: &str) -> &str {
    let Some((before, after)) = word.split_once('\'') else { return word };
    if after == "s" || after.is_empty() {
        return before;
    }
    if before.chars().count() <= 5 && after.chars().count() > 2 { after } else { word }
}

/// One letter alone; one ideograph is a word.
fn is_letter(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next().is_some_and(|only| (only as u32) < 0x2e80) && chars.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(Kind, String)> {
        words(text).into_iter().map(|w| (w.kind, w.main().to_owned())).collect()
    }

    #[test]
    fn codes_numbers_and_words_are_told_apart() {
        let expect = [
            (Kind::Word, "kettle"),
            (Kind::Code, "k137"),
            (Kind::Number, "137"),
            (Kind::Number, "490"),
            (Kind::Code, "e27"),
            (Kind::Number, "60w"),
        ];
        assert_eq!(read("Kettle K-137: € 4.90, E27 60W"), expect.map(|(k, w)| (k, w.to_owned())));
        assert_eq!(
            read("1-2 days"),
            [(Kind::Number, "1".into()), (Kind::Number, "2".into()), (Kind::Word, "days".into())]
        );
    }

    #[test]
    fn hyphenated_words_have_their_joined_form() {
        let email = &words("E-Mail")[0];
        assert_eq!((email.main(), email.others()), ("email", &["mail".to_owned()][..]));
        assert_eq!(words("e‑mail")[0].main(), "email");
    }

    #[test]
    fn elisions_leave_the_noun() {
        let mains: Vec<String> =
            read("L’envoi dell'ordine, the shop's door; don't").into_iter().map(|(_, w)| w).collect();
        assert_eq!(mains, ["envoi", "ordine", "the", "shop", "door", "don't"]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_it_and_no_word_is_empty(text in "\\PC{0,200}") {
            for word in words(&text) {
                proptest::prop_assert!(word.forms.iter().all(|form| !form.is_empty()), "{:?}", word);
            }
        }
    }
}
