//! E-mail addresses.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

/// The everyday form of RFC 5321 addresses; quoted local parts are not something customers write.
static ADDRESS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"[\p{L}\p{N}][\p{L}\p{N}._%+\-]*@(?:[\p{L}\p{N}][\p{L}\p{N}\-]*\.)+\p{L}{2,24}").ok());

pub(crate) fn find(text: &str) -> Vec<Range<usize>> {
    ADDRESS.iter().flat_map(|r| r.find_iter(text)).map(|m| m.range()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_compiles() {
        assert!(ADDRESS.is_some());
    }

    #[test]
    fn addresses_are_found_without_the_marks_around_them() {
        let text = "Write to <hello.me+shop@lamp-lane.example>, or jörg@müller.example.";
        assert_eq!(
            find(text).into_iter().map(|r| &text[r]).collect::<Vec<_>>(),
            ["hello.me+shop@lamp-lane.example", "jörg@müller.example"]
        );
        assert!(find("me @ home, a@b, @handle, 3@4.5").is_empty());
    }
}
