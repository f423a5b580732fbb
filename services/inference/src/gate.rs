//! How many answers of one model may be under way at once, and how many are.
//!
//! A gate belongs to a model, whatever name leads there: its limit is the server's, not a route's. Invariant: a place is
//! held from asking to the end of the answer's body, or until that is dropped.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) struct Gate {
    /// None: no limit.
    places: Option<(usize, Arc<Semaphore>)>,
    in_flight: AtomicUsize,
}

/// A place among the answers under way, free again when dropped.
pub(crate) struct Place {
    gate: Arc<Gate>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Gate {
    pub(crate) fn new(max: Option<usize>) -> Arc<Self> {
        let places = max.map(|max| (max, Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)))));
        Arc::new(Self { places, in_flight: AtomicUsize::new(0) })
    }

    /// None: all places are taken.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Place> {
        let permit = match &self.places {
            Some((_, places)) => Some(Arc::clone(places).try_acquire_owned().ok()?),
            None => None,
        };
        Some(self.entered(permit))
    }

    /// Waits in line for a place.
    pub(crate) async fn wait(self: Arc<Self>) -> Place {
        let permit = match &self.places {
            // Never closed, so there is no error.
            Some((_, places)) => Arc::clone(places).acquire_owned().await.ok(),
            None => None,
        };
        self.entered(permit)
    }

    fn entered(self: &Arc<Self>, permit: Option<OwnedSemaphorePermit>) -> Place {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Place { gate: Arc::clone(self), _permit: permit }
    }

    pub(crate) fn max(&self) -> Option<usize> {
        self.places.as_ref().map(|(max, _)| *max)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_place_is_free_when_its_holder_is_gone() {
        let gate = Gate::new(Some(1));
        let place = gate.enter().expect("the first");
        assert!(gate.enter().is_none());
        let mut waiting = Box::pin(Arc::clone(&gate).wait());
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(gate.in_flight(), 1);
        drop(place);
        let place = waiting.now_or_never().expect("the next in line");
        assert!(gate.enter().is_none());
        drop(place);
        assert_eq!((gate.in_flight(), gate.enter().is_some()), (0, true));
    }
}
