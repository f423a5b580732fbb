//! A message while it is being written: what of it was shown, and when more of it is due.

use frontdesk_api::{safety::Hold, turn::Item};
use tokio::time::Instant;

use crate::{Pace, dictation::Dictation};

#[derive(Debug)]
pub(crate) struct Speech {
    pub(crate) hold: Option<Hold>,
    /// Exists from the first piece shown.
    pub(crate) item: Option<Item>,
    /// Where it will stand, should it be begun after the calls of its answer.
    pub(crate) place: Option<Item>,
    /// What was shown so far.
    pub(crate) shown: String,
    /// The thoughts before it, where they are shown and not yet done.
    pub(crate) thoughts: Option<Box<Self>>,
    /// The thoughts once they were shown to their end; written with the whole answer.
    pub(crate) thought: Option<Item>,
    /// The calls behind it, where they are shown while they are written.
    pub(crate) calls: Option<Dictation>,
    /// Bytes of the text that were looked at.
    seen: usize,
    looked: Option<Instant>,
}

impl Speech {
    pub(crate) fn new(hold: Option<Hold>) -> Self {
        Self {
            hold,
            item: None,
            place: None,
            shown: String::new(),
            thoughts: None,
            thought: None,
            calls: None,
            seen: 0,
            looked: None,
        }
    }

    /// When more of `text` should be shown, seen from `now`; None while there is nothing to show. The first
    /// piece is due at once, later ones when enough time has passed or enough text has come together.
    pub(crate) fn due(&self, text: &str, pace: &Pace, now: Instant) -> Option<Instant> {
        // Line breaks before a tool call are no message.
        if text.len() == self.seen || text.trim().is_empty() {
            return None;
        }
        match self.hold {
            Some(Hold::Whole) => return None,
            Some(Hold::Window(n)) if text.chars().nth(n).is_none() => return None,
            _ => {}
        }
        match self.looked {
            Some(at) if text.len() - self.seen < pace.flush_bytes => Some(at + pace.flush),
            _ => Some(now),
        }
    }

    /// Notes that `text` was looked at.
    pub(crate) fn looked_at(&mut self, text: &str, now: Instant) {
        self.seen = text.len();
        self.looked = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn is_due(speech: &Speech, text: &str, now: Instant) -> Option<bool> {
        speech.due(text, &Pace::default(), now).map(|at| at <= now)
    }

    #[test]
    fn the_first_piece_is_due_at_once_and_later_ones_by_time_or_size() {
        let (mut speech, now) = (Speech::new(None), Instant::now());
        assert_eq!(is_due(&speech, "\n\n", now), None);
        assert_eq!(is_due(&speech, "\n\nH", now), Some(true));
        speech.looked_at("\n\nH", now);
        assert_eq!(is_due(&speech, "\n\nH", now), None);
        assert_eq!(is_due(&speech, "\n\nHe", now), Some(false));
        assert_eq!(is_due(&speech, &"x".repeat(2000), now), Some(true));
        assert_eq!(is_due(&speech, "\n\nHe", now + Duration::from_millis(60)), Some(true));
    }

    #[test]
    fn what_is_held_back_is_not_due() {
        let now = Instant::now();
        assert_eq!(is_due(&Speech::new(Some(Hold::Whole)), "all of it", now), None);
        let speech = Speech::new(Some(Hold::Window(3)));
        assert_eq!(is_due(&speech, "abc", now), None);
        assert_eq!(is_due(&speech, "abcd", now), Some(true));
    }
}
