//! Keeps one worker running: starts it, publishes it, starts it again when it ends.
//!
//! Restarts wait longer each time a worker ends soon, up to half a minute; one that ran well is replaced at once. Invariant: at
//! most one worker at a time, and none after the supervisor is dropped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::process::{Launch, Log, Process};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A worker that lived this long ended for a reason of its own, not because it cannot live.
const RAN_WELL: Duration = Duration::from_secs(30);

/// Where a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not asked for yet.
    Idle,
    /// The models are being loaded for the first time.
    Loading,
    /// Requests are taken.
    Ready,
    /// The last worker ended; the next is loading.
    Restarting,
    /// The last start failed; it is tried again now and then.
    Failed,
}

/// What is known about a worker, for people.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub state: State,
    /// Process id while there is a worker that takes requests.
    pub pid: Option<u32>,
    /// Workers started again since the first.
    pub restarts: u64,
    /// Why the last worker ended or did not start.
    pub last_error: Option<String>,
    /// The last lines of the worker's log.
    pub log: Vec<String>,
}

/// What waiting requests see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    Loading,
    /// A worker listens at `socket`; `number` tells it from its successors.
    Ready {
        number: u64,
        socket: PathBuf,
    },
    Failed(String),
}

/// One watched worker.
#[derive(Debug)]
pub(crate) struct Supervisor {
    stage: watch::Receiver<Stage>,
    facts: Arc<Mutex<Facts>>,
    log: Log,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Facts {
    state: State,
    pid: Option<u32>,
    restarts: u64,
    last_error: Option<String>,
    /// What the last worker that was ready said of its models.
    windows: BTreeMap<String, usize>,
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // The task owns the process, which dies with it.
        self.task.abort();
    }
}

impl Supervisor {
    /// Begins to keep a worker running. Needs a tokio runtime.
    pub(crate) fn start(provider: String, launch: Launch) -> Self {
        let (publish, stage) = watch::channel(Stage::Loading);
        let facts = Facts { state: State::Loading, pid: None, restarts: 0, last_error: None, windows: BTreeMap::new() };
        let facts = Arc::new(Mutex::new(facts));
        let log = Log::default();
        let keeper = Keeper { provider, launch, publish, facts: Arc::clone(&facts), log: log.clone() };
        Self { stage, facts, log, task: tokio::spawn(keeper.keep()) }
    }

    /// Follows the stages of the worker.
    pub(crate) fn follow(&self) -> watch::Receiver<Stage> {
        self.stage.clone()
    }

    /// Tokens that a model takes; None before a worker was ready.
    pub(crate) fn window(&self, model: &str) -> Option<usize> {
        self.facts.lock().ok()?.windows.get(model).copied()
    }

    pub(crate) fn status(&self) -> Status {
        let log = self.log.lines();
        match self.facts.lock() {
            Ok(facts) => Status {
                state: facts.state,
                pid: facts.pid,
                restarts: facts.restarts,
                last_error: facts.last_error.clone(),
                log,
            },
            Err(_) => Status { state: State::Failed, pid: None, restarts: 0, last_error: None, log },
        }
    }
}

struct Keeper {
    provider: String,
    launch: Launch,
    publish: watch::Sender<Stage>,
    facts: Arc<Mutex<Facts>>,
    log: Log,
}

impl Keeper {
    async fn keep(self) {
        let mut pause = FIRST_PAUSE;
        for number in 0_u64.. {
            match Process::start(&self.launch, number, &self.log).await {
                Ok(mut process) => {
                    let began = Instant::now();
                    tracing::info!(provider = %self.provider, pid = process.pid, "the local engine is ready");
                    self.note(|facts| {
                        (facts.state, facts.pid) = (State::Ready, Some(process.pid));
                        facts.windows.clone_from(&process.windows);
                    });
                    self.publish.send_replace(Stage::Ready { number, socket: process.socket.0.clone() });
                    let how = process.end().await;
                    tracing::error!(provider = %self.provider, pid = process.pid, "the local engine ended: {how}");
                    self.publish.send_replace(Stage::Loading);
                    self.note(|facts| {
                        (facts.state, facts.pid) = (State::Restarting, None);
                        facts.last_error = Some(format!("the worker ended: {how}"));
                    });
                    if began.elapsed() >= RAN_WELL {
                        pause = FIRST_PAUSE;
                    }
                }
                Err(message) => {
                    tracing::error!(provider = %self.provider, "the local engine did not start: {message}");
                    self.note(|facts| {
                        (facts.state, facts.pid) = (State::Failed, None);
                        facts.last_error = Some(message.clone());
                    });
                    self.publish.send_replace(Stage::Failed(message));
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.note(|facts| facts.restarts += 1);
        }
    }

    fn note(&self, change: impl FnOnce(&mut Facts)) {
        if let Ok(mut facts) = self.facts.lock() {
            change(&mut facts);
        }
    }
}
