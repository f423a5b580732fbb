//! "Did you mean …": the nearest known word to a misspelt one.

/// The candidate nearest to `word`, if one is near enough to be what was meant.
///
/// Near enough: no more edits than a third of the word (at least one, two from four letters on).
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).max(if word.chars().count() >= 4 { 2 } else { 1 });
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_word() {
        let keys = ["id", "type", "config"];
        assert_eq!(nearest("tpye", keys), Some("type"));
        assert_eq!(nearest("Type", keys), Some("type"));
        assert_eq!(nearest("confg", keys), Some("config"));
    }

    #[test]
    fn a_stranger_finds_nothing() {
        assert_eq!(nearest("banana", ["id", "type", "config"]), None);
        assert_eq!(nearest("", ["type"]), None);
    }
}
