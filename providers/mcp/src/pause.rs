//! Time in which a person is asked: it is neither the server's silence nor part of its call.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How soon at the soonest a limit is looked at again that stood still.
const LOOK: Duration = Duration::from_millis(100);

/// Of one call.
#[derive(Debug, Default)]
pub(crate) struct Pause(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Questions that stand, since when one does, and when the last one ended.
    open: usize,
    since: Option<Instant>,
    ended: Option<Instant>,
    /// What is over.
    before: Duration,
}

/// A question that stands, until this is dropped.
pub(crate) struct Asked<'p>(&'p Pause);

impl Pause {
    pub(crate) fn begin(&self) -> Asked<'_> {
        let mut state = self.state();
        state.open += 1;
        state.since.get_or_insert_with(Instant::now);
        drop(state);
        Asked(self)
    }

    /// All of it so far.
    fn total(&self) -> Duration {
        let state = self.state();
        state.before + state.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// Whether a person was asked within the last so long.
    pub(crate) fn was_within(&self, silence: Duration) -> bool {
        let state = self.state();
        state.open > 0 || state.ended.is_some_and(|at| at.elapsed() < silence)
    }

    /// Does work that may take so long, this time left out; None: it took longer, and was dropped.
    pub(crate) async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let begun = Instant::now();
        tokio::pin!(work);
        loop {
            let left = (limit + self.total()).saturating_sub(begun.elapsed());
            if left.is_zero() {
                return None;
            }
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = tokio::time::sleep(left.max(LOOK)) => {}
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.open -= 1;
        if state.open == 0 {
            let this = state.since.take().map(|since| since.elapsed()).unwrap_or_default();
            state.before += this;
            state.ended = Some(Instant::now());
        }
    }
}
