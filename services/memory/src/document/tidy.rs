//! HTML made tame before it is parsed: balanced, of bounded depth, and only what the reader looks at.
//!
//! A browser's parser takes time that grows with the square of a page built for it: each tag looks through
//! all open elements, each new block opens every `<b>` again that was not closed, each attribute is compared
//! with those before it. So a page is first written anew in one pass: the tags that shape text, with the few
//! attributes that matter; scripts, comments and drawings gone; every element closed, inner before outer.
//! Tags of text style say nothing to the reader and go.
//!
//! Invariant: an end tag is written only for the innermost open element, so the parser holds no more open
//! elements than are counted here, and the two or three that it adds to a document, a table or a template.

use std::borrow::Cow;

use super::{
    html::is_block,
    tags::{Scanner, Tag, Token},
};

/// Most elements inside one another. Browsers stop there as well: Blink and WebKit put what is deeper beside
/// instead of inside (`maximumHTMLParserDOMTreeDepth`, 512). Pages that people write have less than 100.
pub(super) const DEEPEST: usize = 512;

/// The page has elements more than [`DEEPEST`] inside one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooDeep;

/// Elements whose content is no page text and holds no tags.
const SILENT: [&str; 7] = ["script", "style", "noscript", "iframe", "noembed", "noframes", "textarea"];

/// Elements that shape text or leave the page, besides [`is_block`].
const SHAPING: [&str; 25] = [
    "li", "dd", "tr", "td", "th", "tbody", "thead", "tfoot", "nav", "form", "button", "select", "template", "object",
    "canvas", "audio", "video", "dialog", "center", "menu", "dir", "hgroup", "search", "listing", "colgroup",
];

/// Beginning one of these ends a paragraph (HTML standard, 13.2.6.4.7 "in body": "close a p element").
const ENDS_PARAGRAPH: [&str; 41] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "center",
    "dd",
    "details",
    "dialog",
    "dir",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hgroup",
    "hr",
    "li",
    "listing",
    "main",
    "menu",
    "nav",
    "ol",
    "p",
    "pre",
    "search",
    "section",
    "summary",
    "table",
    "ul",
    "xmp",
    "plaintext",
];

/// What stands in a table only; elsewhere the parser passes over these tags.
const TABLE_PARTS: [&str; 8] = ["caption", "colgroup", "tbody", "thead", "tfoot", "tr", "td", "th"];

pub(super) const HEADINGS: [&str; 6] = ["h1", "h2", "h3", "h4", "h5", "h6"];

/// A tag does not reach through these to an element outside ("scope" in the standard).
const SCOPE: [&str; 7] = ["table", "td", "th", "caption", "template", "object", "button"];
const LISTS: [&str; 12] =
    ["ul", "ol", "menu", "dir", "dl", "table", "td", "th", "caption", "template", "object", "button"];

/// Writes a page or a piece of one anew.
pub(super) fn tidy(source: &str) -> Result<String, TooDeep> {
    let mut scanner = Scanner::new(source);
    let mut page = Page { out: String::with_capacity(source.len()), open: Vec::new() };
    while let Some(token) = scanner.next() {
        match token {
            Token::Text(text) => page.text(text),
            Token::End(name) => page.end(&name),
            Token::Start(tag) => match &*tag.name {
                name if SILENT.contains(&name) => {
                    scanner.raw(name);
                }
                "svg" | "math" if tag.closed => {}
                name @ ("svg" | "math") => scanner.drawing(name),
                "title" => {
                    page.out.push_str("<title>");
                    page.text(scanner.raw("title"));
                    page.out.push_str("</title>");
                }
                name @ ("xmp" | "plaintext") => {
                    page.make_way(name);
                    page.text(scanner.raw(name));
                }
                _ => page.start(tag)?,
            },
        }
    }
    Ok(page.out)
}

/// What has been written, and what of it is open.
struct Page<'s> {
    out: String,
    /// Outermost first.
    open: Vec<Open<'s>>,
}

struct Open<'s> {
    name: Cow<'s, str>,
    /// As [`shapes`] says.
    shapes: bool,
}

impl<'s> Page<'s> {
    fn text(&mut self, text: &str) {
        for (i, piece) in text.split('<').enumerate() {
            self.out.push_str(if i == 0 { "" } else { "&lt;" });
            self.out.push_str(piece);
        }
    }

