//! A tenant's money in this process: a slice that was leased in the database, spent from memory.
//!
//! `left` is what was leased, less what calls under way have reserved, less what ended calls cost. Nobody waits for a
//! lease: while no limit is set there is nothing to refuse, so a call goes ahead and the next slice is asked for when
//! half of the last one is left. Invariant: every cost that is booked against a slice has passed through `left`.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::price::Nano;

/// The first slice: 10 cents.
pub(crate) const SMALLEST: Nano = 100_000_000;

/// No slice is larger: 100 dollars.
pub(crate) const LARGEST: Nano = 100_000_000_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Purse {
    pub(crate) tenant: String,
    left: AtomicI64,
    /// What the next lease brings.
    size: AtomicI64,
    /// A lease was asked for and has not come.
    asked: AtomicBool,
}

impl Purse {
    pub(crate) fn new(tenant: &str) -> Self {
        let (left, size, asked) = (AtomicI64::new(0), AtomicI64::new(SMALLEST), AtomicBool::new(false));
        Self { tenant: tenant.to_owned(), left, size, asked }
    }

    /// Takes `amount` out; true when it is now time to ask for a lease, which only one caller is told.
    pub(crate) fn take(&self, amount: Nano) -> bool {
        let left = self.left.fetch_sub(amount, Ordering::Relaxed).saturating_sub(amount);
        left < self.size.load(Ordering::Relaxed) / 2 && !self.asked.swap(true, Ordering::Relaxed)
    }

    /// Puts `amount` back, or takes more where it is negative.
    pub(crate) fn put(&self, amount: Nano) {
        self.left.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn left(&self) -> Nano {
        self.left.load(Ordering::Relaxed)
    }

    /// What to lease now: a slice, and whatever was spent beyond the last. `soon`: the last lease did not last.
    pub(crate) fn wanted(&self, soon: bool) -> Nano {
        let size = self.size.load(Ordering::Relaxed);
        let size = if soon { size.saturating_mul(2).min(LARGEST) } else { size };
        self.size.store(size, Ordering::Relaxed);
        size.saturating_add(self.left().min(0).saturating_neg())
    }

    /// The lease that was asked for is here.
    pub(crate) fn leased(&self, amount: Nano) {
        self.put(amount);
        self.asked.store(false, Ordering::Relaxed);
    }

    /// Empties it, if exactly `rest` is left: then no call is under way.
    pub(crate) fn empty(&self, rest: Nano) -> bool {
        self.left.compare_exchange(rest, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_asked_for_once_and_covers_what_was_overspent() {
        let purse = Purse::new("t");
        assert!(purse.take(30), "nothing was leased yet");
        assert!(!purse.take(40), "it was asked for");
        let wanted = purse.wanted(false);
        assert_eq!(wanted, SMALLEST + 70);
        purse.leased(wanted);
        assert_eq!(purse.left(), SMALLEST);
        assert!(!purse.take(SMALLEST / 2));
        assert!(purse.take(1), "half of it is gone");
        assert_eq!(purse.wanted(true), 2 * SMALLEST, "it did not last");
        assert!(!purse.empty(SMALLEST), "calls are under way");
        purse.put(SMALLEST / 2 + 1);
        assert!(purse.empty(SMALLEST));
        assert_eq!(purse.left(), 0);
    }

    #[test]
    fn slices_grow_to_an_end() {
        let purse = Purse::new("t");
        let last = (0..50).map(|_| purse.wanted(true)).last();
        assert_eq!(last, Some(LARGEST));
    }
}
