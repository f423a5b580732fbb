//! Stop strings in a stream: text is held back as long as it could be the beginning of one.
//!
//! The engine looks for stop strings too, but one token late and after the text went out; it ends the sequence, this
//! filter decides what is shown. Invariant: no character at or after the first stop string is ever released.

/// Holds back what could become a stop string.
#[derive(Debug, Default)]
pub(crate) struct StopFilter {
    stops: Vec<String>,
    held: String,
    hit: bool,
}

impl StopFilter {
    /// `stops` are not empty strings; no stops lets everything through at once.
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new(), hit: false }
    }

    /// Whether a stop string was seen; from then on nothing is released.
    pub(crate) fn hit(&self) -> bool {
        self.hit
    }

    /// Takes the next piece of text and returns what can be shown now.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        if self.hit {
            return String::new();
        }
        self.held.push_str(piece);
        let first = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(position) = first {
            self.hit = true;
            self.held.truncate(position);
            return std::mem::take(&mut self.held);
        }
        let keep = self.possible_beginning();
        let tail = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, tail)
    }

    /// The text is over: what was held back is text after all.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes at the end of the held text that are a beginning of a stop string.
    fn possible_beginning(&self) -> usize {
        let longest = |stop: &String| {
            (1..stop.len().min(self.held.len() + 1))
                .rev()
                .find(|&length| stop.is_char_boundary(length) && self.held.ends_with(&stop[..length]))
        };
        self.stops.iter().filter_map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, String, bool) {
        let mut filter = StopFilter::new(stops.iter().map(|&stop| stop.to_owned()).collect());
        let shown = pieces.iter().map(|piece| filter.push(piece)).collect();
        (shown, filter.finish(), filter.hit())
    }

    #[test]
    fn a_stop_string_over_three_pieces_is_never_shown() {
        let (shown, rest, hit) = run(&["END."], &["red E", "N", "D. green"]);
        assert_eq!((shown.concat().as_str(), rest.as_str(), hit), ("red ", "", true));
        assert_eq!(shown[0], "red ");
    }

    #[test]
    fn a_false_beginning_is_shown_later() {
        let (shown, rest, hit) = run(&["END"], &["an E", "N", "T"]);
        assert_eq!(shown, ["an ", "", "ENT"]);
        assert_eq!((rest.as_str(), hit), ("", false));
        let (shown, rest, _) = run(&["END"], &["EN"]);
        assert_eq!((shown.concat().as_str(), rest.as_str()), ("", "EN"));
    }

    #[test]
    fn the_earliest_of_several_wins_and_letters_stay_whole() {
        let (shown, _, hit) = run(&["blau", "grün"], &["rot gr", "ün blau"]);
        assert_eq!((shown.concat().as_str(), hit), ("rot ", true));
    }

    #[test]
    fn without_stop_strings_everything_passes_at_once() {
        let (shown, rest, hit) = run(&[], &["a", "b"]);
        assert_eq!((shown.concat().as_str(), rest.as_str(), hit), ("ab", "", false));
    }
}
