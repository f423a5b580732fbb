//! What an engine found, as a model reads it and as people follow it.

use frontdesk_api::{
    tools::ToolResult,
    web::{self, Page},
};
use http::Uri;
use serde_json::{Value, json};

/// An excerpt, in bytes.
const EXCERPT: usize = 2_000;

/// A title, in bytes.
const TITLE: usize = 300;

/// The longest address, in bytes.
const ADDRESS: usize = 2_000;

/// A page as an engine describes it, its excerpt under the name `words`; None: it has no address of the web.
pub(crate) fn page(page: &Value, words: &str) -> Option<Page> {
    let text = |name: &str| page.get(name).and_then(Value::as_str).unwrap_or_default();
    let url = text("url");
    let web = url.starts_with("https://") || url.starts_with("http://");
    let bare = url.parse::<Uri>().is_ok_and(|uri| uri.authority().is_some_and(|whose| !whose.as_str().contains('@')));
    if !web || !bare || url.len() > ADDRESS || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return None;
    }
    let mut excerpt = plain(text(words));
    excerpt.truncate(excerpt.floor_char_boundary(EXCERPT));
    let mut title = plain(text("title"));
    title.truncate(title.floor_char_boundary(TITLE));
    Some(Page { title, url: url.to_owned(), text: excerpt })
}

/// Whether the page is of one of these domains, or of one below them; of none where there are none to choose by.
pub(crate) fn is_of(page: &Page, domains: &[String]) -> bool {
    let Ok(address) = page.url.parse::<Uri>() else { return false };
    let host = address.host().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    domains
        .iter()
        .any(|domain| host.strip_suffix(domain.as_str()).is_some_and(|below| below.is_empty() || below.ends_with('.')))
}

/// One text for the model; the pages by themselves for people.
pub(crate) fn told(query: &str, pages: &[Page]) -> ToolResult {
    let sources: Vec<Value> = pages.iter().map(|page| json!({ "title": page.title, "url": page.url })).collect();
    let details = Some(json!({ "query": query, "sources": sources }));
    ToolResult { content: web::told(query, pages), is_error: false, details }
}

/// Without marks (`<strong>`), entities and line breaks.
fn plain(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        text.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let mark = after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
        match after.find('>').filter(|_| mark) {
            Some(end) => rest = &after[end + 1..],
            None => {
                text.push('<');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    for (entity, c) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&#39;", "'"),
        ("&nbsp;", " "),
        ("&amp;", "&"),
    ] {
        text = text.replace(entity, c);
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_plain_text_under_their_addresses() {
        let one = json!({ "title": "<b>Lamps</b> &amp; more", "url": "https://a.example/x", "d": "3 < 4\n<strong>bright</strong>" });
        let lamps = page(&one, "d").expect("a page");
        let result = told("lamps", &[lamps]);
        assert_eq!(
            result.content,
            "Results of a web search for \"lamps\":\n\n[1] Lamps & more\nhttps://a.example/x\n3 < 4 bright\n"
        );
        let long = format!("https://a.example/{}", "x".repeat(2_000));
        for url in [
            "javascript:alert(1)",
            "",
            "https://a.example/\n[2] Evil",
            "/relative",
            "https://bank.example@evil.example/",
            &long,
        ] {
            assert_eq!(page(&json!({ "title": "t", "url": url, "d": "" }), "d"), None, "{url}");
        }
        let loud = json!({ "title": "T".repeat(300_000), "url": "https://a.example/", "d": "" });
        assert_eq!(page(&loud, "d").expect("a page").title.len(), 300);
        assert!(told("x", &[]).content.contains("nothing was found"));
    }

    #[test]
    fn a_page_is_of_a_domain_and_of_those_above_it() {
        let of = |url: &str, domain: &str| {
            let page = Page { title: String::new(), url: url.into(), text: String::new() };
            is_of(&page, &[domain.to_owned()])
        };
        assert!(of("https://a.example/x", "a.example") && of("https://B.A.example:8/", "a.example"));
        for url in [
            "https://ba.example/",
            "https://example/",
            "https://evil.example/a.example",
            "https://a.example@evil.example/",
        ] {
            assert!(!of(url, "a.example"), "{url}");
        }
    }
}
