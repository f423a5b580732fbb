//! HTML as browsers parse it, less what is not the page's own text.
//!
//! Dropped: scripts, styles, forms, hidden parts, navigation, and the site's header, footer and asides.
//! The parser sees only what [`tidy`] wrote anew, so no page makes it slow; the walk is a loop over parse
//! events, so no nesting exhausts the stack.

use ego_tree::iter::Edge;
use scraper::{Html, Node, Selector, node::Element};

use super::{
    Block, Outline,
    markdown::statement,
    tidy::{TooDeep, tidy},
};

/// A whole page: the `<main>` part where there is one (else a single `<article>`, else the body).
pub(super) fn read(source: &str, outline: &mut Outline) -> Result<(), TooDeep> {
    let page = Html::parse_document(&tidy(source)?);
    let found = |css: &str| -> Vec<scraper::ElementRef<'_>> {
        Selector::parse(css).map(|s| page.select(&s).collect()).unwrap_or_default()
    };
    let words = |e: &scraper::ElementRef<'_>| e.text().collect::<String>();
    let main = found("main, [role=main]");
    let articles = found("article");
    let root = match (main.first(), articles.as_slice()) {
        (Some(main), _) => *main,
        (None, [article]) => *article,
        _ => page.root_element(),
    };
    let headings = found("h1");
    let inside = headings.iter().find(|h| h.ancestors().any(|a| a.id() == root.id()));
    if let Some(heading) = inside.or(headings.first()) {
        outline.title(&words(heading));
    } else if let Some(title) = found("title").first() {
        outline.title(&page_name(&words(title)));
    }
    // A header or footer inside the page's own part belongs to it; those of the site do not.
    let whole_site = root.id() == page.root_element().id();
    walk(root, whole_site, outline);
    Ok(())
}

/// A piece of HTML inside another document.
pub(super) fn read_fragment(source: &str, outline: &mut Outline) -> Result<(), TooDeep> {
    let fragment = Html::parse_fragment(&tidy(source)?);
    walk(fragment.root_element(), true, outline);
    Ok(())
}

fn walk(root: scraper::ElementRef<'_>, whole_site: bool, outline: &mut Outline) {
    let mut reader =
        Reader { outline, text: String::new(), items: 0, table_head: Vec::new(), row: None, head_cells: 0 };
    let mut dropped: Option<ego_tree::NodeId> = None;
    for edge in root.traverse() {
        match edge {
            Edge::Open(node) => {
                if dropped.is_some() {
                    continue;
                }
                match node.value() {
                    Node::Element(e) if drops(e, whole_site) => dropped = Some(node.id()),
                    Node::Element(e) => reader.open(e),
                    Node::Text(text) => reader.text.push_str(text),
                    _ => {}
                }
            }
            Edge::Close(node) => {
                if dropped == Some(node.id()) {
                    dropped = None;
                } else if dropped.is_none()
                    && let Node::Element(e) = node.value()
                {
                    reader.close(e.name());
                }
            }
        }
    }
    reader.flush();
}

fn drops(element: &Element, whole_site: bool) -> bool {
    let gone = matches!(
        element.name(),
        "script"
            | "style"
            | "noscript"
            | "template"
            | "head"
            | "nav"
            | "form"
            | "button"
            | "select"
            | "textarea"
            | "svg"
            | "math"
            | "iframe"
            | "object"
            | "canvas"
            | "audio"
            | "video"
            | "dialog"
    );
    let site = whole_site && matches!(element.name(), "header" | "footer" | "aside");
    let role =
        matches!(element.attr("role"), Some("navigation" | "banner" | "contentinfo" | "search" | "dialog" | "alert"));
    let hidden = element.attr("hidden").is_some() || element.attr("aria-hidden") == Some("true");
    gone || site || role || hidden
}

struct Reader<'a> {
    outline: &'a mut Outline,
    text: String,
    items: usize,
    table_head: Vec<String>,
    /// Cells of the table row being read.
    row: Option<Vec<String>>,
    /// `<th>` cells in that row.
    head_cells: usize,
}

impl Reader<'_> {
    fn open(&mut self, element: &Element) {
        match element.name() {
            "br" => self.text.push(' '),
            "img" => {
                self.text.push(' ');
                self.text.push_str(element.attr("alt").unwrap_or_default());
                self.text.push(' ');
            }
            "li" | "dd" => {
                self.flush();
                self.items += 1;
            }
            "table" => {
                self.flush();
                self.table_head.clear();
            }
            "tr" => {
                self.flush();
                self.row = Some(Vec::new());
                self.head_cells = 0;
            }
            "th" => self.head_cells += 1,
            name if is_block(name) => self.flush(),
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        match name {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                let level = name.as_bytes()[1] - b'0';
                let text = std::mem::take(&mut self.text);
                self.outline.heading(level, &text);
            }
            "li" | "dd" => {
                self.flush();
                self.items = self.items.saturating_sub(1);
            }
            "td" | "th" => {
                let cell = std::mem::take(&mut self.text);
                if let Some(row) = &mut self.row {
                    row.push(super::one_line(&cell));
                }
            }
            "tr" => self.end_row(),
            name if is_block(name) => self.flush(),
            _ => {}
        }
    }

    fn end_row(&mut self) {
        let Some(row) = self.row.take() else { return };
        let is_head = self.table_head.is_empty() && !row.is_empty() && self.head_cells == row.len();
        if is_head {
            self.table_head = row;
            return;
        }
        self.outline.block(Block::Item(statement(&self.table_head, &row)));
    }

    fn flush(&mut self) {
        // Inside a table cell, blocks are parts of the cell.
        if self.row.is_some() {
            self.text.push(' ');
            return;
        }
        let text = std::mem::take(&mut self.text);
        self.outline.block(if self.items > 0 { Block::Item(text) } else { Block::Paragraph(text) });
    }
}

