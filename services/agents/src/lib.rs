//! The turn: one run of an agent, as rows.
//!
//! A turn is a persisted state machine. Its task does one thing after another, and each thing is a row
//! before anyone sees it: intent before effect, events before streams. Nothing a client was told is lost
//! when this process dies: whoever finds its lease passed reads the rows and does the first thing that is missing.
//!
//! [`Agents`] is the room's one door: agents and sessions, turns that begin, resume and are cancelled, and
//! the stream of a turn's events. It meets models, tools, knowledge and shields as the traits of the api
//! crate and knows no HTTP.
//!
//! Invariants: every write of a turn goes through its fence (one writer per turn, whatever else happens); a
//! session has at most one open turn; only SQL is awaited inside a transaction.

mod access;
mod approvals;
pub mod as_model;
mod asking;
mod begin;
mod behind;
mod budget;
mod calls;
mod catalogue;
mod citations;
mod close;
mod compact;
mod containers;
mod conversations;
mod dictation;
mod fault;
mod follow;
mod guard;
mod guidelines;
mod halt;
mod handing;
mod hold;
mod hub;
mod inputs;
mod keeper;
mod leaving;
mod observe;
mod open_calls;
mod pages;
mod passing;
mod pen;
mod people;
mod prompt;
mod questions;
mod read;
mod recall;
mod repeat;
pub mod replay;
mod reply;
mod responses;
mod retry;
mod running;
mod servers;
mod speech;
mod sweep;
mod tally;
mod think;
mod thoughts;
mod tools;
mod underway;
mod versions;
mod watch;
mod worker;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use frontdesk_api::{Clock, Dispatch, Ids, Inference, Memory, Micros, Safety, Seal, Tools, turn::Turn};
use frontdesk_store::{Store, turns::Lease};
pub use frontdesk_store::{
    agents::INLINE,
    claims::Standing,
    containers::{ContainerFile, StoredContainer},
    questions::Which,
};
use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use approvals::Approval;
use begin::Begun;
pub use begin::{AsResponse, NewTurn};
pub use compact::Compacted;
pub use conversations::Said;
pub use fault::{Fault, Point};
pub use follow::Events;
pub use inputs::Resumed;
pub use observe::{Full, Note, Observer, ToolEnd, Unobserved};
pub use passing::Passing;
pub use questions::Questioned;
pub use read::{TurnView, ended_badly, goes_on};
pub use repeat::{Sent, sent};
pub use responses::Response;
pub use tally::Turns;
pub use versions::Writing;

use crate::{close::Closed, hub::Hub, open_calls::Waits, running::Running, tally::Tally};

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
    /// Seals thoughts that clients keep.
    pub seal: Arc<dyn Seal>,
    /// Hears what turns come to.
    pub observer: Arc<dyn Observer>,
    /// How workers of other processes are woken, and this one is.
    pub dispatch: Arc<dyn Dispatch>,
    pub pace: Pace,
    pub bounds: Bounds,
    /// For tests alone.
    pub fault: Option<Fault>,
}

/// How often things happen.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long a worker holds a turn without renewing.
    pub lease: Duration,
    /// How often leases are renewed; well below `lease`.
    pub renew: Duration,
    /// How often turns without a worker are looked for without being told of.
    pub poll: Duration,
    /// How often it is looked how far those turns are that are followed here and worked on elsewhere.
    pub watch: Duration,
    /// How often a follower looks for events without being woken.
    pub look: Duration,
    /// How long a turn may wait for input.
    pub wait: Duration,
    /// How long a person may take to answer what is asked in a call that stays open. Ten minutes are what servers of the
    /// protocol's own package believe the state of a question for.
    pub question: Duration,
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
            watch: Duration::from_millis(100),
            look: Duration::from_secs(5),
            wait: Duration::from_secs(7 * 24 * 60 * 60),
            question: Duration::from_secs(10 * 60),
            flush: Duration::from_millis(60),
            flush_bytes: 1024,
        }
    }
}

