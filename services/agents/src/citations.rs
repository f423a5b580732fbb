//! Which of the found passages an answer rests on. Made here, from what was retrieved; the model can point
//! at a passage, never make one up.
//!
//! A passage is cited when the answer names its number (`[2]`) or quotes it word for word. Where several
//! passages hold the quoted words (pages that are nearly the same), the one that holds the longest run of
//! them is meant, and of equals the best ranked.

use std::collections::{BTreeSet, HashMap};

use frontdesk_api::{memory::Passage, turn::Citation};

use crate::prompt::shown;

/// Shortest run of characters that counts as a quotation.
const QUOTE: usize = 20;

/// The citations of `answer`, by number. Numbers without a passage are dropped.
pub(crate) fn cite(answer: &str, passages: &[Passage]) -> Vec<Citation> {
    let mut cited = named(answer, passages.len());
    cited.extend(quoted(answer, passages));
    cited.into_iter().map(|number| citation(number, &passages[number - 1])).collect()
}

fn citation(number: usize, passage: &Passage) -> Citation {
    Citation {
        number,
        file_id: passage.file_id.clone(),
        container_id: None,
        filename: passage.filename.clone(),
        title: passage.title.clone(),
        url: passage.url.clone(),
        quote: passage.text.clone(),
    }
}

/// Numbers in square brackets, alone or in a list: `[1]`, `[1, 3]`.
fn named(answer: &str, passages: usize) -> BTreeSet<usize> {
    let mut numbers = BTreeSet::new();
    for piece in answer.split('[').skip(1) {
        let Some((inside, _)) = piece.split_once(']') else { continue };
        let listed: Option<Vec<usize>> = inside.split(',').map(|n| n.trim().parse().ok()).collect();
        numbers.extend(listed.unwrap_or_default().into_iter().filter(|n| (1..=passages).contains(n)));
    }
    numbers
}

fn quoted(answer: &str, passages: &[Passage]) -> BTreeSet<usize> {
    let answer: Vec<char> = shown(answer).chars().collect();
    let texts: Vec<Vec<char>> = passages.iter().map(|p| shown(&p.text).chars().collect()).collect();
    // Where each run of QUOTE characters begins, over all passages.
    let mut runs: HashMap<&[char], Vec<(usize, usize)>> = HashMap::new();
    for (p, text) in texts.iter().enumerate() {
        for (at, run) in text.windows(QUOTE).enumerate() {
            runs.entry(run).or_default().push((p, at));
        }
    }
    let mut cited = BTreeSet::new();
    let mut i = 0;
    while i + QUOTE <= answer.len() {
        let Some(places) = runs.get(&answer[i..i + QUOTE]) else {
            i += 1;
            continue;
        };
        let mut best = (0, 0);
        for &(p, at) in places {
            let same = answer[i..].iter().zip(&texts[p][at..]).take_while(|(a, b)| a == b).count();
            if same > best.0 {
                best = (same, p);
            }
        }
        cited.insert(best.1 + 1);
        i += best.0;
    }
    cited
}

#[cfg(test)]
mod tests {
    use frontdesk_api::attributes::Attributes;

    use super::*;

    fn passages(texts: &[&str]) -> Vec<Passage> {
        let make = |(i, text): (usize, &&str)| Passage {
            store_id: "vs".into(),
            file_id: format!("file_{i}"),
            filename: format!("{i}.md"),
            title: "T".into(),
            url: None,
            attributes: Attributes::default(),
            chunk_id: "c".into(),
            text: (*text).into(),
            score: 1.0,
        };
        texts.iter().enumerate().map(make).collect()
    }

    fn numbers(answer: &str, texts: &[&str]) -> Vec<usize> {
        cite(answer, &passages(texts)).iter().map(|c| c.number).collect()
    }

    #[test]
    fn a_number_the_answer_names_is_cited_and_one_without_a_passage_is_not() {
        let texts = ["alpha", "beta", "gamma"];
        assert_eq!(numbers("So it is [2]. See [1, 3] and [9], [0], [x], [", &texts), [1, 2, 3]);
        assert_eq!(numbers("Nothing to see.", &texts), [0usize; 0]);
    }

    #[test]
    fn a_verbatim_quotation_is_cited_across_line_breaks_and_quote_marks() {
        let texts = ["Goods may be returned\nwithin \"thirty\" days of delivery.", "We ship on weekdays only."];
        assert_eq!(
            numbers(
                "Of course: goods may be returned? Goods may be returned within 'thirty' days of delivery.",
                &texts
            ),
            [1]
        );
        assert_eq!(numbers("returned within a day", &texts), [0usize; 0], "shorter than a quotation");
    }

    #[test]
    fn of_pages_nearly_the_same_the_one_that_is_quoted_further_is_cited() {
        let texts = [
            "The warranty of model A-100 lasts 12 months from the day of purchase.",
            "The warranty of model A-200 lasts 24 months from the day of purchase.",
        ];
        assert_eq!(numbers("The warranty of model A-200 lasts 24 months from the day of purchase.", &texts), [2]);
        assert_eq!(numbers("You asked: lasts 12 months from the day of purchase.", &texts), [1]);
    }

    #[test]
    fn a_citation_carries_where_the_words_stand() {
        let cited = cite("[1]", &passages(&["alpha"]));
        assert_eq!(
            (cited[0].file_id.as_str(), cited[0].filename.as_str(), cited[0].quote.as_str()),
            ("file_0", "0.md", "alpha")
        );
    }
}