/// Whether an element's text stands apart from what is around it.
pub(super) fn is_block(name: &str) -> bool {
    matches!(
        name,
        "p" | "div"
            | "section"
            | "article"
            | "main"
            | "header"
            | "footer"
            | "aside"
            | "ul"
            | "ol"
            | "dl"
            | "dt"
            | "pre"
            | "blockquote"
            | "figure"
            | "figcaption"
            | "table"
            | "caption"
            | "hr"
            | "address"
            | "details"
            | "summary"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "body"
            | "fieldset"
            | "legend"
    )
}

/// `Returns | Lamp Lane` → `Returns`: the page's name comes before the site's in a title.
fn page_name(title: &str) -> String {
    let title = super::one_line(title);
    [" | ", " – ", " — ", " · "]
        .iter()
        .filter_map(|mark| title.split(mark).next())
        .min_by_key(|t| t.len())
        .unwrap_or(&title)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use crate::document::{Block, Document, read};

    fn page(html: &str) -> Document {
        read("page.html", None, html.as_bytes()).expect("reads")
    }

    fn texts(document: &Document) -> Vec<&str> {
        document.sections.iter().flat_map(|s| s.blocks.iter().map(Block::text)).collect()
    }

    #[test]
    fn only_the_page_s_own_text_is_read() {
        let document = page(
            "<html><head><title>Shipping | Lamp Lane</title><style>p{}</style></head><body><header><h1>Lamp Lane</h1></header><nav>Home</nav>\
             <main><h1>Shipping</h1><p>We ship <b>fast</b>.<script>track()</script></p><p hidden>secret</p>\
             <div aria-hidden=true>icon</div><form>Search</form></main><footer>Jobs</footer></body></html>",
        );
        assert_eq!(document.title, "Shipping");
        assert_eq!(texts(&document), ["We ship fast."]);
    }

    #[test]
    fn a_page_without_main_loses_the_site_s_frame() {
        let document = page(
            "<title>Hours – Shop</title><body><header>Logo</header><div role=navigation>Menu</div><h2>Week</h2><p>Ten to six.</p><aside>Ad</aside>",
        );
        assert_eq!(document.title, "Hours");
        assert_eq!(document.sections[0].path, ["Week"]);
        assert_eq!(texts(&document), ["Ten to six."]);
    }

    #[test]
    fn a_header_inside_the_article_belongs_to_it() {
        let document = page(
            "<body><header>Site</header><article><header><h1>News</h1><p>By Ann.</p></header><p>Text.</p></article>",
        );
        assert_eq!(document.title, "News");
        assert_eq!(texts(&document), ["By Ann.", "Text."]);
    }

    #[test]
    fn table_rows_name_their_columns_and_lists_give_items() {
        let document = page(
            "<main><h1>T</h1><table><tr><th>Country<th>Costs</tr><tr><td><p>Spain</p><td>€&nbsp;4</tr></table><ul><li>one<ul><li>two</ul><li>three</ul></main>",
        );
        assert_eq!(texts(&document), ["Spain: Costs € 4", "one", "two", "three"]);
    }

    #[test]
    fn broken_and_hostile_markup_is_read_without_harm() {
        let deep = format!("<main>{}text<p>end{}", "<div><b>".repeat(500), "</div>".repeat(10));
        assert_eq!(texts(&page(&deep)), ["text", "end"]);
        assert_eq!(
            texts(&page("<p>a < b & c &lt;script&gt;x</p><p>unclosed <b>bold")),
            ["a < b & c <script>x", "unclosed bold"]
        );
    }

    #[test]
    fn a_page_nested_too_deeply_is_refused_with_its_name_and_the_limit() {
        // 4 MiB of it held a thread for minutes.
        let reject = read("deep.html", None, "<div>".repeat(800_000).as_bytes()).expect_err("too deep");
        assert_eq!(reject.code, "invalid_file");
        assert!(reject.message.contains("deep.html") && reject.message.contains("512"), "{reject}");
        let reject = read("deep.md", None, "<ul>".repeat(800_000).as_bytes()).expect_err("too deep");
        assert!(reject.message.contains("deep.md"), "{reject}");
    }

    #[test]
    fn pages_built_to_be_slow_are_read_all_the_same() {
        // Each paragraph would open every style before it again; each attribute would be compared with all others.
        let styles: String = (0..100_000).map(|i| format!("<p><b a{i}>x</p>")).collect();
        assert_eq!(texts(&page(&styles)).len(), 100_000);
        let attributes: String = (0..400_000).map(|i| format!(" a{i}")).collect();
        assert_eq!(texts(&page(&format!("<p{attributes}>one"))), ["one"]);
    }

    #[test]
    fn a_page_written_by_hand_is_read_whole() {
        let document = page(
            "<title>Prices</title><h1>Prices<h2>Lamps</h2><font color=red><p>One<br>two<p>three<ul><li>a<li>b <a href=x>c</ul>\
             <table><tr><th>Name<th>Price<tr><td>Desk<td><b>€ 4</table><script>if (a < b) { '</p>' }</script><!-- no --->end<svg><path/></svg>.",
        );
        assert_eq!(document.title, "Prices");
        assert_eq!(texts(&document), ["One two", "three", "a", "b c", "Desk: Price € 4", "end."]);
        assert!(document.sections.iter().all(|s| s.path == ["Lamps"]), "{document:?}");
    }
}
