//! Markdown (CommonMark with tables, strikethrough, footnotes and front matter) to headings and blocks.
//!
//! Links keep their words, images their description, code its text; HTML inside is read as HTML.

use pulldown_cmark::{Event, MetadataBlockKind, Options, Parser, Tag, TagEnd};

use super::{Block, Outline, html, tidy::TooDeep};

pub(super) fn read(text: &str, outline: &mut Outline) -> Result<(), TooDeep> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS
        | Options::ENABLE_PLUSES_DELIMITED_METADATA_BLOCKS;
    let mut reader =
        Reader { outline, text: String::new(), items: 0, front_matter: false, table: Table::default(), html: None };
    for event in Parser::new_ext(text, options) {
        reader.event(event)?;
    }
    reader.flush();
    Ok(())
}

struct Reader<'a> {
    outline: &'a mut Outline,
    /// Text of the block being read.
    text: String,
    /// Depth of list items around it.
    items: usize,
    front_matter: bool,
    table: Table,
    html: Option<String>,
}

/// The table being read: a row becomes one statement that names its columns.
#[derive(Default)]
pub(super) struct Table {
    pub(super) head: Vec<String>,
    pub(super) row: Vec<String>,
}

impl Reader<'_> {
    fn event(&mut self, event: Event<'_>) -> Result<(), TooDeep> {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag)?,
            Event::Text(text) if self.front_matter => self.front_matter(&text),
            Event::Text(text) | Event::Code(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                self.text.push_str(&text)
            }
            Event::SoftBreak | Event::HardBreak => self.text.push(' '),
            Event::Html(text) => self.html.get_or_insert_default().push_str(&text),
            Event::Rule => self.flush(),
            Event::InlineHtml(tag) if tag.starts_with("<br") => self.text.push(' '),
            Event::InlineHtml(_) | Event::FootnoteReference(_) | Event::TaskListMarker(_) => {}
        }
        Ok(())
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::MetadataBlock(MetadataBlockKind::YamlStyle | MetadataBlockKind::PlusesStyle) => {
                self.front_matter = true
            }
            Tag::Item => {
                self.flush();
                self.items += 1;
            }
            Tag::Table(_) => {
                self.flush();
                self.table = Table::default();
            }
            Tag::Paragraph
            | Tag::Heading { .. }
            | Tag::CodeBlock(_)
            | Tag::BlockQuote(_)
            | Tag::List(_)
            | Tag::HtmlBlock => self.flush(),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) -> Result<(), TooDeep> {
        match tag {
            TagEnd::MetadataBlock(_) => self.front_matter = false,
            TagEnd::Heading(level) => {
                let text = std::mem::take(&mut self.text);
                self.outline.heading(level as u8, &text);
            }
            TagEnd::Item => {
                self.flush();
                self.items = self.items.saturating_sub(1);
            }
            TagEnd::TableCell => self.table.row.push(std::mem::take(&mut self.text)),
            TagEnd::TableHead => self.table.head = std::mem::take(&mut self.table.row),
            TagEnd::TableRow => {
                let row = std::mem::take(&mut self.table.row);
                self.outline.block(Block::Item(statement(&self.table.head, &row)));
            }
            TagEnd::HtmlBlock => {
                if let Some(source) = self.html.take() {
                    html::read_fragment(&source, self.outline)?;
                }
            }
            TagEnd::Paragraph | TagEnd::CodeBlock | TagEnd::BlockQuote(_) | TagEnd::FootnoteDefinition => self.flush(),
            _ => {}
        }
        Ok(())
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        self.outline.block(if self.items > 0 { Block::Item(text) } else { Block::Paragraph(text) });
    }

    /// Takes `title: …` (YAML) or `title = …` (TOML) out of the front matter; the rest is for machines.
    fn front_matter(&mut self, text: &str) {
        for line in text.lines() {
            let Some(rest) = line.strip_prefix("title") else { continue };
            let Some(value) = rest.trim_start().strip_prefix([':', '=']) else { continue };
            self.outline.title(value.trim().trim_matches(['"', '\'']));
        }
    }
}

