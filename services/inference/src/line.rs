//! The targets of one request in line: who may be asked next.
//!
//! One whose breaker is open is skipped, one without a free place is remembered. Where all were skipped the least bad
//! one is asked all the same: a request that fails costs less than a route that refuses to try.

use std::{sync::Arc, time::Instant};

use crate::{
    breaker::Admission,
    order::order,
    ticket::Ticket,
    time::Time,
    way::{Target, Way},
};

pub(crate) struct Line<'w> {
    way: &'w Way,
    time: &'w Arc<dyn Time>,
    deadline: Option<Instant>,
    order: std::vec::IntoIter<usize>,
    /// Those without a free place.
    pub(crate) full: Vec<usize>,
    asked: bool,
}

impl<'w> Line<'w> {
    pub(crate) fn new(way: &'w Way, seed: u64, time: &'w Arc<dyn Time>, deadline: Option<Instant>) -> Self {
        let order = order(way.targets.iter().map(|target| target.rank), seed).into_iter();
        Self { way, time, deadline, order, full: vec![], asked: false }
    }

    pub(crate) fn next(&mut self) -> Option<Ticket> {
        while let Some(i) = self.order.next() {
            let target = &self.way.targets[i];
            let admission = target.breaker.admit(self.time.now());
            if admission == Admission::No {
                tracing::debug!(route = self.way.id, provider = target.provider, "skipping a target that is not well");
            } else if let Some(ticket) = self.enter(i, admission) {
                return Some(ticket);
            }
        }
        // Only once, and only where nobody could be asked.
        if self.asked || !self.full.is_empty() {
            return None;
        }
        let now = self.time.now();
        let least_bad = (0..self.way.targets.len()).min_by_key(|i| self.way.targets[*i].breaker.shut_until(now))?;
        self.enter(least_bad, Admission::Go)
    }

    /// Whether everybody's turn has come.
    pub(crate) fn is_over(&self) -> bool {
        self.order.as_slice().is_empty()
    }

    fn enter(&mut self, i: usize, admission: Admission) -> Option<Ticket> {
        let target: &Arc<Target> = &self.way.targets[i];
        let Some(place) = target.gate.enter() else {
            if admission == Admission::Try {
                target.breaker.give_back(self.time.now());
            }
            self.full.push(i);
            return None;
        };
        self.asked = true;
        Some(Ticket::new(target, place, admission, self.time, self.deadline))
    }
}
