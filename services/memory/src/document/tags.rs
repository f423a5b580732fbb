//! HTML as tags and text, as a browser's tokenizer finds them (HTML standard, 13.2.5).
//!
//! It exists so that [`super::tidy`] sees what a browser would see: where a script, a comment or a drawing
//! ends, what is a quote and what is not. Invariant: one pass, in time that grows with the source alone.

use std::borrow::Cow;

use super::tidy::HEADINGS;

/// Attributes the reader looks at; `alt` is an image's.
const KEPT: [&str; 4] = ["alt", "hidden", "role", "aria-hidden"];

/// Where HTML stands again inside a drawing or a formula.
const HTML_WITHIN: [&str; 9] = ["foreignobject", "desc", "title", "annotation-xml", "mi", "mo", "mn", "ms", "mtext"];

/// A tag that begins an element.
pub(super) struct Tag<'s> {
    /// In lower case.
    pub(super) name: Cow<'s, str>,
    /// Attributes of [`KEPT`] with their values as they stand in the source, each once.
    pub(super) kept: Vec<(&'static str, &'s str)>,
    /// It ends with `/>`.
    pub(super) closed: bool,
}

/// What comes next on a page.
pub(super) enum Token<'s> {
    Text(&'s str),
    Start(Tag<'s>),
    End(Cow<'s, str>),
}

/// Reads a page; comments and the like are passed over.
pub(super) struct Scanner<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Scanner<'s> {
    pub(super) fn new(source: &'s str) -> Self {
        Self { source, at: 0 }
    }

    /// None at the end.
    pub(super) fn next(&mut self) -> Option<Token<'s>> {
        loop {
            let rest = &self.source[self.at..];
            let bytes = rest.as_bytes();
            match (bytes.first()?, bytes.get(1), bytes.get(2)) {
                (b'<', Some(c), _) if c.is_ascii_alphabetic() => return Some(Token::Start(self.tag(1)?)),
                (b'<', Some(b'/'), Some(c)) if c.is_ascii_alphabetic() => return Some(Token::End(self.tag(2)?.name)),
                (b'<', Some(b'!'), _) if rest.starts_with("<!--") => self.at = comment_end(self.source, self.at),
                // What is no tag after all ends with the next `>`.
                (b'<', Some(b'!' | b'?'), _) | (b'<', Some(b'/'), Some(_)) => {
                    self.at += rest.find('>').map_or(rest.len(), |end| end + 1);
                }
                _ => {
                    let end = bytes[1..].iter().position(|b| *b == b'<').map_or(rest.len(), |end| end + 1);
                    self.at += end;
                    return Some(Token::Text(&rest[..end]));
                }
            }
        }
    }

    /// The tag whose name begins `skip` bytes on. None where the source ends inside it: then it is none, and
    /// nothing follows.
    fn tag(&mut self, skip: usize) -> Option<Tag<'s>> {
        let (source, bytes) = (self.source, self.source.as_bytes());
        let mut i = self.at + skip;
        // Should the source end.
        self.at = bytes.len();
        let named = i;
        while !ends_name(*bytes.get(i)?) {
            i += 1;
        }
        let name = lower(&source[named..i]);
        let mut kept: Vec<(&'static str, &'s str)> = Vec::new();
        let mut closed = false;
        loop {
            let next = blanks(bytes, i);
            closed &= next == i;
            i = next;
            match bytes.get(i)? {
                b'>' => {
                    self.at = i + 1;
                    return Some(Tag { name, kept, closed });
                }
                b'/' => {
                    closed = true;
                    i += 1;
                    continue;
                }
                _ => closed = false,
            }
            let began = i;
            // Whatever stands first is part of the name, `=` and quotes too.
            i += 1;
            while !(ends_name(*bytes.get(i)?) || bytes[i] == b'=') {
                i += 1;
            }
            let key = &source[began..i];
            let after = blanks(bytes, i);
            let mut value = "";
            if *bytes.get(after)? == b'=' {
                i = blanks(bytes, after + 1);
                match *bytes.get(i)? {
                    quote @ (b'"' | b'\'') => {
                        let end = i + 1 + source[i + 1..].find(char::from(quote))?;
                        value = &source[i + 1..end];
                        i = end + 1;
                    }
                    b'>' => {}
                    _ => {
                        let end = i + source[i..].find(|c: char| is_blank(c) || c == '>')?;
                        value = &source[i..end];
                        i = end;
                    }
                }
            }
            let known = KEPT.iter().find(|k| k.eq_ignore_ascii_case(key));
            if let Some(known) = known.filter(|k| kept.iter().all(|(kept, _)| kept != *k)) {
                kept.push((known, value));
            }
        }
    }

    /// The text up to the end tag of `name`, and past that tag.
    pub(super) fn raw(&mut self, name: &str) -> &'s str {
        let from = self.at;
        let end = match name {
            "script" => script_end(self.source, from),
            // It has no end.
            "plaintext" => None,
            _ => {
                let mut ends = self.source[from..].match_indices("</").map(|(i, _)| from + i);
                ends.find(|i| is_tag(self.source.as_bytes(), i + 2, name))
            }
        };
        let end = end.unwrap_or(self.source.len());
        self.at = end;
        if end < self.source.len() {
            self.tag(2);
        }
        &self.source[from..end]
    }

    /// Past the end of a drawing or formula, or to the tag that HTML never has inside one.
    pub(super) fn drawing(&mut self, name: &str) {
        let (mut depth, mut within) = (1usize, 0usize);
        loop {
            let before = self.at;
            match self.next() {
                None => return,
                Some(Token::Text(_)) => {}
                Some(Token::Start(tag)) if tag.closed => {}
                Some(Token::Start(tag)) if tag.name == name => depth += 1,
                Some(Token::Start(tag)) if HTML_WITHIN.contains(&&*tag.name) => within += 1,
                Some(Token::Start(tag)) if within == 0 && breaks_out(&tag.name) => {
                    self.at = before;
                    return;
                }
                Some(Token::Start(_)) => {}
                Some(Token::End(end)) if end == name => {
                    depth -= 1;
                    if depth == 0 {
                        return;
                    }
                }
                Some(Token::End(end)) if HTML_WITHIN.contains(&&*end) => within = within.saturating_sub(1),
                Some(Token::End(_)) => {}
            }
        }
    }
}

