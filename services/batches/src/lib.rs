//! Batches: many requests that are answered in the background, as a durable job.
//!
//! A batch is a row of `job` and a row a line. A process claims it, asks its lines a few at a time beside the others
//! it holds, and writes each answer before the next is begun in its place; one that dies loses its lease, and whoever
//! claims the batch next asks only the lines that have no answer yet. [`Batches`] is the room's one door. What lines
//! say on the wire, and who answers them, is a [`Lines`] that the gateway hands in.
//!
//! Invariants: an answer that was written is never asked for again (one whose process died between hearing it and
//! writing it is); every line has one outcome at the end; a batch is held by one process at a time, and only that one
//! writes; only SQL is awaited inside a transaction.

mod ask;
mod batch;
mod begin;
mod finish;
mod keeper;
mod lines;
mod patience;
mod read;
mod sweep;
mod tally;
mod work;

use std::{sync::Arc, time::Duration};

use frontdesk_api::{Clock, Contents, Ids};
use frontdesk_store::Store;
use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{keeper::Running, tally::Tally};

pub use batch::{Batch, Endpoint, Fault, Files, Progress, Request, Stage};
pub use begin::{NewBatch, Once};
pub use frontdesk_store::{
    batch_lines::{Answer, EndedLine, NewLine, Outcome},
    jobs::JobState,
};
pub use lines::{Again, Lines};
pub use read::request_id;
pub use tally::Counts;

/// What the room works with.
pub struct Deps {
    pub store: Store,
    /// What input files say, and where the others go.
    pub contents: Arc<dyn Contents>,
    pub lines: Arc<dyn Lines>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub pace: Pace,
}

/// How fast, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Lines that this process asks at once, of all batches together; 4 unless told, so that a batch takes little
    /// from those who wait for an answer.
    pub lines_at_once: usize,
    /// Batches that this process holds at once; 8 unless told.
    pub batches_at_once: usize,
    /// How long a batch is held without a sign of its process; 30 s unless told.
    pub lease: Duration,
    /// How often leases are renewed and batches without a process looked for; 10 s unless told.
    pub renew: Duration,
    /// How long a batch may take, from its creation; 24 h, as both vendors say.
    pub window: Duration,
    /// The first wait before a line is asked again that met a provider out of capacity; doubled each time up to 5
    /// minutes. 1 s unless told.
    pub patience: Duration,
    /// How long results of messages are kept, from the batch's creation; 29 days, as Anthropic says. None: until the
    /// batch is deleted.
    pub keep_results: Option<Duration>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            lines_at_once: 4,
            batches_at_once: 8,
            lease: Duration::from_secs(30),
            renew: Duration::from_secs(10),
            window: Duration::from_secs(24 * 60 * 60),
            patience: Duration::from_secs(1),
            keep_results: Some(Duration::from_secs(29 * 24 * 60 * 60)),
        }
    }
}

/// The batches of all tenants. Clones share everything.
#[derive(Clone)]
pub struct Batches(Arc<Inner>);

struct Inner {
    store: Store,
    contents: Arc<dyn Contents>,
    lines: Arc<dyn Lines>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    pace: Pace,
    /// Places for lines that are asked now.
    places: Arc<Semaphore>,
    running: Running,
    tally: Tally,
    /// Rung when there may be something to claim.
    wake: Notify,
    /// The keeper and the batches that are worked on.
    tasks: TaskTracker,
    /// Nothing new is begun.
    closing: CancellationToken,
    /// What still runs gives its batch back.
    cut: CancellationToken,
}

impl Batches {
    #[must_use]
    pub fn new(deps: Deps) -> Self {
        Self(Arc::new(Inner {
            places: Arc::new(Semaphore::new(deps.pace.lines_at_once)),
            store: deps.store,
            contents: deps.contents,
            lines: deps.lines,
            clock: deps.clock,
            ids: deps.ids,
            pace: deps.pace,
            running: Running::default(),
            tally: Tally::default(),
            wake: Notify::new(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            cut: CancellationToken::new(),
        }))
    }
}
