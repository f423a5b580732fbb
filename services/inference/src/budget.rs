//! How many attempts a route may make beyond one a request: so that retries never become the load that keeps an
//! upstream down.
//!
//! Retries and hedges draw on it; turning to the next target does not: that moves load, and does not add to it.

use std::time::Duration;

use tower::retry::budget::{Budget as _, TpsBudget};

use crate::policy::Retries;

/// How long a request counts.
const WINDOW: Duration = Duration::from_secs(10);

pub(crate) struct Budget(TpsBudget);

impl Budget {
    pub(crate) fn new(of: &Retries) -> Self {
        Self(TpsBudget::new(WINDOW, of.budget_min_per_s, of.budget_percent as f32 / 100.0))
    }

    /// A request came.
    pub(crate) fn deposit(&self) {
        self.0.deposit();
    }

    /// Whether one more attempt may be made; it is counted if so.
    pub(crate) fn withdraw(&self) -> bool {
        self.0.withdraw()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_part_of_the_requests() {
        let budget = Budget::new(&Retries { budget_percent: 20, budget_min_per_s: 0, ..Retries::default() });
        assert!(!budget.withdraw(), "no request came yet");
        (0..10).for_each(|_| budget.deposit());
        assert_eq!((0..10).filter(|_| budget.withdraw()).count(), 2);
    }

    #[test]
    fn a_quiet_route_has_its_minimum() {
        let budget = Budget::new(&Retries { budget_percent: 0, budget_min_per_s: 1, ..Retries::default() });
        assert_eq!((0..100).filter(|_| budget.withdraw()).count(), 10, "one a second over the window of ten");
    }
}
