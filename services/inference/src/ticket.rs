//! The right to ask one target: a place among its answers, and the duty to tell its breaker what came of it.
//!
//! Invariant: a request that was sent to try an open target reports back, or gives the chance back when it is dropped.

use std::{sync::Arc, time::Instant};

use frontdesk_api::{Error, Kind};

use crate::{breaker::Admission, gate::Place, time::Time, verdict, way::Target};

pub(crate) struct Ticket {
    pub(crate) target: Arc<Target>,
    time: Arc<dyn Time>,
    /// Past it, a silence says nothing about the target.
    deadline: Option<Instant>,
    trying: bool,
    _place: Place,
}

impl Ticket {
    pub(crate) fn new(
        target: &Arc<Target>,
        place: Place,
        admission: Admission,
        time: &Arc<dyn Time>,
        deadline: Option<Instant>,
    ) -> Self {
        let trying = admission == Admission::Try;
        Self { target: Arc::clone(target), time: Arc::clone(time), deadline, trying, _place: place }
    }

    pub(crate) fn succeeded(&mut self) {
        self.trying = false;
        self.target.breaker.succeeded(self.time.now());
    }

    pub(crate) fn failed(&mut self, error: &Error) {
        let now = self.time.now();
        let ours = error.kind == Kind::Timeout && self.deadline.is_some_and(|at| at <= now);
        if !verdict::of(error).unwell || ours {
            return;
        }
        self.trying = false;
        let Target { provider, upstream_id, breaker, .. } = &*self.target;
        if breaker.failed(now, error.kind, error.retry_after) {
            tracing::warn!(provider, model = upstream_id, error = %error, "a target is left alone for a while");
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.trying {
            self.target.breaker.give_back(self.time.now());
        }
    }
}
