//! The threads that serve: each a runtime of its own, on which a connection lives from its first byte to its last.
//!
//! Work stealing suits turns, which are long; a request is two reads and two writes, and every event of it woke a
//! second thread that found nothing to do: on two cores, one request at a time, 2 futex calls and 0.75 further polls
//! a request (BENCHMARKS.md), both gone on a thread of one's own.
//! Invariants: a lane's runtime outlives whatever was opened on it, so lanes are dropped when nobody serves any more,
//! and after them only the books and the store are closed (whose connections are tried anew); nothing that computes
//! for long runs on a lane (turns belong to the main runtime, blocking work to `spawn_blocking`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use frontdesk_api::{Error, Result, cx::CancellationToken};
use tokio::{
    runtime::{Builder, Handle},
    time::{MissedTickBehavior, interval},
};

use crate::lines;

/// How often a lane wakes by itself. A timer that ends before the next wake-up of its runtime is known costs a system
/// call to bring that forward, and a request sets one at its end (hyper's limit on the next head, 30 s, after the one
/// on an answer, 600 s). With a beat shorter than those no timer of a request is ever the earliest.
const BEAT: Duration = Duration::from_secs(5);

/// All of them.
pub struct Lanes(Vec<Lane>);

/// One thread.
pub(crate) struct Lane {
    runtime: Handle,
    /// Connections on it.
    open: Arc<AtomicUsize>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// A connection's place on its lane, free again when dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lanes {
    /// One for each core that this process may use.
    ///
    /// # Errors
    /// `Internal` when the system gives no thread.
    pub fn start() -> Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (0..count).map(Lane::start).collect::<Result<_>>().map(Self)
    }

    /// The lane with the fewest connections.
    pub(crate) fn freest(&self) -> Option<&Lane> {
        self.0.iter().min_by_key(|lane| lane.open.load(Ordering::Relaxed))
    }
}

impl Lane {
    fn start(number: usize) -> Result<Self> {
        let failed = |e| Error::internal("starting a thread that serves", e);
        let runtime =
            Builder::new_current_thread().enable_all().on_thread_park(lines::caught_up).build().map_err(failed)?;
        let (handle, stop) = (runtime.handle().clone(), CancellationToken::new());
        let told = stop.clone();
        let serve = move || {
            lines::puts_off();
            runtime.block_on(told.run_until_cancelled(beat()));
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name(format!("lane-{number}")).spawn(serve).map_err(failed)?;
        Ok(Self { runtime: handle, open: Arc::default(), stop, thread: Some(thread) })
    }

    /// Runs a connection here.
    pub(crate) fn take(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.open.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&self.open));
        self.runtime.spawn(async move {
            connection.await;
            drop(place);
        });
    }
}

/// Wakes the runtime it is polled on, for ever.
async fn beat() {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a thread that serves had panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_spread_over_the_lanes_and_free_their_places() {
        let lanes = Lanes((0..2).map(Lane::start).collect::<Result<_>>().expect("two threads"));
        let (ends, threads): (Vec<_>, Vec<_>) = (0..4)
            .map(|_| {
                let (end, ended) = tokio::sync::oneshot::channel::<()>();
                let (tell, told) = std::sync::mpsc::channel();
                lanes.freest().expect("a lane").take(async move {
                    tell.send(std::thread::current().name().map(str::to_owned)).expect("a reader");
                    let _ = ended.await;
                });
                (end, told.recv().expect("a thread").expect("a name"))
            })
            .unzip();
        for lane in ["lane-0", "lane-1"] {
            assert_eq!(threads.iter().filter(|name| *name == lane).count(), 2, "{threads:?}");
        }
        drop(ends);
        while lanes.0.iter().any(|lane| lane.open.load(Ordering::Relaxed) > 0) {
            std::thread::yield_now();
        }
    }
}
