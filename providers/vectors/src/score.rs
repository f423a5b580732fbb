//! Ranking: which passages answer a question, and whether any does.
//!
//! BM25 over the passages of one knowledge store, weighed by how much of the question a passage covers.
//! Pure arithmetic in a fixed order, so the result does not depend on the database. Invariant: a passage
//! comes back only if it covers most of what was asked; an empty answer can be trusted.

use std::collections::{BTreeMap, HashMap};

use crate::text::{Concept, Role};

/// BM25's saturation and length normalisation; passages are short and of similar length, so both are mild.
const K1: f64 = 0.9;
const B: f64 = 0.3;
/// A word in the heading says what the passage is about: as good as this many more in the text.
const TITLE: f64 = 1.5;
/// Share of the question's weight that a passage must cover.
const COVERAGE: f64 = 0.58;
/// A question of one telling word is answered by its heading, or by a word that few passages have:
/// at most this share of the store.
const RARE: f64 = 0.12;
/// Weights of the roles beside a normal word's.
const WEAK: f64 = 0.35;
const EXACT: f64 = 1.5;

/// Where a term stands in a passage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) title: u32,
    pub(crate) text: u32,
    /// Terms in the passage's text.
    pub(crate) length: u32,
}

/// A passage: the document's number in this search, and its place in the document.
pub(crate) type Place = (usize, i64);

/// What the index knows of the asked terms.
#[derive(Debug, Default)]
pub(crate) struct Postings {
    /// Passages in the searched part of the store.
    pub(crate) passages: u64,
    /// Terms in all their texts.
    pub(crate) length: u64,
    pub(crate) seen: HashMap<String, BTreeMap<Place, Seen>>,
}

impl Postings {
    /// Relevant passages with a score of 0 to 1, in order of place.
    pub(crate) fn rank(&self, sentence: &[Concept]) -> BTreeMap<Place, f64> {
        let mut out = BTreeMap::new();
        if self.passages == 0 || sentence.iter().all(|c| matches!(c.role, Role::Weak | Role::Number)) {
            return out;
        }
        let asked: Vec<Asked> = sentence.iter().map(|c| self.asked(c)).collect();
        let telling = asked.iter().filter(|a| matches!(a.role, Role::Normal | Role::Exact)).count();
        for place in asked.iter().flat_map(|a| a.seen.keys()).collect::<std::collections::BTreeSet<_>>() {
            if let Some(score) = self.score(&asked, telling, *place) {
                out.insert(*place, score);
            }
        }
        out
    }

    /// The passages that satisfy a concept, through its best term there, and the concept's weight.
    fn asked(&self, concept: &Concept) -> Asked {
        let mut seen: BTreeMap<Place, (f64, Seen)> = BTreeMap::new();
        for (term, counts) in &concept.terms {
            for (place, here) in self.seen.get(term).into_iter().flatten() {
                let best = seen.entry(*place).or_insert((*counts, *here));
                if *counts > best.0 || (*counts == best.0 && (here.title, here.text) > (best.1.title, best.1.text)) {
                    *best = (*counts, *here);
                }
            }
        }
        let passages = self.passages as f64;
        let idf = |found: f64| (1.0 + (passages - found + 0.5) / (found + 0.5)).ln();
        let share = idf(seen.len() as f64) / idf(0.0);
        let weight = (0.4 + 0.6 * share)
            * match concept.role {
                Role::Weak => WEAK,
                Role::Exact => EXACT,
                Role::Normal | Role::Number => 1.0,
            };
        Asked { role: concept.role, weight, seen }
    }

