//! One target's breaker: closed while it is well, open when it is plainly not, then one request at a time may try it.
//!
//! Opens after failures in a row, after too large a part of a window's requests failed, or for as long as the target
//! itself asked for (`Retry-After`, at most `open_ms`). Invariant: of a target that is not closed at most one request is
//! on its way that was not forced.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use frontdesk_api::Kind;
use serde::Serialize;

use crate::policy::{self, millis};

pub(crate) struct Breaker {
    policy: policy::Breaker,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// Failures since the last success.
    in_a_row: u32,
    window: Window,
    failed: u64,
    last: Option<Kind>,
}

enum Phase {
    Closed,
    Open(Instant),
    /// One request is out to try it.
    Trying,
}

/// Counts from `since` on; begun anew when it is over.
struct Window {
    since: Instant,
    asked: u32,
    failed: u32,
}

/// Whether a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Go,
    /// As the one that tries the target: it must report back or give the chance back.
    Try,
    No,
}

/// A breaker as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
    /// Failures since the last success.
    pub failures_in_a_row: u32,
    /// Failures since the start.
    pub failures: u64,
    /// What kind of failure the last one was. Its words may hold what a tenant said, and stay out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Kind>,
}

impl Breaker {
    pub(crate) fn new(policy: policy::Breaker, now: Instant) -> Self {
        let window = Window { since: now, asked: 0, failed: 0 };
        Self { policy, state: Mutex::new(State { phase: Phase::Closed, in_a_row: 0, window, failed: 0, last: None }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn admit(&self, now: Instant) -> Admission {
        let mut state = self.state();
        match state.phase {
            Phase::Closed => Admission::Go,
            Phase::Open(until) if until <= now => {
                state.phase = Phase::Trying;
                Admission::Try
            }
            Phase::Open(_) | Phase::Trying => Admission::No,
        }
    }

    /// When the target may be asked again; None: now.
    pub(crate) fn shut_until(&self, now: Instant) -> Option<Instant> {
        match self.state().phase {
            Phase::Open(until) => Some(until).filter(|until| *until > now),
            // Its end is near, one way or the other.
            Phase::Trying => Some(now),
            Phase::Closed => None,
        }
    }

    pub(crate) fn succeeded(&self, now: Instant) {
        let mut state = self.state();
        state.in_a_row = 0;
        state.window.count(now, millis(self.policy.window_ms), false);
        if !matches!(state.phase, Phase::Closed) {
            state.phase = Phase::Closed;
            state.window = Window { since: now, asked: 0, failed: 0 };
        }
    }

    /// `rest`: what the target asked for. True: this opened the breaker.
    pub(crate) fn failed(&self, now: Instant, kind: Kind, rest: Option<Duration>) -> bool {
        let mut state = self.state();
        state.in_a_row = state.in_a_row.saturating_add(1);
        state.failed += 1;
        state.last = Some(kind);
        let (asked, failed) = state.window.count(now, millis(self.policy.window_ms), true);
        let policy = &self.policy;
        if policy.failures == 0 && policy.failure_percent == 0 {
            return false;
        }
        let in_a_row = policy.failures > 0 && state.in_a_row >= policy.failures;
        let too_many = policy.failure_percent > 0
            && asked >= policy.min_requests
            && u64::from(failed) * 100 >= u64::from(asked) * u64::from(policy.failure_percent);
        let longest = millis(policy.open_ms);
        let span = match state.phase {
            Phase::Trying => longest,
            _ if in_a_row || too_many => longest,
            _ => match rest {
                Some(rest) if rest > Duration::ZERO => rest.min(longest),
                _ => return false,
            },
        };
        let opened = matches!(state.phase, Phase::Closed);
        state.phase = Phase::Open(now + span);
        opened
    }

    /// The request that tried the target ended without saying anything about it.
    pub(crate) fn give_back(&self, now: Instant) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Trying) {
            state.phase = Phase::Open(now);
        }
    }

    pub(crate) fn shown(&self) -> Shown {
        let state = self.state();
        let phase = match state.phase {
            Phase::Closed => "closed",
            Phase::Open(_) => "open",
            Phase::Trying => "half_open",
        };
        Shown { state: phase, failures_in_a_row: state.in_a_row, failures: state.failed, last_failure: state.last }
    }
}

impl Window {
    fn count(&mut self, now: Instant, length: Duration, failed: bool) -> (u32, u32) {
        if now.saturating_duration_since(self.since) >= length {
            *self = Self { since: now, asked: 0, failed: 0 };
        }
        self.asked = self.asked.saturating_add(1);
        self.failed = self.failed.saturating_add(u32::from(failed));
        (self.asked, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, s: u64) -> Instant {
        start + Duration::from_secs(s)
    }

    fn breaker(start: Instant) -> Breaker {
        let policy =
            policy::Breaker { failures: 3, failure_percent: 50, min_requests: 10, window_ms: 60_000, open_ms: 30_000 };
        Breaker::new(policy, start)
    }

    #[test]
    fn opens_after_failures_in_a_row_and_is_tried_by_one() {
        let start = Instant::now();
        let b = breaker(start);
        assert_eq!((b.failed(start, Kind::Upstream, None), b.failed(start, Kind::Upstream, None)), (false, false));
        b.succeeded(start);
        assert_eq!((0..3).map(|_| b.failed(start, Kind::Upstream, None)).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!((b.admit(at(start, 29)), b.shown().state), (Admission::No, "open"));
        assert_eq!(b.admit(at(start, 30)), Admission::Try);
        assert_eq!((b.admit(at(start, 30)), b.shown().state), (Admission::No, "half_open"));
        assert!(!b.failed(at(start, 31), Kind::Timeout, None), "it was not closed");
        assert_eq!(b.admit(at(start, 60)), Admission::No);
        assert_eq!(b.admit(at(start, 61)), Admission::Try);
        b.succeeded(at(start, 61));
        assert_eq!((b.admit(at(start, 61)), b.shown().state), (Admission::Go, "closed"));
        let shown = b.shown();
        assert_eq!((shown.failures_in_a_row, shown.failures, shown.last_failure), (0, 6, Some(Kind::Timeout)));
    }

    #[test]
    fn opens_when_too_large_a_part_of_a_window_failed() {
        let start = Instant::now();
        let b = breaker(start);
        let turn = |i: u64| {
            if i.is_multiple_of(2) { b.succeeded(start) } else { assert!(!b.failed(start, Kind::Upstream, None)) }
        };
        (0..9).for_each(turn);
        assert!(b.failed(start, Kind::Upstream, None), "5 of 10");
        // In the next window the count begins anew.
        let later = breaker(start);
        (0..9).for_each(|_| later.succeeded(start));
        (0..2).for_each(|_| assert!(!later.failed(at(start, 60), Kind::Upstream, None)));
        later.succeeded(at(start, 61));
        assert_eq!(later.admit(at(start, 61)), Admission::Go);
    }

    #[test]
    fn rests_as_long_as_the_target_asked_within_reason() {
        let start = Instant::now();
        let b = breaker(start);
        assert!(b.failed(start, Kind::RateLimited, Some(Duration::from_secs(7))));
        assert_eq!((b.admit(at(start, 6)), b.admit(at(start, 7))), (Admission::No, Admission::Try));
        let b = breaker(start);
        b.failed(start, Kind::RateLimited, Some(Duration::from_secs(86_400)));
        assert_eq!(b.admit(at(start, 30)), Admission::Try);
    }

    #[test]
    fn one_that_opens_for_nothing_is_off() {
        let start = Instant::now();
        let b = Breaker::new(policy::Breaker { failures: 0, failure_percent: 0, ..Default::default() }, start);
        (0..99).for_each(|_| assert!(!b.failed(start, Kind::RateLimited, Some(Duration::from_secs(9)))));
        assert_eq!(b.admit(start), Admission::Go);
    }

    #[test]
    fn a_chance_that_came_to_nothing_is_the_next_ones() {
        let start = Instant::now();
        let b = breaker(start);
        b.failed(start, Kind::Upstream, Some(Duration::from_secs(1)));
        assert_eq!(b.admit(at(start, 1)), Admission::Try);
        b.give_back(at(start, 2));
        assert_eq!(b.admit(at(start, 2)), Admission::Try);
    }
}
