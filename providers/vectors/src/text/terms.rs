//! Terms: what the index stores and what a question asks for.
//!
//! A term carries its language (`en:return`), so that words of two languages never meet by accident;
//! codes and numbers belong to all (`#:k137`).

use unicode_segmentation::UnicodeSegmentation as _;

use super::{
    language::Language,
    words::{Kind, Word, words},
};

/// Longest term in characters; longer words are cut, so that no page can swell the index.
const LONGEST: usize = 48;
/// A question's limits: sentences, and wanted things in each.
const SENTENCES: usize = 12;
const CONCEPTS: usize = 24;
/// How much a word of the same meaning counts, the word itself counting 1.
const SAME_MEANING: f64 = 0.85;
/// Shortest word that may begin a compound.
const COMPOUND_HEAD: usize = 5;

/// What one word of a question asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Concept {
    /// Terms that satisfy it, with how much each counts (0 to 1); the first is the word itself.
    pub(crate) terms: Vec<(String, f64)>,
    pub(crate) role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Normal,
    /// In every shop's mouth: counts little, finds nothing alone.
    Weak,
    /// A code or long number: a passage without it is about something else.
    Exact,
    /// A short number: ranks, but is not missed.
    Number,
}

/// Terms of a page's text, in order, with repeats.
pub(crate) fn index_terms(text: &str, language: Language) -> Vec<String> {
    let mut out = Vec::new();
    let words = words(text);
    for (i, word) in words.iter().enumerate() {
        match word.kind {
            Kind::Word | Kind::Letter if is_small(word, language) => continue,
            Kind::Word => out.extend(word_terms(word, language)),
            Kind::Letter => {}
            Kind::Code | Kind::Number => out.push(exact(word.main())),
        }
        // `K 137` and `60 W` are also written as one.
        if let Some(next) = words.get(i + 1) {
            let short = |w: &Word| matches!(w.kind, Kind::Word | Kind::Letter) && w.main().chars().count() <= 2;
            if word.kind == Kind::Number && short(next) || short(word) && next.kind == Kind::Number {
                out.push(exact(&format!("{}{}", word.main(), next.main())));
            }
        }
    }
    out
}

/// A question as what its sentences ask for. `spoken` is the question's own language: its small words say
/// nothing whatever language the page is in.
pub(crate) fn question(text: &str, language: Language, spoken: Language) -> Vec<Vec<Concept>> {
    let lines = text.split(['\n', '\r']).filter(|l| !l.trim().is_empty());
    let sentences = lines.flat_map(|l| l.split_sentence_bounds());
    let mut out: Vec<Vec<Concept>> = Vec::new();
    for sentence in sentences {
        let concepts = concepts(sentence, language, spoken);
        if !concepts.is_empty() && !out.contains(&concepts) {
            out.push(concepts);
        }
        if out.len() == SENTENCES {
            break;
        }
    }
    out
}

fn concepts(sentence: &str, language: Language, spoken: Language) -> Vec<Concept> {
    let mut out: Vec<Concept> = Vec::new();
    for word in words(sentence) {
        let concept = match word.kind {
            Kind::Letter => continue,
            // Asked for by its code, which a page may write in one piece (`K137`).
            Kind::Number if word.in_code => continue,
            Kind::Word if is_small(&word, language) || is_small(&word, spoken) => continue,
            Kind::Word => asked(&word, language),
            Kind::Code => Concept { terms: vec![(exact(word.main()), 1.0)], role: Role::Exact },
            Kind::Number if word.main().len() >= 5 && word.main().bytes().all(|b| b.is_ascii_digit()) => {
                Concept { terms: vec![(exact(word.main()), 1.0)], role: Role::Exact }
            }
            Kind::Number => Concept { terms: vec![(exact(word.main()), 1.0)], role: Role::Number },
        };
        if concept.terms.is_empty() || out.iter().any(|c| c.terms[0].0 == concept.terms[0].0) {
            continue;
        }
        out.push(concept);
        if out.len() == CONCEPTS {
            break;
        }
    }
    out
}