/// How much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Turns that this process works on at once; further ones stand in line. 0: it works on none.
    pub at_once: usize,
    /// Turns of one tenant that may stand in line; a new one is then refused. As many more may pass as are asked for at
    /// the same moment.
    pub in_line_of_tenant: i64,
    /// Turns of all tenants that may stand in line.
    pub in_line: i64,
    /// How often a turn is begun without a step of it ending before it is given up: it may be what ends its workers.
    pub attempts: i64,
    /// Tool calls of one turn that run at once.
    pub calls_at_once: usize,
    /// Tool calls of all turns that run beside another of their turn, so that answers with many calls leave the tools to
    /// others too. 0: every turn makes them one after another. Agents that are asked are not counted: beside
    /// each of `at_once` turns at most `calls_at_once` of them answer.
    pub calls_beside: usize,
    /// Turns that wait, with a call open, for a person. They have none of the places of `at_once`, but memory and a
    /// connection; a question beyond them, or beyond a quarter of them for one tenant, is asked of nobody.
    pub open_calls: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            at_once: 256,
            in_line_of_tenant: 1_000,
            in_line: 10_000,
            attempts: 5,
            calls_at_once: 4,
            calls_beside: 64,
            open_calls: 256,
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
    /// Places for turns that are worked on here.
    pub(crate) places: Arc<Semaphore>,
    /// Places for tool calls that run beside another of their turn.
    pub(crate) beside: Arc<Semaphore>,
    /// Turns that wait for a person with a call open.
    pub(crate) open_calls: Arc<Waits>,
    /// Places for replays.
    pub(crate) replays: Arc<replay::Places>,
    /// Rung when a place becomes free.
    pub(crate) free: Notify,
    /// Turns stand in line for a place.
    pub(crate) backlog: AtomicBool,
    /// Cancelled when nothing new may begin.
    pub(crate) stopping: CancellationToken,
    /// Cancelled when nothing is worked on any more.
    pub(crate) closed: CancellationToken,
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
            places: Arc::new(Semaphore::new(deps.bounds.at_once)),
            beside: Arc::new(Semaphore::new(deps.bounds.calls_beside)),
            open_calls: Arc::default(),
            replays: Arc::default(),
            deps,
            owner,
            hub: Arc::default(),
            running: Running::default(),
            tally: Tally::default(),
            tasks: TaskTracker::new(),
            runtime: tokio::runtime::Handle::current(),
            free: Notify::new(),
            backlog: AtomicBool::new(false),
            stopping: CancellationToken::new(),
            closed: CancellationToken::new(),
        }))
    }

    /// Whether this process takes no new turns any more; streams of turns may end before the turns do.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.is_cancelled()
    }

    /// How many turns this process works on now, and how many it brought to an end.
    #[must_use]
    pub fn tally(&self) -> Turns {
        Turns { running: self.0.running.count(), ended: self.0.tally.counts(), standing: self.0.tally.standing() }
    }
}

impl Room {
    /// A turn came to its state at this process; one that is no end counts nothing. `model_calls`: how many it made, None
    /// where no worker ended it.
    pub(crate) fn note(&self, turn: &Turn, model_calls: Option<u32>) {
        self.tally.ended(turn.state);
        if turn.state.is_terminal() {
            let until = turn.completed_at.unwrap_or(turn.created_at);
            self.deps.observer.ended(turn.state, seconds(turn.created_at, until), model_calls);
        }
    }

    /// Notes a turn that was ended in its rows, once they are committed.
    pub(crate) fn note_closed(&self, closed: Closed) -> Turn {
        if let Some(notes) = closed.notes {
            self.note(&closed.turn, None);
            notes.into_iter().for_each(|note| self.deps.observer.noted(note));
        }
        closed.turn
    }

    pub(crate) fn lease(&self) -> Lease<'_> {
        Lease { owner: &self.owner, micros: micros(self.deps.pace.lease) }
    }
}

/// What lies between two moments of one clock, in seconds; 0 where the clock was set back.
pub(crate) fn seconds(from: Micros, until: Micros) -> f64 {
    let between = u64::try_from(until.saturating_sub(from)).unwrap_or(0);
    Duration::from_micros(between).as_secs_f64()
}

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
