//! Which language a text is in, and what that language's small words are.
//!
//! A text is in the language whose function words it uses most: simple, the same for ten words and ten
//! pages, and explainable. Texts without any (a list of model names) are [`Language::Other`]: searched
//! by whole words.

use std::{collections::HashMap, sync::LazyLock};

use rust_stemmers::{Algorithm, Stemmer};

use super::{
    fold::{fold, without_umlaut_spelling},
    words::{Kind, words},
};

/// A language with word lists and a stemmer, or none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    De,
    En,
    Es,
    Fr,
    It,
    Nl,
    Pt,
    Other,
}

impl Language {
    /// All that can be told apart, in the order of their codes.
    pub const KNOWN: [Self; 7] = [Self::De, Self::En, Self::Es, Self::Fr, Self::It, Self::Nl, Self::Pt];

    /// ISO 639-1, or `und`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::De => "de",
            Self::En => "en",
            Self::Es => "es",
            Self::Fr => "fr",
            Self::It => "it",
            Self::Nl => "nl",
            Self::Pt => "pt",
            Self::Other => "und",
        }
    }

    /// `Other` for any code that is not known.
    #[must_use]
    pub fn of_code(code: &str) -> Self {
        Self::KNOWN.into_iter().find(|l| l.code() == code).unwrap_or(Self::Other)
    }

    /// The language of a text; `Other` where it cannot be told.
    #[must_use]
    pub fn detect(text: &str) -> Self {
        let mut hits = [0usize; Self::KNOWN.len()];
        for word in words(text).iter().filter(|w| w.kind == Kind::Word) {
            let Some(set) = STOP.get(word.main()) else { continue };
            for (i, hit) in hits.iter_mut().enumerate() {
                *hit += usize::from(set & (1 << i) != 0);
            }
        }
        let most = hits.iter().copied().max().unwrap_or(0);
        let mut leaders = Self::KNOWN.iter().zip(hits).filter(|(_, n)| *n == most);
        match (most, leaders.next(), leaders.next()) {
            (1.., Some((language, _)), None) => *language,
            _ => Self::Other,
        }
    }

    fn bit(self) -> u8 {
        Self::KNOWN.iter().position(|l| *l == self).map_or(0, |i| 1 << i)
    }

    /// Whether the folded word says nothing in this language.
    pub(super) fn is_stop(self, folded: &str) -> bool {
        STOP.get(folded).is_some_and(|set| set & self.bit() != 0)
    }

    /// Whether the folded word is in every shop's mouth (order, product, day).
    pub(super) fn is_weak(self, folded: &str) -> bool {
        WEAK.get(folded).is_some_and(|set| set & self.bit() != 0)
    }

    /// Folded words that mean the same as this one to a shop.
    pub(super) fn same(self, folded: &str) -> Vec<&'static str> {
        let groups = SAME.get(&self).map(Vec::as_slice).unwrap_or_default();
        let mut out: Vec<&'static str> = Vec::new();
        for group in groups.iter().filter(|g| g.iter().any(|w| w == folded)) {
            out.extend(group.iter().map(String::as_str).filter(|w| *w != folded));
        }
        out.dedup();
        out
    }

    /// The word's stem, folded. `lower` is lower case with its accents: stemmers know them.
    pub(super) fn stem(self, lower: &str) -> String {
        let algorithm = match self {
            Self::De => Algorithm::German,
            Self::En => Algorithm::English,
            Self::Es => Algorithm::Spanish,
            Self::Fr => Algorithm::French,
            Self::It => Algorithm::Italian,
            Self::Nl => Algorithm::Dutch,
            Self::Pt => Algorithm::Portuguese,
            Self::Other => return fold(lower),
        };
        let stem = fold(&Stemmer::create(algorithm).stem(lower));
        if self == Self::De { without_umlaut_spelling(&stem) } else { stem }
    }

    /// Languages that write compounds as one word (`Versandkosten`).
    pub(super) fn compounds(self) -> bool {
        matches!(self, Self::De | Self::Nl)
    }
}

