//! How many turns came to which end, for the people who run the installation.
//!
//! Invariant: ends are of this process and begin at zero with it; what stands still is of the whole installation. They
//! decide nothing.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use frontdesk_api::turn::TurnState;
use frontdesk_store::claims::Standing;

/// The states a turn ends in.
const ENDS: [TurnState; 5] =
    [TurnState::Completed, TurnState::Failed, TurnState::Cancelled, TurnState::Incomplete, TurnState::DeadLetter];

#[derive(Debug, Default)]
pub(crate) struct Tally {
    ended: [AtomicU64; ENDS.len()],
    /// Of all processes, when it was last looked.
    standing: Mutex<Option<Standing>>,
}

/// How many turns there are in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turns {
    /// Worked on now.
    pub running: u64,
    /// Brought to an end since the process began, by how they ended.
    pub ended: [(TurnState, u64); ENDS.len()],
    /// Those of all processes and tenants that stand still, when it was last looked; None before that.
    pub standing: Option<Standing>,
}

impl Tally {
    /// A turn came to this state; one that is no end counts nothing.
    pub(crate) fn ended(&self, state: TurnState) {
        if let Some(place) = ENDS.iter().position(|end| *end == state) {
            self.ended[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn counts(&self) -> [(TurnState, u64); ENDS.len()] {
        std::array::from_fn(|place| (ENDS[place], self.ended[place].load(Ordering::Relaxed)))
    }

    pub(crate) fn looked(&self, standing: Standing) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = Some(standing);
    }

    pub(crate) fn standing(&self) -> Option<Standing> {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ends_are_counted() {
        let tally = Tally::default();
        for state in [TurnState::Completed, TurnState::Completed, TurnState::AwaitingInput, TurnState::Running] {
            tally.ended(state);
        }
        assert_eq!(tally.counts().map(|(_, count)| count), [2, 0, 0, 0, 0]);
        assert!(ENDS.iter().all(|end| end.is_terminal()));
    }
}
