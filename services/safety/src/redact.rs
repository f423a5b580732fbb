//! Putting replacements into a text.

use frontdesk_api::safety::Span;

/// The text with each span replaced. None when the spans are not in order, overlap, or do not lie on
/// character boundaries of `text`: then nothing about them can be trusted.
pub(crate) fn apply(text: &str, spans: &[Span]) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for span in spans {
        if span.start < from || span.end < span.start {
            return None;
        }
        out.push_str(text.get(from..span.start)?);
        text.get(span.start..span.end)?;
        out.push_str(&span.replacement);
        from = span.end;
    }
    out.push_str(text.get(from..)?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: usize, end: usize) -> Span {
        Span { start, end, replacement: "…".into(), category: "c".into() }
    }

    #[test]
    fn spans_are_replaced_in_place() {
        assert_eq!(apply("aßcd", &[span(0, 1), span(3, 4)]).as_deref(), Some("…ß…d"));
        assert_eq!(apply("abc", &[]).as_deref(), Some("abc"));
    }

    #[test]
    fn spans_that_cannot_be_trusted_are_refused() {
        for spans in [
            vec![span(2, 3)],
            vec![span(0, 9)],
            vec![span(3, 4), span(0, 1)],
            vec![span(0, 3), span(1, 4)],
            vec![span(3, 1)],
        ] {
            assert_eq!(apply("aßcd", &spans), None, "{spans:?}");
        }
    }
}