/// A word that says nothing, or several joined by hyphens (`sont-ils`).
fn is_small(word: &Word, language: Language) -> bool {
    let parts = word.others();
    language.is_stop(word.main()) || !parts.is_empty() && parts.iter().all(|p| language.is_stop(p))
}

fn asked(word: &Word, language: Language) -> Concept {
    let mut terms: Vec<(String, f64)> = Vec::new();
    let mut add = |term: String, counts: f64| {
        if !terms.iter().any(|(t, _)| *t == term) {
            terms.push((term, counts));
        }
    };
    for term in word_terms(word, language) {
        add(term, 1.0);
    }
    for same in language.same(word.main()) {
        add(term(language, same), SAME_MEANING);
    }
    let role = if language.is_weak(word.main()) { Role::Weak } else { Role::Normal };
    Concept { terms, role }
}

/// The terms of a word's spellings.
fn word_terms(word: &Word, language: Language) -> Vec<String> {
    let mut out = vec![term(language, &word.lower)];
    for other in word.others() {
        let other = term(language, other);
        if !out.contains(&other) {
            out.push(other);
        }
    }
    out
}

fn term(language: Language, lower: &str) -> String {
    let stem: String = language.stem(lower).chars().take(LONGEST).collect();
    format!("{}:{stem}", language.code())
}

fn exact(text: &str) -> String {
    format!("#:{}", text.chars().take(LONGEST).collect::<String>())
}

/// For languages that write compounds as one word: the range of terms that begin with this one
/// (`de:versand` … `de:versand\u{10ffff}`). None where the word is too short to be a head.
pub(crate) fn prefix_of(term: &str) -> Option<(String, String)> {
    let (code, stem) = term.split_once(':')?;
    if !Language::of_code(code).compounds() || stem.chars().count() < COMPOUND_HEAD {
        return None;
    }
    Some((term.to_owned(), format!("{term}\u{10ffff}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_questions_lead_to_the_same_terms() {
        let page = index_terms("Returned lamps: the K 137 and the K-138.", Language::En);
        assert_eq!(page, ["en:return", "en:lamp", "#:k137", "#:137", "#:k138", "#:138"]);
        let asked = question("Can I return the lamp K-137?", Language::En, Language::En);
        let firsts: Vec<&str> = asked[0].iter().map(|c| c.terms[0].0.as_str()).collect();
        assert_eq!(firsts, ["en:return", "en:lamp", "#:k137"]);
    }

    #[test]
    fn a_code_is_asked_for_in_one_piece_however_it_is_typed() {
        let page = index_terms("AB48213", Language::En);
        for question_text in ["AB48213", "AB-48213"] {
            let asked = question(question_text, Language::En, Language::En);
            let firsts: Vec<&str> = asked[0].iter().map(|c| c.terms[0].0.as_str()).collect();
            assert_eq!(firsts, page, "{question_text}");
        }
    }

    #[test]
    fn roles_follow_what_a_word_can_tell() {
        let asked = question("Where is my order 48213 of 2 lamps?", Language::En, Language::En);
        let roles: Vec<Role> = asked[0].iter().map(|c| c.role).collect();
        assert_eq!(roles, [Role::Weak, Role::Exact, Role::Number, Role::Normal]);
    }

    #[test]
    fn a_greeting_asks_for_nothing() {
        assert_eq!(question("Hello, good morning! Thanks.", Language::En, Language::En), Vec::<Vec<Concept>>::new());
        assert_eq!(question("Où sont-ils ? Y a-t-il ?", Language::Fr, Language::Fr), Vec::<Vec<Concept>>::new());
    }

    #[test]
    fn words_of_the_same_meaning_count_a_little_less() {
        let asked = question("delivery", Language::En, Language::En);
        assert!(asked[0][0].terms.iter().any(|(t, w)| t == "en:ship" && *w < 1.0), "{asked:?}");
    }
}
