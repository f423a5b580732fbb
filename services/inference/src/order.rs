//! In which order a route's targets are asked: by priority, and among equals by weight.
//!
//! Weighted rendezvous hashing: every target gets a number from the seed and itself, and the highest score leads. One
//! seed always gives one order, and a target that comes or goes moves only its own share (Thaler and Ravishankar, "Using
//! Name-Based Mappings to Increase Hit Rates"; the weighting is Schindelhauer and Schomaker's). A random seed deals by
//! weight.

use crate::time::{mix, part};

/// What counts about a target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rank {
    /// Lower ones are asked first.
    pub(crate) priority: u32,
    /// Share among equals; 0: after them.
    pub(crate) weight: u32,
    /// A number of the target's own.
    pub(crate) salt: u64,
}

/// The targets' indices in the order they are asked.
pub(crate) fn order(ranks: impl Iterator<Item = Rank>, seed: u64) -> Vec<usize> {
    let mut scored: Vec<(u32, f64, usize)> =
        ranks.enumerate().map(|(i, rank)| (rank.priority, score(rank, seed), i)).collect();
    scored.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
    scored.into_iter().map(|(_, _, i)| i).collect()
}

fn score(rank: Rank, seed: u64) -> f64 {
    let drawn = part(mix(seed ^ rank.salt));
    // The logarithm of 1 is 0: the luckiest draw there is.
    f64::from(rank.weight) / -drawn.ln().min(-f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(priority: u32, weight: u32, salt: u64) -> Rank {
        Rank { priority, weight, salt: mix(salt) }
    }

    fn firsts(ranks: &[Rank]) -> Vec<usize> {
        (0..10_000).map(|seed| order(ranks.iter().copied(), mix(seed))[0]).collect()
    }

    #[test]
    fn priority_comes_before_weight_and_weight_zero_comes_last() {
        let ranks = [rank(1, 100, 1), rank(0, 0, 2), rank(0, 1, 3)];
        for seed in 0..100 {
            assert_eq!(order(ranks.iter().copied(), mix(seed)), [2, 1, 0]);
        }
    }

    #[test]
    fn shares_follow_the_weights() {
        let firsts = firsts(&[rank(0, 1, 1), rank(0, 3, 2)]);
        let second = firsts.iter().filter(|first| **first == 1).count();
        assert!((7_300..=7_700).contains(&second), "{second} of 10000 should be near 7500");
    }

    #[test]
    fn a_target_that_goes_takes_only_its_own_share() {
        let all = [rank(0, 1, 1), rank(0, 1, 2), rank(0, 2, 3)];
        let (before, after) = (firsts(&all), firsts(&all[..2]));
        let moved = before.iter().zip(&after).filter(|(b, a)| **b != 2 && b != a).count();
        assert_eq!(moved, 0);
    }
}
