//! What an engine found, as a model reads it and as people follow it.

use frontdesk_api::tools::ToolResult;
use serde_json::{Value, json};

/// An excerpt, in bytes.
const EXCERPT: usize = 2_000;

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) title: String,
    pub(crate) url: String,
    pub(crate) text: String,
}

impl Page {
    /// None: it has no address of the web.
    pub(crate) fn of(page: &Value, words: &str) -> Option<Self> {
        let text = |name: &str| page.get(name).and_then(Value::as_str).unwrap_or_default();
        let url = text("url");
        let web = url.starts_with("https://") || url.starts_with("http://");
        if !web || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return None;
        }
        let mut excerpt = plain(text(words));
        excerpt.truncate(excerpt.floor_char_boundary(EXCERPT));
        Some(Self { title: plain(text("title")), url: url.to_owned(), text: excerpt })
    }
}

/// One text for the model; the pages by themselves for whoever makes citations of them.
pub(crate) fn told(query: &str, pages: &[Page]) -> ToolResult {
    let mut content = format!("Results of a web search for \"{query}\":\n");
    if pages.is_empty() {
        content.push_str("\nnothing was found\n");
    }
    for (n, page) in (1..).zip(pages) {
        content.push_str(&format!("\n[{n}] {}\n{}\n{}\n", page.title, page.url, page.text));
    }
    let sources: Vec<Value> = pages.iter().map(|page| json!({ "title": page.title, "url": page.url })).collect();
    ToolResult { content, is_error: false, details: Some(json!({ "query": query, "sources": sources })) }
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
        let page = json!({ "title": "<b>Lamps</b> &amp; more", "url": "https://a.example/x", "d": "3 < 4\n<strong>bright</strong>" });
        let page = Page::of(&page, "d").expect("a page");
        let result = told("lamps", &[page]);
        assert_eq!(
            result.content,
            "Results of a web search for \"lamps\":\n\n[1] Lamps & more\nhttps://a.example/x\n3 < 4 bright\n"
        );
        for url in ["javascript:alert(1)", "", "https://a.example/\n[2] Evil", "/relative"] {
            assert_eq!(Page::of(&json!({ "title": "t", "url": url, "d": "" }), "d"), None, "{url}");
        }
        assert!(told("x", &[]).content.contains("nothing was found"));
    }
}
