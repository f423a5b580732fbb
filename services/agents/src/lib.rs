//! The turn: one run of an agent, as rows.
//!
//! A turn is a persisted state machine. Its task does one thing after another, and each thing is a row
//! before anyone sees it: intent before effect, events before streams. Nothing a client was told is lost
//! when this process dies; a turn whose worker is lost ends with a reason, and its session takes the next
//! message.
//!
//! [`Agents`] is the room's one door: agents and sessions, turns that begin, resume and are cancelled, and
//! the stream of a turn's events. It meets models, tools, knowledge and shields as the traits of the api
//! crate and knows no HTTP.
//!
//! Invariants: every write of a turn goes through its fence (one writer per turn, whatever else happens); a
//! session has at most one open turn; only SQL is awaited inside a transaction.

mod begin;
mod budget;
mod catalogue;
mod citations;
mod close;
mod conversations;
mod follow;
mod guard;
mod halt;
mod hold;
mod hub;
mod keeper;
mod pen;
mod prompt;
mod read;
mod reply;
mod responses;
mod running;
mod speech;
mod tally;
mod think;
mod tools;
mod worker;

use std::{sync::Arc, time::Duration};

use frontdesk_api::{Clock, Ids, Inference, Memory, Safety, Tools};
pub use frontdesk_store::agents::INLINE;
use frontdesk_store::{Store, turns::Lease};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use begin::{AsResponse, NewTurn, Resumed};
pub use conversations::Said;
pub use follow::Events;
pub use read::TurnView;
pub use responses::Response;
pub use tally::Turns;

use crate::{hub::Hub, running::Running, tally::Tally};

/// Name of the built-in action by which a model hands over to a person.
pub const HAND_OFF: &str = "hand_off";

/// What the room works with.
pub struct Deps {
    pub store: Store,
    pub inference: Arc<dyn Inference>,
    pub tools: Arc<dyn Tools>,
    pub memory: Arc<dyn Memory>,
    pub safety: Arc<dyn Safety>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub pace: Pace,
}

/// How often things happen.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long a worker holds a turn without renewing.
    pub lease: Duration,
    /// How often leases are renewed and lost turns looked for; well below `lease`.
    pub renew: Duration,
    /// How often a follower looks for events without being woken.
    pub poll: Duration,
    /// How long text may wait to be written with more of it.
    pub flush: Duration,
    /// How much text may wait, in bytes.
    pub flush_bytes: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            renew: Duration::from_secs(10),
            poll: Duration::from_secs(1),
            flush: Duration::from_millis(60),
            flush_bytes: 1024,
        }
    }
}

/// Agents, their sessions and their turns. Clones share one room.
#[derive(Clone)]
pub struct Agents(Arc<Room>);

pub(crate) struct Room {
    pub(crate) deps: Deps,
    pub(crate) hub: Arc<Hub>,
    pub(crate) running: Running,
    pub(crate) tally: Tally,
    /// This process, as the owner of leases.
    pub(crate) owner: String,
    /// The tasks of running turns.
    pub(crate) tasks: TaskTracker,
    /// Where they run: a turn is not tied to the thread that served the request it began with.
    pub(crate) runtime: tokio::runtime::Handle,
    /// Cancelled when nothing new may begin.
    pub(crate) stopping: CancellationToken,
}

impl Agents {
    /// Turns run on the runtime this is called on.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(deps: Deps) -> Self {
        let owner = deps.ids.next("worker");
        Self(Arc::new(Room {
            deps,
            owner,
            hub: Arc::default(),
            running: Running::default(),
            tally: Tally::default(),
            tasks: TaskTracker::new(),
            runtime: tokio::runtime::Handle::current(),
            stopping: CancellationToken::new(),
        }))
    }

    /// How many turns this process works on now, and how many it brought to an end.
    #[must_use]
    pub fn tally(&self) -> Turns {
        Turns { running: self.0.running.count(), ended: self.0.tally.counts() }
    }
}

impl Room {
    pub(crate) fn lease(&self) -> Lease<'_> {
        Lease { owner: &self.owner, micros: micros(self.deps.pace.lease) }
    }
}

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