/// Tags that end a drawing which was not closed (the standard's list, as far as they shape text here).
fn breaks_out(name: &str) -> bool {
    HEADINGS.contains(&name)
        || matches!(
            name,
            "blockquote"
                | "body"
                | "center"
                | "dd"
                | "div"
                | "dl"
                | "dt"
                | "li"
                | "menu"
                | "ol"
                | "p"
                | "pre"
                | "table"
                | "ul"
        )
}

/// Where a comment that begins at `at` is over; the end of the source where it is not closed.
fn comment_end(source: &str, at: usize) -> usize {
    let bytes = source.as_bytes();
    // `<!-->` and `<!--->` are whole comments.
    let mut i = at + 2;
    while let Some(dashes) = source[i..].find("--") {
        i += dashes;
        match (bytes.get(i + 2), bytes.get(i + 3)) {
            (Some(b'>'), _) => return i + 3,
            (Some(b'!'), Some(b'>')) if i >= at + 4 => return i + 4,
            _ => i += 1,
        }
    }
    source.len()
}

/// Where a script's end tag begins; none may stand in `<!-- <script> -->` (13.2.5.15 to 13.2.5.31).
fn script_end(source: &str, from: usize) -> Option<usize> {
    let bytes = source.as_bytes();
    let (mut comment, mut inner) = (false, false);
    let mut i = from;
    loop {
        i += source[i..].find(['<', '-'])?;
        let rest = &source[i..];
        if rest.starts_with("-->") {
            (comment, inner) = (false, false);
        } else if rest.starts_with("<!--") {
            comment = true;
            // Its dashes may be those of its end.
            i += 1;
        } else if comment && !inner && is_tag(bytes, i + 1, "script") {
            inner = true;
        } else if rest.starts_with("</") && is_tag(bytes, i + 2, "script") {
            if !inner {
                return Some(i);
            }
            inner = false;
        }
        i += 1;
    }
}

/// Whether the tag's name at `at` is this one.
fn is_tag(bytes: &[u8], at: usize, name: &str) -> bool {
    let end = at + name.len();
    bytes.get(at..end).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
        && bytes.get(end).is_some_and(|b| ends_name(*b))
}

fn ends_name(byte: u8) -> bool {
    is_blank(char::from(byte)) || byte == b'/' || byte == b'>'
}

/// White space as the standard has it.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}')
}

fn blanks(bytes: &[u8], from: usize) -> usize {
    bytes[from..].iter().position(|b| !is_blank(char::from(*b))).map_or(bytes.len(), |n| from + n)
}

fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|b| b.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name.into() }
}
