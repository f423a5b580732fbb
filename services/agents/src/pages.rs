//! Which pages of web searches an answer rests on: those whose address it gives. Made here from what the searches of the
//! turn brought; no model is asked to write its answer in any way.
//!
//! Invariant: nothing is guessed. A number may mean anything, and words that an answer and a page share may be the
//! question's; an address means one page.

use std::collections::HashSet;

use frontdesk_api::{
    tools::ToolDef,
    turn::{Citation, Item, ItemBody},
    web::{self, Page},
};

/// What the web searches of these items found.
pub(crate) fn found(items: &[Item], offered: &[ToolDef]) -> Vec<Page> {
    let is_search = |name: &str| offered.iter().any(|def| def.name == name && def.toolgroup == web::GROUP);
    let calls: HashSet<&str> = items
        .iter()
        .filter_map(|item| match &item.body {
            ItemBody::FunctionCall { call, .. } if is_search(&call.name) => Some(call.id.as_str()),
            _ => None,
        })
        .collect();
    let found = items.iter().filter_map(|item| match &item.body {
        ItemBody::FunctionCallOutput { call_id, output, is_error: false, .. } if calls.contains(call_id.as_str()) => {
            Some(web::pages(output))
        }
        _ => None,
    });
    found.flatten().collect()
}

/// The pages whose address stands in `answer`, each once.
pub(crate) fn cite_pages(answer: &str, pages: &[Page]) -> Vec<Citation> {
    let mut cited: Vec<Citation> = vec![];
    for page in pages {
        let known = cited.iter().any(|citation| citation.url.as_ref() == Some(&page.url));
        if !known && web::stands(answer, &page.url).is_some() {
            cited.push(Citation {
                number: cited.len() + 1,
                file_id: String::new(),
                container_id: None,
                filename: String::new(),
                title: page.title.clone(),
                url: Some(page.url.clone()),
                quote: page.url.clone(),
            });
        }
    }
    cited
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(n: usize, text: &str) -> Page {
        Page { title: format!("T{n}"), url: format!("https://a.example/{n}"), text: text.into() }
    }

    #[test]
    fn a_page_is_cited_once_where_its_address_stands_and_by_nothing_else() {
        let pages = [page(1, "Our lamps burn for ten thousand hours."), page(12, ""), page(1, "")];
        let cited = |answer: &str| cite_pages(answer, &pages).into_iter().filter_map(|c| c.url).collect::<Vec<_>>();
        assert_eq!(cited("See https://a.example/1."), ["https://a.example/1"]);
        assert_eq!(cited("[T](https://a.example/12)"), ["https://a.example/12"]);
        for answer in ["So it is [1].", "lamps burn for ten thousand hours", "https://a.example/1/x", "argv[1]"] {
            assert!(cited(answer).is_empty(), "{answer}");
        }
    }
}
