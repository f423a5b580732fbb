//! When it is, how to wait, and what chance says: parameters, so that tests fix them.
//!
//! Waiting and limits of time are measured by the machine's steady clock; what people see comes from `api::Clock`.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures::future::BoxFuture;

pub(crate) trait Time: Send + Sync {
    fn now(&self) -> Instant;

    /// Resolves once `span` has passed.
    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's.
pub(crate) struct Machine;

impl Time for Machine {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }
}

/// Numbers that look random: Steele, Lea and Flood's SplitMix64, one step a number. Not for secrets.
pub(crate) struct Dice(AtomicU64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Dice {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// Without entropy every process deals alike, which costs balance and nothing else.
    pub(crate) fn random() -> Self {
        Self::seeded(getrandom::u64().unwrap_or(STEP))
    }

    pub(crate) fn roll(&self) -> u64 {
        mix(self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP))
    }

    /// Full jitter: any time from zero to `bound` (Marc Brooker, "Exponential Backoff And Jitter").
    pub(crate) fn up_to(&self, bound: Duration) -> Duration {
        bound.mul_f64(part(self.roll()))
    }
}

/// SplitMix64's finish: every bit of the number moves every bit of the result.
pub(crate) fn mix(number: u64) -> u64 {
    let z = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// As a part of one: above 0, at most 1.
pub(crate) fn part(number: u64) -> f64 {
    // 53 bits are what an f64 holds exactly.
    ((number >> 11) + 1) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    // Oracle: the first outputs of Vigna's splitmix64.c for the seed 1234567.
    #[test]
    fn the_dice_are_splitmix64() {
        let dice = Dice::seeded(1_234_567);
        let rolls: Vec<u64> = (0..3).map(|_| dice.roll()).collect();
        assert_eq!(rolls, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn jitter_stays_under_its_bound() {
        let dice = Dice::seeded(1);
        let bound = Duration::from_millis(100);
        let waits: Vec<Duration> = (0..1000).map(|_| dice.up_to(bound)).collect();
        assert!(waits.iter().all(|wait| *wait <= bound));
        assert!(waits.iter().any(|wait| *wait < bound / 10) && waits.iter().any(|wait| *wait > bound * 9 / 10));
    }
}