    fn score(&self, asked: &[Asked], telling: usize, place: Place) -> Option<f64> {
        let average = (self.length as f64 / self.passages as f64).max(1.0);
        let (mut total, mut covered, mut score) = (0.0, 0.0, 0.0);
        let mut specific = false;
        let mut matched = 0;
        for concept in asked {
            let found = concept.seen.get(&place);
            match (concept.role, found) {
                (Role::Exact, None) => return None,
                (Role::Number, None) => continue,
                _ => total += concept.weight,
            }
            let Some((counts, seen)) = found else { continue };
            covered += concept.weight * counts;
            let often = f64::from(seen.text) + TITLE * f64::from(seen.title.min(1));
            let norm = K1 * (1.0 - B + B * f64::from(seen.length) / average);
            score += concept.weight * counts * often / (often + norm);
            if matches!(concept.role, Role::Normal | Role::Exact) {
                matched += 1;
                specific |= seen.title > 0 || concept.seen.len() as f64 <= (RARE * self.passages as f64).max(1.0);
            }
        }
        let enough = covered >= COVERAGE * total && matched > 0 && (telling > 1 || specific);
        enough.then(|| (score / total).clamp(0.0, 1.0))
    }
}

/// A concept with what the index knows of it.
struct Asked {
    role: Role,
    weight: f64,
    seen: BTreeMap<Place, (f64, Seen)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concept(term: &str, role: Role) -> Concept {
        Concept { terms: vec![(term.into(), 1.0)], role }
    }

    /// Ten passages of ten words; `term → places in text`.
    fn postings(terms: &[(&str, &[i64])]) -> Postings {
        let seen = terms.iter().map(|(term, places)| {
            let here = places.iter().map(|p| ((0, *p), Seen { title: 0, text: 1, length: 10 })).collect();
            ((*term).to_owned(), here)
        });
        Postings { passages: 10, length: 100, seen: seen.collect() }
    }

    #[test]
    fn one_known_word_beside_unknown_ones_is_no_answer() {
        let known = postings(&[("card", &[3])]);
        let sell_gift_cards = ["sell", "gift", "card"].map(|t| concept(t, Role::Normal));
        assert!(known.rank(&sell_gift_cards).is_empty());
        assert_eq!(known.rank(&sell_gift_cards[2..]).len(), 1);
    }

    #[test]
    fn a_code_that_no_passage_has_finds_nothing() {
        let known = postings(&[("kettle", &[1, 2, 3]), ("stock", &[1, 2, 3]), ("k137", &[2])]);
        let ask =
            |code: &str| [concept("kettle", Role::Normal), concept("stock", Role::Normal), concept(code, Role::Exact)];
        assert_eq!(known.rank(&ask("k137")).keys().collect::<Vec<_>>(), [&(0, 2)]);
        assert!(known.rank(&ask("k999")).is_empty());
    }

    #[test]
    fn words_of_every_shop_find_nothing_alone() {
        let known = postings(&[("order", &[1])]);
        assert!(known.rank(&[concept("order", Role::Weak)]).is_empty());
    }

    #[test]
    fn a_lone_common_word_needs_a_heading() {
        let mut known = postings(&[("lamp", &[1, 2, 3, 4, 5])]);
        assert!(known.rank(&[concept("lamp", Role::Normal)]).is_empty());
        if let Some(places) = known.seen.get_mut("lamp") {
            places.insert((0, 5), Seen { title: 1, text: 1, length: 10 });
        }
        assert_eq!(known.rank(&[concept("lamp", Role::Normal)]).keys().collect::<Vec<_>>(), [&(0, 5)]);
    }

    proptest::proptest! {
        #[test]
        fn scores_stay_between_nothing_and_one(
            counts in proptest::collection::vec((0u32..9, 0u32..9, 1u32..90), 1..12),
            roles in proptest::collection::vec(0u8..4, 1..6),
        ) {
            let here: BTreeMap<Place, Seen> = counts.iter().enumerate()
                .map(|(i, (title, text, length))| ((i, 0), Seen { title: *title, text: *text, length: *length })).collect();
            let concepts: Vec<Concept> = roles.iter().enumerate().map(|(i, r)| {
                concept(&format!("t{}", i % 3), [Role::Normal, Role::Weak, Role::Exact, Role::Number][usize::from(*r)])
            }).collect();
            let seen = (0..3).map(|i| (format!("t{i}"), here.clone())).collect();
            let postings = Postings { passages: counts.len() as u64, length: 100, seen };
            for score in postings.rank(&concepts).values() {
                proptest::prop_assert!((0.0..=1.0).contains(score));
            }
        }
    }
}
