//! How one sequence became another: what stayed, what went, what came.
//!
//! Invariant: the pieces that stayed and went, put together, are the first sequence; those that stayed and came the second.

use frontdesk_api::replay::{Change, Piece};

/// The most cells of the table of a longest common subsequence, 4 bytes each. What differs in more is told as gone and
/// come whole: nobody reads such a difference word by word.
const MOST_CELLS: usize = 4_000_000;

/// Each entry of both, in an order that reads as both: with its index in `from` (what stayed, what went) or in `to`.
pub(super) fn align<T: PartialEq>(from: &[T], to: &[T]) -> Vec<(Change, usize)> {
    let front = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    let back = from[front..].iter().rev().zip(to[front..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (gone, come) = (&from[front..from.len() - back], &to[front..to.len() - back]);
    let mut all: Vec<(Change, usize)> = (0..front).map(|i| (Change::Same, i)).collect();
    all.extend(middle(gone, come).into_iter().map(|(change, i)| (change, front + i)));
    all.extend((from.len() - back..from.len()).map(|i| (Change::Same, i)));
    all
}

fn middle<T: PartialEq>(from: &[T], to: &[T]) -> Vec<(Change, usize)> {
    let (n, m) = (from.len(), to.len());
    let mut all = vec![];
    let (mut i, mut j) = (0, 0);
    if (n + 1).saturating_mul(m + 1) <= MOST_CELLS {
        // How much of the rests they share, for every pair of rests.
        let mut shared = vec![vec![0_u32; m + 1]; n + 1];
        for i in (0..n).rev() {
            for j in (0..m).rev() {
                shared[i][j] = match from[i] == to[j] {
                    true => shared[i + 1][j + 1] + 1,
                    false => shared[i + 1][j].max(shared[i][j + 1]),
                };
            }
        }
        while i < n && j < m {
            if from[i] == to[j] {
                all.push((Change::Same, i));
                (i, j) = (i + 1, j + 1);
            } else if shared[i + 1][j] >= shared[i][j + 1] {
                all.push((Change::Removed, i));
                i += 1;
            } else {
                all.push((Change::Added, j));
                j += 1;
            }
        }
    }
    all.extend((i..n).map(|i| (Change::Removed, i)));
    all.extend((j..m).map(|j| (Change::Added, j)));
    all
}

/// Word by word; neighbours that share their fate are one piece. Empty where the texts are the same.
pub(super) fn texts(from: &str, to: &str) -> Vec<Piece> {
    if from == to {
        return vec![];
    }
    let (from, to) = (words(from), words(to));
    let mut pieces: Vec<Piece> = vec![];
    for (change, i) in align(&from, &to) {
        let word = if change == Change::Added { to[i] } else { from[i] };
        match pieces.last_mut().filter(|last| last.change == change) {
            Some(last) => last.text.push_str(word),
            None => pieces.push(Piece { change, text: word.to_owned() }),
        }
    }
    pieces
}

/// Words and the spaces between them.
fn words(text: &str) -> Vec<&str> {
    let mut words = vec![];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let space = first.is_whitespace();
        let end = rest.find(|c: char| c.is_whitespace() != space).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        words.push(word);
        rest = after;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(pieces: &[Piece], without: Change) -> String {
        pieces.iter().filter(|piece| piece.change != without).map(|piece| piece.text.as_str()).collect()
    }

    #[test]
    fn both_texts_can_be_read_out_of_their_difference() {
        let texts_of =
            ["", "a", "a b", "b a", "  a\n b ", "Returns are free.", "Returns are free within 30 days.", "ü ß 東京 a"];
        for from in texts_of {
            for to in texts_of {
                let pieces = texts(from, to);
                if from == to {
                    assert_eq!(pieces, []);
                    continue;
                }
                assert_eq!((side(&pieces, Change::Added), side(&pieces, Change::Removed)), (from.into(), to.into()));
            }
        }
    }

    #[test]
    fn what_stayed_is_told_as_stayed() {
        let piece = |change, text: &str| Piece { change, text: text.into() };
        assert_eq!(
            texts("It is on its way.", "It is not on its way."),
            [piece(Change::Same, "It is "), piece(Change::Added, "not "), piece(Change::Same, "on its way.")]
        );
        assert_eq!(
            align(&[1, 2, 3], &[1, 3, 4]),
            [(Change::Same, 0), (Change::Removed, 1), (Change::Same, 2), (Change::Added, 2)]
        );
    }

    #[test]
    fn texts_too_long_to_compare_are_told_whole() {
        let (from, to) = ("a ".repeat(3_000) + "x", "b ".repeat(3_000) + "x");
        let pieces = texts(&from, &to);
        assert_eq!(pieces.len(), 3, "gone, come, and the end that they share");
        assert_eq!((side(&pieces, Change::Added), side(&pieces, Change::Removed)), (from, to));
    }
}
