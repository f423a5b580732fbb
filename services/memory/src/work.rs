//! Work that outlives the request that began it, and how it is brought to an end.
//!
//! Invariants: a client that leaves ends nothing; only so many files are read at once; after
//! [`Knowledge::shutdown`] nothing begins any more, and what still ran gave its files back.

use std::{sync::Arc, thread::available_parallelism, time::Duration};

use frontdesk_api::{Error, Result, cx::CancellationToken};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use tracing::Instrument as _;

use crate::Knowledge;

/// Files read at once: one a core, between these. Parsing fills a core, and a page as a tree takes many times
/// its bytes (4 MiB become some hundred).
const READERS: (usize, usize) = (4, 16);

/// Tasks that may run at once; far beyond what a server gets to. A shutdown waits for all of these permits.
const TASKS: u32 = 1 << 20;

/// How long tasks get to give their files back once they were told to stop.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The tasks of one room.
pub(crate) struct Work {
    /// Where the room was made: a request's thread may be for requests alone. None: wherever it is asked.
    runtime: Option<Handle>,
    tasks: Arc<Semaphore>,
    readers: Semaphore,
    /// Cancelled when nothing new may begin.
    pub(crate) closing: CancellationToken,
    /// Cancelled when what runs must stop.
    pub(crate) cut: CancellationToken,
}

impl Default for Work {
    fn default() -> Self {
        let readers = available_parallelism().map_or(READERS.0, |cores| cores.get().clamp(READERS.0, READERS.1));
        Self {
            runtime: Handle::try_current().ok(),
            tasks: Arc::new(Semaphore::new(TASKS as usize)),
            readers: Semaphore::new(readers),
            closing: CancellationToken::new(),
            cut: CancellationToken::new(),
        }
    }
}

impl Work {
    /// Does `work` in a task of its own; whoever stops waiting for it does not end it.
    ///
    /// # Errors
    /// As the work; `Unavailable` when the room is closing, `Internal` when the work panicked.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        if self.closing.is_cancelled() {
            return Err(stopping());
        }
        let Ok(permit) = Arc::clone(&self.tasks).try_acquire_owned() else { return Err(stopping()) };
        let task = async move {
            let done = work.await;
            drop(permit);
            done
        };
        let task = task.in_current_span();
        let spawned = match &self.runtime {
            Some(runtime) => runtime.spawn(task),
            None => tokio::spawn(task),
        };
        spawned.await.map_err(|e| Error::internal("could not read files into a knowledge store", e))?
    }

    /// A place to read one file; waits for it.
    pub(crate) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed, so never an error.
        self.readers.acquire().await.ok()
    }

    fn count(&self) -> u64 {
        u64::from(TASKS).saturating_sub(self.tasks.available_permits() as u64)
    }

    async fn idle(&self) {
        let _all = self.tasks.acquire_many(TASKS).await;
    }
}

/// What is said to those who come too late.
pub(crate) fn stopping() -> Error {
    Error::unavailable("the server is stopping: ask again").with_retry_after(Duration::from_secs(5))
}

impl Knowledge {
    /// Tasks that read files in now, those that wait for their turn included.
    #[must_use]
    pub fn working(&self) -> u64 {
        self.work.count()
    }

    /// Lets nothing new begin, waits up to `grace` for files that are being read for someone, then stops
    /// them. What is not read to its end stays `in_progress` and is read after the next start.
    pub async fn shutdown(&self, grace: Duration) {
        let work = &self.work;
        work.closing.cancel();
        if timeout(grace, work.idle()).await.is_ok() {
            return;
        }
        tracing::warn!("files are still being read into knowledge stores; the next start goes on with them");
        work.cut.cancel();
        if timeout(LAST_WORDS, work.idle()).await.is_err() {
            tracing::error!("files could not be given back in time; they count as held until their leases pass");
        }
    }
}