type Sets = HashMap<String, u8>;

static STOP: LazyLock<Sets> = LazyLock::new(|| {
    sets(&[
        (Language::De, include_str!("../words/de.stop")),
        (Language::En, include_str!("../words/en.stop")),
        (Language::Es, include_str!("../words/es.stop")),
        (Language::Fr, include_str!("../words/fr.stop")),
        (Language::It, include_str!("../words/it.stop")),
        (Language::Nl, include_str!("../words/nl.stop")),
        (Language::Pt, include_str!("../words/pt.stop")),
    ])
});

static WEAK: LazyLock<Sets> = LazyLock::new(|| {
    sets(&[
        (Language::De, include_str!("../words/de.weak")),
        (Language::En, include_str!("../words/en.weak")),
        (Language::Es, include_str!("../words/es.weak")),
        (Language::Fr, include_str!("../words/fr.weak")),
        (Language::It, include_str!("../words/it.weak")),
        (Language::Nl, include_str!("../words/nl.weak")),
        (Language::Pt, include_str!("../words/pt.weak")),
    ])
});

/// Groups of folded words by language; one group a line in the lists.
static SAME: LazyLock<HashMap<Language, Vec<Vec<String>>>> = LazyLock::new(|| {
    let lists = [
        (Language::De, include_str!("../words/de.same")),
        (Language::En, include_str!("../words/en.same")),
        (Language::Es, include_str!("../words/es.same")),
        (Language::Fr, include_str!("../words/fr.same")),
        (Language::It, include_str!("../words/it.same")),
        (Language::Nl, include_str!("../words/nl.same")),
        (Language::Pt, include_str!("../words/pt.same")),
    ];
    let groups = |list: &str| list.lines().map(|line| line.split_whitespace().map(key).collect()).collect();
    lists.into_iter().map(|(language, list)| (language, groups(list))).collect()
});

fn sets(lists: &[(Language, &str)]) -> Sets {
    let mut out = Sets::new();
    for (language, list) in lists {
        for word in list.split_whitespace() {
            *out.entry(key(word)).or_default() |= language.bit();
        }
    }
    out
}

/// A list's word as the reader of words spells it (folded, hyphens and apostrophes out).
fn key(word: &str) -> String {
    words(word).into_iter().find(|w| w.kind == Kind::Word).map_or_else(|| fold(word), |w| w.main().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_are_told_apart() {
        for (text, language) in [
            ("You can return any lamp within 30 days.", Language::En),
            ("Sie können jede Lampe innerhalb von 30 Tagen zurückgeben.", Language::De),
            ("Vous pouvez retourner chaque lampe dans les 30 jours.", Language::Fr),
            ("Puede devolver cualquier lámpara en un plazo de 30 días.", Language::Es),
            ("È possibile restituire ogni lampada entro 30 giorni.", Language::It),
            ("U kunt elke lamp binnen 30 dagen terugsturen.", Language::Nl),
            ("Você pode devolver qualquer lâmpada em até 30 dias.", Language::Pt),
            ("Wie lange dauert der Versand?", Language::De),
            ("Quels sont les horaires?", Language::Fr),
            ("K-137 E27 60W", Language::Other),
        ] {
            assert_eq!(Language::detect(text), language, "{text}");
        }
    }

    #[test]
    fn every_code_leads_back_to_its_language() {
        for language in Language::KNOWN {
            assert_eq!(Language::of_code(language.code()), language);
        }
        assert_eq!(Language::of_code("und"), Language::Other);
    }

    #[test]
    fn stems_join_forms_and_spellings() {
        assert_eq!(Language::En.stem("returned"), Language::En.stem("returns"));
        assert_eq!(Language::De.stem("rückgaben"), Language::De.stem("rueckgabe"));
        assert_eq!(Language::Fr.stem("livraisons"), Language::Fr.stem("livraison"));
    }
}