/// A table row as words: `Belgium: Costs € 3.90; Time 2 days`. Without a head the cells stand side by side.
pub(super) fn statement(head: &[String], row: &[String]) -> String {
    let cells: Vec<&str> = row.iter().map(|c| c.trim()).collect();
    let Some((first, rest)) = cells.split_first() else { return String::new() };
    let facts: Vec<String> = rest
        .iter()
        .enumerate()
        .filter(|(_, cell)| !cell.is_empty())
        .map(|(i, cell)| match head.get(i + 1).map(|h| h.trim()).filter(|h| !h.is_empty()) {
            Some(name) => format!("{name} {cell}"),
            None => (*cell).to_owned(),
        })
        .collect();
    match (first.is_empty(), facts.is_empty()) {
        (false, false) => format!("{first}: {}", facts.join("; ")),
        (false, true) => (*first).to_owned(),
        (true, _) => facts.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use crate::document::{Block, Section, read};

    fn sections(text: &str) -> (String, Vec<Section>) {
        let document = read("page.md", None, text.as_bytes()).expect("reads");
        (document.title, document.sections)
    }

    #[test]
    fn headings_become_paths_and_the_first_one_the_title() {
        let (title, sections) =
            sections("# Returns\n\nThirty days.\n\n## Money\n\n### Cards\n\nFive days.\n\n## Exchanges\n\nNone.\n");
        assert_eq!(title, "Returns");
        let paths: Vec<String> = sections.iter().map(|s| s.path.join("/")).collect();
        assert_eq!(paths, ["", "Money/Cards", "Exchanges"]);
    }

    #[test]
    fn front_matter_names_the_page_and_is_not_text() {
        let (title, sections) =
            sections("---\ntitle: \"Our returns\"\nlayout: page\n---\n\n# Returns\n\nThirty days.\n");
        assert_eq!(title, "Our returns");
        assert_eq!(sections.len(), 1);
        assert_eq!(sections[0].blocks, [Block::Paragraph("Thirty days.".into())]);
    }

    #[test]
    fn markup_leaves_its_words_only() {
        let (_, sections) = sections(
            "A **bold** [link](https://x.example/y), `code`,<br>an ![old lamp](a.png) &amp; ~~more~~.\nNext line[^1].\n\n[^1]: A note.\n",
        );
        assert_eq!(sections[0].blocks[0].text(), "A bold link, code, an old lamp & more. Next line.");
        assert_eq!(sections[0].blocks[1].text(), "A note.");
    }

    #[test]
    fn a_table_row_names_its_columns() {
        let (_, sections) = sections(
            "| Country | Costs | Time |\n|---|---|---|\n| Belgium | € 3.90 | 2 days |\n| Malta | | 6 days |\n",
        );
        assert_eq!(
            sections[0].blocks,
            [Block::Item("Belgium: Costs € 3.90; Time 2 days".into()), Block::Item("Malta: Time 6 days".into())]
        );
    }

    #[test]
    fn nested_lists_give_one_item_each() {
        let (_, sections) = sections("Intro:\n\n- one\n  - two\n- three\n\n  more of three\n");
        let texts: Vec<&str> = sections[0].blocks.iter().map(Block::text).collect();
        assert_eq!(texts, ["Intro:", "one", "two", "three", "more of three"]);
        assert!(matches!(sections[0].blocks[2], Block::Item(_)));
    }

    #[test]
    fn html_inside_is_read_as_html() {
        let (_, sections) =
            sections("Before.\n\n<div><script>alert(1)</script><p>Inside &eacute;.</p></div>\n\nAfter.\n");
        let texts: Vec<&str> = sections[0].blocks.iter().map(Block::text).collect();
        assert_eq!(texts, ["Before.", "Inside é.", "After."]);
    }
}
