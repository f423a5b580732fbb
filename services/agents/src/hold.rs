//! How much of a text that is still being written may be shown, when shields want to see some of it first.

use frontdesk_api::safety::Hold;

/// The piece of `checked` (the text so far, redactions applied) that may follow `shown`; empty while
/// nothing may. Once the text has `ended` and passed, all of it may.
///
/// A redaction that reaches into what was shown makes the text no continuation of it: then nothing more is
/// shown in pieces, and the finished message says how it reads.
pub(crate) fn release<'t>(checked: &'t str, shown: &str, hold: Option<Hold>, ended: bool) -> &'t str {
    let Some(rest) = checked.strip_prefix(shown) else { return "" };
    match hold {
        _ if ended => rest,
        None => rest,
        Some(Hold::Whole) => "",
        Some(Hold::Window(n)) => {
            let free = rest.chars().count().saturating_sub(n);
            let end = rest.char_indices().nth(free).map_or(rest.len(), |(at, _)| at);
            &rest[..end]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_keeps_its_characters_back_until_the_end() {
        let hold = Some(Hold::Window(3));
        assert_eq!(release("abcdé€", "", hold, false), "abc");
        assert_eq!(release("abcdé€", "abc", hold, false), "");
        assert_eq!(release("abcdé€f", "abc", hold, false), "d");
        assert_eq!(release("abcdé€f", "abcd", hold, true), "é€f");
        assert_eq!(release("ab", "", hold, false), "");
    }

    #[test]
    fn a_whole_hold_shows_nothing_before_the_end_and_no_hold_everything() {
        assert_eq!(release("abc", "", Some(Hold::Whole), false), "");
        assert_eq!(release("abc", "", Some(Hold::Whole), true), "abc");
        assert_eq!(release("abc", "a", None, false), "bc");
    }

    #[test]
    fn a_text_that_changed_behind_what_was_shown_stops_the_pieces() {
        assert_eq!(release("my [card]", "my 4111", None, true), "");
    }
}
