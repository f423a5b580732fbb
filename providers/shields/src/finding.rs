//! Something found in a text, and how finds become spans.

use std::ops::Range;

use frontdesk_api::safety::Span;

/// What kind of thing was found; its name is the category people see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Secret,
    CardNumber,
    Iban,
    Email,
}

impl What {
    pub(crate) fn category(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::CardNumber => "card_number",
            Self::Iban => "iban",
            Self::Email => "email",
        }
    }
}

/// Spans for `finds`, in order and apart: of finds that touch each other the wider range is taken, under
/// the name of the first.
pub(crate) fn spans(mut finds: Vec<(Range<usize>, What)>, replacement: impl Fn(What) -> String) -> Vec<Span> {
    finds.sort_by_key(|(range, _)| (range.start, range.end));
    let mut joined: Vec<(Range<usize>, What)> = Vec::new();
    for (range, what) in finds {
        match joined.last_mut() {
            Some((last, _)) if range.start < last.end => last.end = last.end.max(range.end),
            _ => joined.push((range, what)),
        }
    }
    let span = |(range, what): (Range<usize>, What)| Span {
        start: range.start,
        end: range.end,
        replacement: replacement(what),
        category: what.category().to_owned(),
    };
    joined.into_iter().map(span).collect()
}
