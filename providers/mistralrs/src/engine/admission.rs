//! Who may use the engine now, who waits, who is sent away.
//!
//! A model works on as many requests as it has seats, and on a GPU as many as its pages have room for. Invariants: a seat is
//! given back only when the engine has let go of the request, also when its client left long before; on the CPU, where
//! there is one seat, no two sequences ever run together (their answers would mix); a request begins only when there are
//! pages for its longest answer, because mistral.rs 0.8.1 fails requests when it runs out of them (BENCHMARKS.md).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::load::PAGE;
use super::problem::Problem;

/// The seats of one model and the queue before them.
#[derive(Debug)]
pub(crate) struct Admission {
    seats: Arc<Semaphore>,
    all_seats: usize,
    /// Pages that no request has taken; none without pages.
    pages: Option<Semaphore>,
    waiting: AtomicUsize,
    max_queue: usize,
}

/// The right to one running sequence; dropping it lets the next request in.
#[derive(Debug)]
pub(crate) struct Seat {
    _permit: OwnedSemaphorePermit,
}

/// The right to so many pages, until it is dropped.
pub(crate) type Room<'a> = Option<SemaphorePermit<'a>>;

impl Admission {
    /// `pool`: the tokens that all running requests may hold together, where there are pages.
    pub(crate) fn new(seats: usize, max_queue: usize, pool: Option<usize>) -> Self {
        // Each request may leave a part of its last page empty; the pool is made with that much more.
        let pages = pool.map(|tokens| Semaphore::new(tokens.div_ceil(PAGE) + seats));
        Self {
            seats: Arc::new(Semaphore::new(seats)),
            all_seats: seats,
            pages,
            waiting: AtomicUsize::new(0),
            max_queue,
        }
    }

    /// Takes the pages of a request of so many tokens, prompt and longest answer, waiting for them in the order of asking.
    pub(crate) async fn room(&self, tokens: usize) -> Room<'_> {
        let pages = self.pages.as_ref()?;
        // One token more is under way when the last one is out.
        let wanted = u32::try_from((tokens + 1).div_ceil(PAGE)).unwrap_or(u32::MAX);
        pages.acquire_many(wanted).await.ok()
    }

    /// Takes a seat, waiting in line for it. Dropping the future leaves the line.
    ///
    /// # Errors
    /// 429 when the line is full; `seat_seconds` (mean time a seat is held) makes its Retry-After.
    pub(crate) async fn enter(&self, seat_seconds: Option<f64>) -> Result<Seat, Problem> {
        if let Ok(permit) = Arc::clone(&self.seats).try_acquire_owned() {
            return Ok(Seat { _permit: permit });
        }
        let _place = self.place(seat_seconds)?;
        match Arc::clone(&self.seats).acquire_owned().await {
            Ok(permit) => Ok(Seat { _permit: permit }),
            Err(_closed) => Err(Problem::unavailable("the engine is shutting down")),
        }
    }

    /// Requests that hold a seat.
    pub(crate) fn running(&self) -> usize {
        self.all_seats - self.seats.available_permits().min(self.all_seats)
    }

    /// Requests in line.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    fn place(&self, seat_seconds: Option<f64>) -> Result<Place<'_>, Problem> {
        let enter = |waiting| (waiting < self.max_queue).then_some(waiting + 1);
        match self.waiting.fetch_update(Relaxed, Relaxed, enter) {
            Ok(_) => Ok(Place(&self.waiting)),
            Err(waiting) => {
                let rounds = (waiting + 1).div_ceil(self.all_seats);
                let seconds = rounds as f64 * seat_seconds.unwrap_or(1.0);
                Err(Problem::queue_full(waiting, (seconds.ceil() as u64).clamp(1, 60)))
            }
        }
    }
}

/// A place in line, left when dropped.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_full_line_is_refused_and_a_left_place_is_free_again() {
        let admission = Admission::new(1, 1, None);
        let seat = admission.enter(None).now_or_never().unwrap().unwrap();
        let mut first = Box::pin(admission.enter(None));
        assert!(first.as_mut().now_or_never().is_none());
        assert_eq!((admission.running(), admission.waiting()), (1, 1));

        let refused = admission.enter(Some(2.5)).now_or_never().unwrap().unwrap_err();
        assert_eq!((refused.status, refused.retry_after), (429, Some(5)));

        drop(first);
        assert_eq!(admission.waiting(), 0);
        let mut second = Box::pin(admission.enter(None));
        assert!(second.as_mut().now_or_never().is_none());
        drop(seat);
        assert!(second.as_mut().now_or_never().unwrap().is_ok());
    }

    #[test]
    fn a_request_waits_for_the_pages_of_its_longest_answer() {
        let admission = Admission::new(4, 0, Some(8 * PAGE));
        let first = admission.room(7 * PAGE).now_or_never().unwrap();
        assert!(first.is_some());
        let mut second = Box::pin(admission.room(8 * PAGE));
        assert!(second.as_mut().now_or_never().is_none());
        // Whoever asks later does not pass it, however little it wants.
        let mut third = Box::pin(admission.room(1));
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        assert!(second.as_mut().now_or_never().is_some_and(|room| room.is_some()));
        assert!(third.as_mut().now_or_never().is_some());
        assert!(Admission::new(1, 0, None).room(1 << 30).now_or_never().is_some_and(|room| room.is_none()));
    }
}
