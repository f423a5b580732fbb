//! Plain text: blank lines part paragraphs, lines that begin with a dash or dot are items.

use super::{Block, Outline};

pub(super) fn read(text: &str, outline: &mut Outline) {
    let mut paragraph = String::new();
    for line in text.lines() {
        let line = line.trim();
        let item = ["- ", "* ", "• ", "– "].iter().find_map(|mark| line.strip_prefix(mark));
        if line.is_empty() || item.is_some() {
            outline.block(Block::Paragraph(std::mem::take(&mut paragraph)));
        }
        match item {
            Some(item) => outline.block(Block::Item(item.to_owned())),
            None => {
                paragraph.push(' ');
                paragraph.push_str(line);
            }
        }
    }
    outline.block(Block::Paragraph(paragraph));
}

#[cfg(test)]
mod tests {
    use crate::document::{Block, read};

    #[test]
    fn blank_lines_part_paragraphs_and_dashes_make_items() {
        let document =
            read("a.txt", None, b"One line\nand its rest.\n\nWe ship to:\n- Spain\n- Italy\n").expect("reads");
        let paragraph = |t: &str| Block::Paragraph(t.into());
        let item = |t: &str| Block::Item(t.into());
        assert_eq!(
            document.sections[0].blocks,
            [paragraph("One line and its rest."), paragraph("We ship to:"), item("Spain"), item("Italy")]
        );
    }
}
