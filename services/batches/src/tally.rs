//! How many batches there are, and what came of their lines, for the people who run the installation.
//!
//! Invariant: counts are of this process and begin at zero with it; they decide nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{JobState, Outcome};

/// The states a batch ends in.
const ENDS: [JobState; 4] = [JobState::Completed, JobState::Failed, JobState::Cancelled, JobState::Expired];

/// What comes of a line.
const OUTCOMES: [Outcome; 4] = [Outcome::Succeeded, Outcome::Failed, Outcome::Cancelled, Outcome::Expired];

#[derive(Debug, Default)]
pub(crate) struct Tally {
    waiting: AtomicU64,
    ended: [AtomicU64; ENDS.len()],
    lines: [AtomicU64; OUTCOMES.len()],
}

/// How many batches and lines there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Batches that this process works on now.
    pub running: u64,
    /// Open batches that no process worked on when this one last looked.
    pub waiting: u64,
    /// Batches that this process brought to an end since it began, by how they ended.
    pub ended: [(JobState, u64); ENDS.len()],
    /// Lines that got their outcome from this process since it began.
    pub lines: [(Outcome, u64); OUTCOMES.len()],
}

impl Tally {
    pub(crate) fn waiting(&self, now: u64) {
        self.waiting.store(now, Ordering::Relaxed);
    }

    /// A batch came to this state; one that is no end counts nothing.
    pub(crate) fn ended(&self, state: JobState) {
        if let Some(place) = ENDS.iter().position(|end| *end == state) {
            self.ended[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// So many lines have this outcome.
    pub(crate) fn lines(&self, outcome: Outcome, more: u64) {
        if let Some(place) = OUTCOMES.iter().position(|one| *one == outcome) {
            self.lines[place].fetch_add(more, Ordering::Relaxed);
        }
    }

    pub(crate) fn counts(&self, running: usize) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            running: u64::try_from(running).unwrap_or(u64::MAX),
            waiting: read(&self.waiting),
            ended: std::array::from_fn(|place| (ENDS[place], read(&self.ended[place]))),
            lines: std::array::from_fn(|place| (OUTCOMES[place], read(&self.lines[place]))),
        }
    }
}