    fn start(&mut self, tag: Tag<'s>) -> Result<(), TooDeep> {
        let name = &*tag.name;
        self.make_way(name);
        match name {
            "br" | "hr" | "img" | "image" => self.write(&tag),
            // The document's own; the parser makes them.
            "html" | "head" | "body" => {}
            _ if TABLE_PARTS.contains(&name) && self.inside(&["table", "template"]).is_none() => {}
            _ => {
                let shapes = shapes(name);
                if shapes || tag.kept.iter().any(|(key, _)| *key != "alt") || self.is_open(name) {
                    if self.open.len() == DEEPEST {
                        return Err(TooDeep);
                    }
                    self.write(&tag);
                    self.open.push(Open { name: tag.name, shapes });
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, tag: &Tag<'_>) {
        self.out.push('<');
        self.out.push_str(&tag.name);
        for (key, value) in &tag.kept {
            self.out.push(' ');
            self.out.push_str(key);
            self.out.push_str("=\"");
            self.out.push_str(&value.replace('"', "&quot;"));
            self.out.push('"');
        }
        self.out.push('>');
    }

    /// Closes what a beginning tag ends without saying so, as far as the standard leaves end tags out.
    fn make_way(&mut self, name: &str) {
        if ENDS_PARAGRAPH.contains(&name) {
            self.close(self.nearest(&["p"], &SCOPE));
        }
        let ended = match name {
            "li" => self.nearest(&["li"], &LISTS),
            "dd" | "dt" => self.nearest(&["dd", "dt"], &LISTS),
            "td" | "th" => self.inside(&["tr", "tbody", "thead", "tfoot", "table", "template"]),
            "tr" => self.inside(&["tbody", "thead", "tfoot", "table", "template"]),
            "tbody" | "thead" | "tfoot" | "colgroup" | "caption" => self.inside(&["table", "template"]),
            "button" => self.nearest(&["button"], &SCOPE),
            _ if HEADINGS.contains(&name) => {
                self.open.len().checked_sub(1).filter(|top| HEADINGS.contains(&&*self.open[*top].name))
            }
            _ => None,
        };
        self.close(ended);
    }

    fn end(&mut self, name: &str) {
        if name == "br" {
            // The standard reads it as a break.
            self.out.push_str("<br>");
        }
        let found = match name {
            "li" => self.nearest(&["li"], &LISTS),
            _ if name == "table" || TABLE_PARTS.contains(&name) => self.nearest(&[name], &["table", "template"]),
            "template" => self.nearest(&["template"], &[]),
            _ if HEADINGS.contains(&name) => self.nearest(&HEADINGS, &SCOPE),
            _ if shapes(name) => self.nearest(&[name], &SCOPE),
            // One of text style ends inside the block that it began in.
            _ => self.open.iter().rposition(|o| o.shapes || o.name == name).filter(|i| self.open[*i].name == name),
        };
        self.close(found);
    }

    /// Ends the open elements from this one in.
    fn close(&mut self, from: Option<usize>) {
        for open in self.open.drain(from.unwrap_or(self.open.len())..).rev() {
            self.out.push_str("</");
            self.out.push_str(&open.name);
            self.out.push('>');
        }
    }

    fn nearest(&self, names: &[&str], walls: &[&str]) -> Option<usize> {
        let stop = |o: &Open<'_>| names.contains(&&*o.name) || walls.contains(&&*o.name);
        self.open.iter().rposition(stop).filter(|i| names.contains(&&*self.open[*i].name))
    }

    /// The first element inside the nearest of these.
    fn inside(&self, names: &[&str]) -> Option<usize> {
        self.open.iter().rposition(|o| names.contains(&&*o.name)).map(|i| i + 1)
    }

    fn is_open(&self, name: &str) -> bool {
        self.open.iter().any(|o| o.name == name)
    }
}

fn shapes(name: &str) -> bool {
    is_block(name) || SHAPING.contains(&name)
}

#[cfg(test)]
mod tests {
    use ego_tree::NodeRef;
    use proptest::prelude::*;
    use scraper::{Html, Node};

    use super::*;

    fn tidied(source: &str) -> String {
        tidy(source).expect("not too deep")
    }

    #[test]
    fn what_shapes_no_text_goes() {
        assert_eq!(
            tidied(
                "<!DOCTYPE html><html lang=de><head><TITLE>A <b> &amp; B</TITLE><meta charset=utf-8></head><body class=x><P>a<b>b</b><br/>c<!-- <p> --></p></body></html>"
            ),
            "<title>A &lt;b> &amp; B</title><p>ab<br>c</p>"
        );
        assert_eq!(
            tidied("<div id=a hidden><img alt='a \"b\"' src=x hidden HIDDEN=2>"),
            "<div hidden=\"\"><img alt=\"a &quot;b&quot;\" hidden=\"\">"
        );
        assert_eq!(
            tidied("<span hidden>a<span>b</span>c</span><span>d</span>"),
            "<span hidden=\"\">a<span>b</span>c</span>d"
        );
    }

    #[test]
    fn end_tags_that_may_be_left_out_are_written() {
        assert_eq!(
            tidied("<p>a<p>b<ul><li>c<ul><li>d</ul><li>e</ul>f"),
            "<p>a</p><p>b</p><ul><li>c<ul><li>d</li></ul></li><li>e</li></ul>f"
        );
        assert_eq!(tidied("<dl><dt>a<dd>b<p>c<dt>d</dl>"), "<dl><dt>a</dt><dd>b<p>c</p></dd><dt>d</dt></dl>");
        assert_eq!(
            tidied(
                "<table><thead><tr><th>a<th>b<tbody><tr><td><ul><li>c<td>d<tr><td><table><tr><td>e</table>f</table>g"
            ),
            "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td><ul><li>c</li></ul></td><td>d</td></tr>\
             <tr><td><table><tr><td>e</td></tr></table>f</td></tr></tbody></table>g"
        );
        assert_eq!(tidied("<h1>a</h2>b<h2>c<h3>d</h3>"), "<h1>a</h1>b<h2>c</h2><h3>d</h3>");
    }

    #[test]
    fn an_end_tag_does_not_reach_out_of_a_cell() {
        assert_eq!(
            tidied("<td>a</td><div><table><tr><td>a</div>b</td></table>c</p></div>"),
            "a<div><table><tr><td>ab</td></tr></table>c</div>"
        );
    }

    #[test]
    fn scripts_comments_and_drawings_end_where_a_browser_ends_them() {
        for (source, text) in [
            ("a<!-->b<!--->c<!--x--!>d<!-- e", "abcd"),
            ("a<script>'</div>' <!-- <script> </script> --> </script >b", "ab"),
            ("a<script><!--</script>b", "ab"),
            ("a<style>p > b {}</STYLE\n>b<textarea><p></textarea>c", "abc"),
            ("a<svg viewBox='0 0 1 1'><path d='x'/><svg/><title>t</title><svg>u</svg></svg>b", "ab"),
            ("a<svg><foreignObject><div>x</div></foreignObject></svg>b", "ab"),
            ("a<svg><circle><p>b", "a<p>b"),
            ("a<![CDATA[b>c<?d>e</>f</ g>h<1 < i", "acefh&lt;1 &lt; i"),
            ("<div title='a > b' data-x=\"</div>\" =\"><p>c", "<div><p>c"),
            ("<div \"><p>a", "<div><p>a"),
            ("<p>ä<ö>é<", "<p>ä&lt;ö>é&lt;"),
            ("<p>a<div", "<p>a"),
            ("<xmp><b></xmp>a<plaintext><p></plaintext>", "&lt;b>a&lt;p>&lt;/plaintext>"),
        ] {
            assert_eq!(tidied(source), text, "{source}");
        }
    }

    /// Elements around the deepest node.
    fn depth(html: &Html) -> usize {
        let around = |node: NodeRef<'_, Node>| node.ancestors().filter(|a| a.value().is_element()).count();
        html.tree.nodes().map(around).max().unwrap_or(0)
    }

    #[test]
    fn depth_has_a_limit() {
        let nested = |n: usize| "<div>".repeat(n) + "x";
        assert!(tidy(&nested(DEEPEST)).is_ok());
        assert_eq!(tidy(&nested(DEEPEST + 1)), Err(TooDeep));
        // Hundreds of thousands of tags beside one another are no depth.
        for wide in [
            "<p>a",
            "<li>a",
            "<br>",
            "<b>a",
            "<font color=red>a<p>",
            "<tr><td>a",
            "<dt>a<dd>b",
            "<option>a",
            "<a name=x><h2>a</h2>",
        ] {
            assert!(tidy(&wide.repeat(10_000)).is_ok(), "{wide}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        /// Whatever tags come, and however often: the parser holds what was counted here, and a little for each table.
        #[test]
        fn the_parser_goes_no_deeper_than_was_counted(times in 1usize..40, tags in proptest::collection::vec(
            prop::sample::select(vec![
                "<div>", "</div>", "<p>", "</p>", "<span hidden>", "</span>", "<b hidden>", "</b>", "<a role=x>", "</a>",
                "<ul>", "</ul>", "<li>", "</li>", "<dl>", "<dd>", "<dt>", "</dd>", "<table>", "</table>", "<tr>", "</tr>",
                "<td>", "</td>", "<tbody>", "<caption>", "</caption>", "<colgroup>", "<form>", "</form>", "<button>",
                "</button>", "<select>", "</select>", "<object>", "</object>", "<template>", "</template>", "<svg>",
                "</svg>", "<title>", "</title>", "<h1>", "</h2>", "<html>", "<body>", "</body>", "</html>", "<frameset>",
                "<script>", "</script>", "<nobr hidden>", "<math>", "<mi>", "<input>", "<hr>", "x", " ", "<!--", "-->",
            ]), 0..16)) {
            let source = tags.concat().repeat(times);
            let Ok(page) = tidy(&source) else { return Ok(()) };
            let (mut open, mut most) = (Vec::new(), 0);
            for tag in page.split('<').skip(1) {
                let name = tag.split(['>', ' ']).next().unwrap_or_default();
                match name.strip_prefix('/') {
                    _ if ["br", "hr", "img", "title", "/title"].contains(&name) => {}
                    Some(name) => prop_assert_eq!(open.pop(), Some(name)),
                    None => open.push(name),
                }
                // tbody, tr and colgroup of a table, or of a template that stands for one.
                let tables = open.iter().filter(|n| ["table", "template"].contains(n)).count();
                most = most.max(open.len() + 3 * tables);
            }
            let html = Html::parse_document(&page);
            // html, body and title besides.
            prop_assert!(depth(&html) <= most + 3, "{} in {most}: {source}\n{page}", depth(&html));
            // Nothing is opened again and again.
            prop_assert!(html.tree.nodes().count() <= page.len() + 10);
            // Written anew it is the same.
            prop_assert_eq!(tidied(&page), page);
        }
    }
}
