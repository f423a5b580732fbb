//! Reading a file: from bytes of some kind to the plain sections that people see on the page.
//!
//! It exists so that chunking and search never meet markup. Invariants: a document holds text only (no
//! tags, no scripts, no entities), every block is one line with single spaces, and a file that cannot be
//! read is a [`Reject`] that a shop owner understands, never a panic and never half a document.

mod encoding;
mod html;
mod kind;
mod markdown;
mod plain;
mod tags;
mod tidy;

pub use kind::Format;
use tidy::{DEEPEST, TooDeep};

/// Longest title or heading in characters; every passage under it repeats it.
const LONGEST_HEADING: usize = 300;

/// A page as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The page's own title, else its file name made readable.
    pub title: String,
    /// In reading order; sections without text are left out.
    pub sections: Vec<Section>,
}

impl Document {
    /// All of it as lines: the title, then each section under its innermost heading.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = vec![self.title.as_str()];
        for section in &self.sections {
            lines.extend(section.path.last().map(String::as_str));
            lines.extend(section.blocks.iter().map(Block::text));
        }
        lines.join("\n")
    }
}

/// Text under one heading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Section {
    /// Headings from the outermost in; the page's title is not repeated here.
    pub path: Vec<String>,
    pub blocks: Vec<Block>,
}

/// One line of text and how it stood on the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// A paragraph: sentences that belong together.
    Paragraph(String),
    /// A list entry or table row: a statement of its own that may stand beside its neighbours.
    Item(String),
}

impl Block {
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Paragraph(text) | Self::Item(text) => text,
        }
    }
}

/// Why a file cannot be read, in words for the person who added it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Reject {
    /// Stable: `unsupported_file`, `invalid_file`, `empty_file`, `file_too_large`, `server_error`.
    pub code: &'static str,
    pub message: String,
}

impl Reject {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Reads a file into text. `media_type` is what the uploader claimed, if anything.
///
/// # Errors
/// [`Reject`] when the format is not supported (naming the supported ones), the bytes are not text, HTML in
/// it has elements more than 512 inside one another (browsers go no deeper), or nothing is left to read.
pub fn read(filename: &str, media_type: Option<&str>, bytes: &[u8]) -> Result<Document, Reject> {
    let format = Format::of(filename, media_type)?;
    let text = encoding::decode(filename, bytes, format)?;
    let mut outline = Outline::default();
    let read = match format {
        Format::Markdown => markdown::read(&text, &mut outline),
        Format::Html => html::read(&text, &mut outline),
        Format::Plain => {
            plain::read(&text, &mut outline);
            Ok(())
        }
    };
    read.map_err(|TooDeep| {
        let message = format!(
            "'{filename}' has elements more than {DEEPEST} inside one another, the limit for a page: simplify its markup"
        );
        Reject::new("invalid_file", message)
    })?;
    let document = outline.finish(filename);
    if document.sections.is_empty() {
        return Err(Reject::new("empty_file", format!("'{filename}' holds no text to read")));
    }
    Ok(document)
}

/// What the readers write into: headings and blocks in reading order.
#[derive(Default)]
struct Outline {
    title: Option<String>,
    /// Open headings with their level, outermost first.
    open: Vec<(u8, String)>,
    sections: Vec<Section>,
    /// Level of the heading that became the title; its name is not repeated in paths.
    title_level: Option<u8>,
}

impl Outline {
    /// The page's title as the file states it (front matter, `<h1>`); the first one stands.
    fn title(&mut self, text: &str) {
        let text = short(one_line(text));
        if !text.is_empty() && self.title.is_none() {
            self.title = Some(text);
        }
    }

    fn heading(&mut self, level: u8, text: &str) {
        let text = short(one_line(text));
        if text.is_empty() {
            return;
        }
        let first = self.sections.is_empty() && self.open.is_empty() && self.title_level.is_none();
        while self.open.last().is_some_and(|(l, _)| *l >= level) {
            self.open.pop();
        }
        if level == 1 && first && self.title.as_ref().is_none_or(|t| *t == text) {
            self.title = Some(text);
            self.title_level = Some(level);
            return;
        }
        if self.title.as_ref() == Some(&text) {
            return;
        }
        self.open.push((level, text));
    }

    fn block(&mut self, block: Block) {
        let block = match block {
            Block::Paragraph(text) => Block::Paragraph(one_line(&text)),
            Block::Item(text) => Block::Item(one_line(&text)),
        };
        if block.text().is_empty() {
            return;
        }
        let path: Vec<String> = self.open.iter().map(|(_, text)| text.clone()).collect();
        match self.sections.last_mut() {
            Some(section) if section.path == path => section.blocks.push(block),
            _ => self.sections.push(Section { path, blocks: vec![block] }),
        }
    }

    fn finish(self, filename: &str) -> Document {
        Document { title: self.title.unwrap_or_else(|| readable(filename)), sections: self.sections }
    }
}

/// At most [`LONGEST_HEADING`] characters of it.
fn short(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST_HEADING) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// White space of any kind (and invisible marks) to single spaces.
fn one_line(text: &str) -> String {
    let visible: String =
        text.chars().filter(|c| !is_invisible(*c)).map(|c| if c.is_control() { ' ' } else { c }).collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Soft hyphen, zero-width space and marks of direction: nothing a reader sees, everything a search stumbles over.
/// Joiners (U+200C, U+200D) stay: words of some scripts need them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2060}' | '\u{feff}')
}

/// `opening-hours.md` → `Opening hours`.
fn readable(filename: &str) -> String {
    let name = filename.rsplit(['/', '\\']).next().unwrap_or(filename);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| if stem.is_empty() { name } else { stem });
    let spaced = one_line(&stem.replace(['-', '_'], " "));
    let mut chars = spaced.chars();
    chars.next().map_or_else(|| filename.to_owned(), |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_title_is_named_after_its_file() {
        let document = read("pages/opening_hours-2026.txt", None, b"We open at ten.").expect("plain text reads");
        assert_eq!(document.title, "Opening hours 2026");
    }

    #[test]
    fn an_unknown_kind_names_the_supported_ones() {
        let reject = read("logo.png", Some("image/png"), b"\x89PNG").expect_err("an image is no text");
        assert_eq!(reject.code, "unsupported_file");
        for word in ["logo.png", "image/png", ".md", ".html", ".txt"] {
            assert!(reject.message.contains(word), "{word} missing in: {}", reject.message);
        }
    }

    #[test]
    fn a_file_with_nothing_to_read_is_said_to_be_empty() {
        for (name, body) in
            [("a.md", "# Only a heading\n"), ("b.html", "<nav>Home</nav><script>x</script>"), ("c.txt", " \n\t ")]
        {
            let reject = read(name, None, body.as_bytes()).expect_err(name);
            assert_eq!(reject.code, "empty_file", "{name}");
        }
    }

    #[test]
    fn a_heading_that_is_a_whole_page_is_cut() {
        let body = format!("# {}\n\n## {}\n\nText.\n", "é".repeat(1_000), "b".repeat(300));
        let document = read("a.md", None, body.as_bytes()).expect("reads");
        assert_eq!(document.title, "é".repeat(300) + "…");
        assert_eq!(document.sections[0].path, ["b".repeat(300)]);
    }

    #[test]
    fn invisible_characters_do_not_split_words() {
        assert_eq!(one_line("Rück\u{ad}sen\u{200b}dung\u{a0}kos\u{ad}tenlos\r\n\u{7}ja"), "Rücksendung kostenlos ja");
    }
}
