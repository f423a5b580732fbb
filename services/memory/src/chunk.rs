//! Cutting a document into passages that can be quoted.
//!
//! A passage is whole sentences of one paragraph under one heading, or neighbouring list entries with the
//! words that introduce them. Invariants: no passage is longer than the limit, none crosses a heading, a
//! sentence is broken only when it alone is longer than the limit, and nothing of the document is lost.

use std::sync::Arc;

use crate::{
    document::{Block, Document, Section},
    sentence::{break_long, sentences, words},
};

/// How passages are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunking {
    /// Longest passage in words; 60 unless told, so that a passage fits into an answer as a quote.
    pub max_words: usize,
}

impl Default for Chunking {
    fn default() -> Self {
        Self { max_words: 60 }
    }
}

/// A passage before it has an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Page title and headings: `Shipping › Express delivery`. Shared by the passages of a section.
    pub title: Arc<str>,
    pub text: String,
}

/// Cuts `document` into passages in reading order.
#[must_use]
pub fn cut(document: &Document, chunking: Chunking) -> Vec<Piece> {
    let limit = chunking.max_words.max(1);
    let mut pieces = Vec::new();
    for section in &document.sections {
        let title: Arc<str> = title(&document.title, &section.path).into();
        let texts = passages(section, limit);
        pieces.extend(texts.into_iter().map(|text| Piece { title: Arc::clone(&title), text }));
    }
    pieces
}

fn title(page: &str, path: &[String]) -> String {
    let mut parts = vec![page];
    parts.extend(path.iter().map(String::as_str).filter(|p| *p != page));
    parts.join(" › ")
}

fn passages(section: &Section, limit: usize) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut lead: Option<&str> = None;
    let mut items: Vec<&str> = Vec::new();
    for block in &section.blocks {
        match block {
            Block::Item(text) => items.push(text),
            Block::Paragraph(text) => {
                out.extend(list(lead.take(), &std::mem::take(&mut items), limit));
                if text.ends_with(':') && words(text) * 2 <= limit {
                    lead = Some(text);
                } else {
                    out.extend(paragraph(text, limit));
                }
            }
        }
    }
    out.extend(list(lead, &items, limit));
    out
}

/// Whole sentences, evenly spread over as few passages as the limit allows.
fn paragraph(text: &str, limit: usize) -> Vec<String> {
    let total = words(text);
    if total <= limit {
        return vec![text.to_owned()];
    }
    let parts: Vec<String> = sentences(text).into_iter().flat_map(|s| break_long(s, limit)).collect();
    let fair = total.div_ceil(total.div_ceil(limit));
    let mut out: Vec<String> = Vec::new();
    let mut held = 0;
    for part in parts {
        let n = words(&part);
        match out.last_mut() {
            Some(last) if held < fair && held + n <= limit => {
                last.push(' ');
                last.push_str(&part);
                held += n;
            }
            _ => {
                out.push(part);
                held = n;
            }
        }
    }
    out
}

/// Entries stand alone as long as they are sentences or rows of facts; short words are gathered behind their lead.
fn list(lead: Option<&str>, items: &[&str], limit: usize) -> Vec<String> {
    let lead_words = lead.map_or(0, words);
    let mut out: Vec<String> = Vec::new();
    let mut line = String::new();
    let begin = |line: &mut String| {
        line.clear();
        line.push_str(lead.unwrap_or_default());
    };
    begin(&mut line);
    let mut filled = false;
    for item in items {
        for part in break_long(item, limit - lead_words) {
            if filled && words(&line) + words(&part) > limit {
                out.push(ended(&line));
                begin(&mut line);
                filled = false;
            }
            if filled && !line.ends_with(['.', '!', '?', ';', '。']) {
                line.push(';');
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&part);
            filled = true;
        }
    }
    if !line.is_empty() {
        out.push(ended(&line));
    }
    out
}

/// A gathered list reads as a sentence.
fn ended(line: &str) -> String {
    if line.ends_with(['.', '!', '?', ':', ';', '。', '…']) { line.to_owned() } else { format!("{line}.") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::read;

    fn texts(markdown: &str, max_words: usize) -> Vec<String> {
        let document = read("p.md", None, markdown.as_bytes()).expect("reads");
        cut(&document, Chunking { max_words }).into_iter().map(|p| p.text).collect()
    }

    #[test]
    fn a_short_paragraph_stays_one_passage_under_its_headings() {
        let document =
            read("p.md", None, b"# Returns\n\nThirty days.\n\n## Money\n\nFive days. To your card.\n").expect("reads");
        let piece = |title: &str, text: &str| Piece { title: title.into(), text: text.into() };
        assert_eq!(
            cut(&document, Chunking::default()),
            [piece("Returns", "Thirty days."), piece("Returns › Money", "Five days. To your card.")]
        );
    }

    #[test]
    fn a_long_paragraph_is_cut_between_sentences_and_evenly() {
        let text = "One two three four. Five six seven. Eight nine ten eleven. Twelve thirteen.";
        assert_eq!(texts(text, 8), ["One two three four. Five six seven.", "Eight nine ten eleven. Twelve thirteen."]);
    }

    #[test]
    fn list_entries_keep_their_introduction() {
        assert_eq!(texts("We ship to:\n\n- Spain\n- Italy\n- Malta\n", 60), ["We ship to: Spain; Italy; Malta."]);
        assert_eq!(
            texts("We ship to:\n\n- Spain\n- Italy\n- Malta\n- Greece\n", 6),
            ["We ship to: Spain; Italy; Malta.", "We ship to: Greece."]
        );
    }

    proptest::proptest! {
        #[test]
        fn every_word_of_a_page_is_in_exactly_one_passage(words_in in proptest::collection::vec("[a-z]{1,8}[.,;]?", 1..200), limit in 1usize..70) {
            let text = words_in.join(" ");
            let out = texts(&text, limit);
            proptest::prop_assert!(out.iter().all(|p| words(p) <= limit));
            proptest::prop_assert_eq!(out.join(" "), text);
        }
    }
}
