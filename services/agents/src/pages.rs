//! Which pages of web searches an answer rests on: those whose address it gives, whose number it names where numbers
//! mean one thing, or that it quotes word for word. Made here from what the searches of the turn brought; no model is
//! asked to write its answer in any way.

use std::collections::HashSet;

use frontdesk_api::{
    tools::ToolDef,
    turn::{Citation, Item, ItemBody},
    web::{self, Page},
};

/// Shortest run of characters that counts as a quotation.
const QUOTE: usize = 20;

/// What the web searches of these items found, each by itself.
pub(crate) fn searches(items: &[Item], offered: &[ToolDef]) -> Vec<Vec<Page>> {
    let is_search = |name: &str| offered.iter().any(|def| def.name == name && def.toolgroup == web::GROUP);
    let calls: HashSet<&str> = items
        .iter()
        .filter_map(|item| match &item.body {
            ItemBody::FunctionCall { call } if is_search(&call.name) => Some(call.id.as_str()),
            _ => None,
        })
        .collect();
    let found = items.iter().filter_map(|item| match &item.body {
        ItemBody::FunctionCallOutput { call_id, output, is_error: false } if calls.contains(call_id.as_str()) => {
            Some(web::pages(output))
        }
        _ => None,
    });
    found.filter(|pages| !pages.is_empty()).collect()
}

/// The pages that `answer` rests on, each once. `numbered`: a number in brackets means a page and nothing else.
pub(crate) fn cite_pages(answer: &str, searches: &[Vec<Page>], numbered: bool) -> Vec<Citation> {
    let numbered = numbered && searches.len() == 1;
    let mut cited: Vec<Citation> = vec![];
    for (n, page) in searches.iter().flat_map(|pages| (1..).zip(pages)) {
        if cited.iter().any(|citation| citation.url.as_ref() == Some(&page.url)) {
            continue;
        }
        let mark = format!("[{n}]");
        let named = || (numbered && answer.contains(&mark)).then_some(mark.as_str());
        if let Some(words) = address(answer, &page.url).or_else(named).or_else(|| quoted(answer, &page.text)) {
            cited.push(Citation {
                number: n,
                file_id: String::new(),
                filename: String::new(),
                title: page.title.clone(),
                url: Some(page.url.clone()),
                quote: words.to_owned(),
            });
        }
    }
    cited
}

/// The address, where it stands in the answer and does not go on to another one.
fn address<'u>(answer: &str, url: &'u str) -> Option<&'u str> {
    let goes_on = |rest: &str| {
        let mut rest = rest.chars();
        match rest.next() {
            Some(c) if c.is_alphanumeric() || "/_-%=&#+~@".contains(c) => true,
            // The end of a sentence, or of a link.
            Some('.' | '?' | ':') => rest.next().is_some_and(|c| !c.is_whitespace() && !")]>\"'*".contains(c)),
            _ => false,
        }
    };
    answer.match_indices(url).any(|(at, _)| !goes_on(&answer[at + url.len()..])).then_some(url)
}

/// The first words of the answer that stand in the text too, enough of them for a quotation, as far as they do.
fn quoted<'a>(answer: &'a str, text: &str) -> Option<&'a str> {
    let runs: HashSet<&str> = places(text).windows(QUOTE + 1).map(|ends| &text[ends[0]..ends[QUOTE]]).collect();
    let ends = places(answer);
    let (i, from, mut to) = ends.windows(QUOTE + 1).enumerate().find_map(|(i, run)| {
        let (from, to) = (run[0], run[QUOTE]);
        runs.contains(&answer[from..to]).then_some((i, from, to))
    })?;
    for end in &ends[i + QUOTE..] {
        if !text.contains(&answer[from..*end]) {
            break;
        }
        to = *end;
    }
    Some(&answer[from..to])
}

/// Where characters begin, and the end.
fn places(text: &str) -> Vec<usize> {
    text.char_indices().map(|(at, _)| at).chain([text.len()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(n: usize, text: &str) -> Page {
        Page { title: format!("T{n}"), url: format!("https://a.example/{n}"), text: text.into() }
    }

    fn cited(answer: &str, searches: &[Vec<Page>], numbered: bool) -> Vec<(String, String)> {
        let cited = cite_pages(answer, searches, numbered);
        cited.into_iter().map(|c| (c.url.unwrap_or_default(), c.quote)).collect()
    }

    fn want(cited: &[(&str, &str)]) -> Vec<(String, String)> {
        cited.iter().map(|(url, words)| ((*url).to_owned(), (*words).to_owned())).collect()
    }

    #[test]
    fn an_address_in_the_answer_is_cited_and_a_longer_one_is_another() {
        let one = [vec![page(1, ""), page(12, "")]];
        let url = "https://a.example/1";
        for answer in [
            "See https://a.example/1.",
            "([T](https://a.example/1))",
            "https://a.example/1?",
            "**https://a.example/1**",
        ] {
            assert_eq!(cited(answer, &one, true), want(&[(url, url)]), "{answer}");
        }
        for answer in
            ["https://a.example/1/x", "https://a.example/1.html", "https://a.example/1?x=1", "https://a.example/"]
        {
            assert!(cited(answer, &one, true).is_empty(), "{answer}");
        }
        assert_eq!(
            cited("https://a.example/12", &one, true),
            want(&[("https://a.example/12", "https://a.example/12")])
        );
    }

    #[test]
    fn a_number_counts_where_it_can_mean_one_page_alone() {
        let one = [vec![page(1, ""), page(2, "")]];
        assert_eq!(cited("So it is [2].", &one, true), want(&[("https://a.example/2", "[2]")]));
        assert!(cited("So it is [2].", &one, false).is_empty());
        assert!(cited("So it is [2].", &[vec![page(1, "")], vec![page(3, ""), page(4, "")]], true).is_empty());
        assert!(cited("So it is [3].", &one, true).is_empty());
    }

    #[test]
    fn words_of_a_page_are_cited_as_far_as_they_are_the_same() {
        let one = [vec![page(1, "Our lamps burn for ten thousand hours at least."), page(2, "We sell lamps.")]];
        let answer = "They say: lamps burn for ten thousand hours, ünd more.";
        assert_eq!(cited(answer, &one, false), want(&[("https://a.example/1", " lamps burn for ten thousand hours")]));
        assert!(cited("lamps burn for long", &one, false).is_empty());
        // A page that two searches found is one.
        let two = [one[0].clone(), one[0].clone()];
        assert_eq!(cited(answer, &two, false).len(), 1);
    }
}
