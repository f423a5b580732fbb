//! The threads that compute: so many and no more, apart from those that serve.
//!
//! Matrix products inside a job are spread over the same threads, so one request alone uses them all. Invariants: no
//! more jobs are at work than there are threads; whoever asked first is served first; a panic ends its own job.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use frontdesk_api::{Error, Kind, Result};
use rayon::ThreadPool;
use tokio::sync::{Semaphore, oneshot};

pub(crate) struct Pool {
    threads: ThreadPool,
    jobs: Semaphore,
}

impl Pool {
    /// None: half of the cores, at least one.
    ///
    /// # Errors
    /// `Internal` when the system gives no threads.
    pub(crate) fn new(threads: Option<usize>) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = threads.unwrap_or((cores / 2).max(1));
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|i| format!("embed-{i}"))
            .build()
            .map_err(|e| Error::internal("starting threads that compute embeddings", e))?;
        Ok(Self { threads, jobs: Semaphore::new(count) })
    }

    /// Does `job` on a thread of the pool. Dropped before its turn, it is never done; a job that has begun ends by
    /// itself, and keeps its place until then.
    ///
    /// # Errors
    /// The job's own; `Internal` when it panics.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let stopped = || Error::new(Kind::Internal, "the threads that compute embeddings have stopped");
        let place = self.jobs.acquire().await.map_err(|_| stopped())?;
        // The place is the job's, not the caller's, who may leave.
        place.forget();
        let (tell, told) = oneshot::channel();
        let pool = Arc::clone(self);
        self.threads.spawn(move || {
            let done = catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|panic| Err(panicked(&*panic)));
            pool.jobs.add_permits(1);
            let _ = tell.send(done);
        });
        told.await.map_err(|_| stopped())?
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = said, "computing embeddings panicked");
    Error::new(Kind::Internal, "an internal error while computing embeddings; the log says more")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn no_more_jobs_than_threads_and_a_panic_is_an_error() {
        let pool = Arc::new(Pool::new(Some(2)).expect("threads"));
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let job = |i: usize| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            pool.run(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let name = std::thread::current().name().unwrap_or_default().to_owned();
                std::thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
                assert!(!i.is_multiple_of(3), "job {i} falls over");
                Ok(name)
            })
        };
        for (i, done) in futures::future::join_all((0..30).map(job)).await.into_iter().enumerate() {
            match done {
                Ok(name) => assert!(!i.is_multiple_of(3) && name.starts_with("embed-"), "{i} {name}"),
                Err(e) => {
                    assert!(i.is_multiple_of(3) && e.kind == Kind::Internal && !e.message.contains("falls"), "{i} {e}")
                }
            }
        }
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    }

    #[tokio::test]
    async fn who_leaves_before_his_turn_is_not_served_and_takes_no_place() {
        let pool = Arc::new(Pool::new(Some(1)).expect("threads"));
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let held = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.run(move || Ok(gate.recv().is_ok())).await }
        });
        tokio::task::yield_now().await;
        let done = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&done);
        let left =
            tokio::time::timeout(std::time::Duration::ZERO, pool.run(move || Ok(seen.fetch_add(1, Ordering::SeqCst))));
        assert!(left.await.is_err(), "it waits for the thread");
        held.abort();
        open.send(()).expect("the job still runs");
        assert!(pool.run(|| Ok(7)).await.is_ok_and(|seven| seven == 7));
        assert_eq!(done.load(Ordering::SeqCst), 0);
    }
}
