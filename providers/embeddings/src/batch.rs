//! Which texts are computed together: those of about the same length, so that little is padded.
//!
//! Invariant: every text is in exactly one batch, and no batch takes more memory than [`MOST_TOKENS`] allow, unless it
//! is a single text.

use std::ops::Range;

/// The most tokens of a batch, padding included. With the widest of usual models (1024 numbers a token, four times
/// that inside a layer) some 100 MiB.
const MOST_TOKENS: usize = 4_096;

/// Of short texts there is no use in more.
const MOST_TEXTS: usize = 256;

/// Texts by their lengths: their places in the order in which they are computed, and the batches of that order.
pub(crate) fn batches(lengths: &[usize]) -> (Vec<usize>, Vec<Range<usize>>) {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    // The longest first: what does not fit into memory shows at once.
    order.sort_by_key(|i| std::cmp::Reverse(lengths[*i]));
    let (mut out, mut from) = (vec![], 0);
    while from < order.len() {
        let longest = lengths[order[from]].max(1);
        let fit = (MOST_TOKENS / longest).clamp(1, MOST_TEXTS);
        let to = order.len().min(from + fit);
        out.push(from..to);
        from = to;
    }
    (order, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_in_one_batch_with_its_like() {
        let lengths: Vec<usize> = (0..1_000).map(|i| 2 + (i * 37) % 510).chain([9_000]).collect();
        let (order, batches) = batches(&lengths);
        let mut seen = order.clone();
        seen.sort_unstable();
        assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
        assert_eq!(batches.first(), Some(&(0..1)), "one that is too long for any company goes alone");
        assert!(batches.windows(2).all(|two| two[0].end == two[1].start) && batches.last().expect("some").end == 1_001);
        let (mut read, mut filled) = (0, 0);
        for batch in &batches[1..] {
            let inside: Vec<usize> = order[batch.clone()].iter().map(|i| lengths[*i]).collect();
            let longest = *inside.iter().max().expect("not empty");
            assert!(longest * inside.len() <= MOST_TOKENS && inside.len() <= MOST_TEXTS);
            (read, filled) = (read + inside.iter().sum::<usize>(), filled + longest * inside.len());
        }
        assert!(filled * 10 < read * 11, "little is padded: {read} of {filled}");
        assert_eq!(super::batches(&[]), (vec![], vec![]));
    }
}
