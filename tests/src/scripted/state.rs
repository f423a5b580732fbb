//! What a scripted upstream knows: its script, the requests it saw, its gates. For tests only.
//!
//! Every wait is on a change of this state, never on time; a reset cuts whatever still waits.

use super::message::Asked;
use super::reply::{Rendered, render};
use super::script::{Reply, Script};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A request as it arrived.
#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    /// Position in the order of arrival, from 0.
    pub number: usize,
    pub method: String,
    /// With the query, if there was one.
    pub path: String,
    /// In order of arrival, names in lower case, repeated ones repeated.
    pub headers: Vec<(String, String)>,
    /// The body's bytes as text (invalid UTF-8 replaced).
    pub body: String,
    /// The step of the script that answered; `None` if none matched.
    pub step: Option<usize>,
    pub ended: Ended,
}

impl Seen {
    /// The first header of this name (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON; the message shows it.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("body is no JSON ({e}): {}", self.body))
    }
}

/// How far an answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Still being written, or held at a gate.
    Open,
    /// Written to the end.
    Complete,
    /// Cut or hung up because the script says so.
    Cut,
    /// The other side left first.
    Abandoned,
}

/// State and waits of one scripted upstream.
#[derive(Default)]
pub struct Upstream {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    script: Arc<Script>,
    used: Vec<u64>,
    requests: Vec<Seen>,
    gates: BTreeMap<String, Gate>,
    /// Counts resets; what began before one is cut.
    generation: u64,
}

#[derive(Default)]
struct Gate {
    permits: usize,
    waiting: usize,
}

/// The answer to one request, and the duty to say how it ended: dropped unfinished, it was abandoned.
pub(super) struct Exchange {
    pub(super) upstream: Arc<Upstream>,
    pub(super) number: usize,
    generation: u64,
    finished: bool,
}

/// What to do with a request.
pub(super) enum Verdict {
    Answer { rendered: Rendered, headers: BTreeMap<String, String>, hold: Option<String> },
    HangUp,
    NoStep,
}

impl Upstream {
    pub(super) fn set_script(&self, script: Script) {
        let mut inner = self.lock();
        inner.used = vec![0; script.steps.len()];
        inner.script = Arc::new(script);
    }

    /// Forgets script, requests and gates; cuts answers still being written.
    pub(super) fn reset(&self) {
        let mut inner = self.lock();
        let generation = inner.generation + 1;
        *inner = Inner { generation, ..Inner::default() };
        drop(inner);
        self.changed.notify_waiters();
    }

    pub(super) fn models(&self) -> Vec<String> {
        self.lock().script.models.clone()
    }

    pub(super) fn requests(&self) -> Vec<Seen> {
        self.lock().requests.clone()
    }

    pub(super) fn release(&self, gate: &str) {
        self.lock().gates.entry(gate.to_owned()).or_default().permits += 1;
        self.changed.notify_waiters();
    }

    /// Gate name → how many stand there now.
    pub(super) fn gates(&self) -> BTreeMap<String, usize> {
        self.lock().gates.iter().map(|(name, gate)| (name.clone(), gate.waiting)).collect()
    }

    pub(super) async fn waiting(&self, gate: &str) {
        self.until(|inner| inner.gates.get(gate).filter(|g| g.waiting > 0).map(|_| ())).await;
    }

    pub(super) async fn at_least(&self, n: usize) -> Vec<Seen> {
        self.until(|inner| (inner.requests.len() >= n).then(|| inner.requests.clone())).await
    }

    pub(super) async fn ended(&self, number: usize) -> Ended {
        self.until(|inner| inner.requests.get(number).map(|r| r.ended).filter(|e| *e != Ended::Open)).await
    }

    /// Takes a request in: finds its step, keeps it, and says what to do.
    pub(super) fn take(self: &Arc<Self>, mut seen: Seen) -> (Verdict, Exchange) {
        let mut inner = self.lock();
        let script = Arc::clone(&inner.script);
        let (path, _) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        let json = serde_json::from_str(&seen.body).unwrap_or_default();
        let asked = Asked { method: &seen.method, path, text: &seen.body, json };
        let number = inner.requests.len();
        let found = script.steps.iter().enumerate().position(|(i, step)| {
            let left = step.limit().is_none_or(|limit| inner.used[i] < limit);
            left && asked.satisfies(&step.when)
        });
        let verdict = match found {
            None => Verdict::NoStep,
            Some(i) => {
                inner.used[i] += 1;
                decide(&script.steps[i].reply, &asked, number)
            }
        };
        seen.number = number;
        seen.step = found;
        inner.requests.push(seen);
        let generation = inner.generation;
        drop(inner);
        self.changed.notify_waiters();
        (verdict, Exchange { upstream: Arc::clone(self), number, generation, finished: false })
    }

    /// Returns what `look` finds, looking again at every change.
    async fn until<T>(&self, look: impl Fn(&mut Inner) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let found = look(&mut self.lock());
            match found {
                Some(found) => return found,
                None => changed.await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn decide(reply: &Reply, asked: &Asked<'_>, number: usize) -> Verdict {
    if reply.hangup {
        return Verdict::HangUp;
    }
    Verdict::Answer { rendered: render(reply, asked, number), headers: reply.headers.clone(), hold: reply.hold.clone() }
}

impl Exchange {
    /// Waits at a gate for one permit; false when a reset came first.
    pub(super) async fn pass(&self, gate: &str) -> bool {
        let generation = self.generation;
        {
            let mut inner = self.upstream.lock();
            if inner.generation != generation {
                return false;
            }
            inner.gates.entry(gate.to_owned()).or_default().waiting += 1;
        }
        let _standing = Standing { exchange: self, gate };
        self.upstream.changed.notify_waiters();
        let passed = self.upstream.until(|inner| {
            if inner.generation != generation {
                return Some(false);
            }
            let gate = inner.gates.get_mut(gate)?;
            gate.permits = gate.permits.checked_sub(1)?;
            Some(true)
        });
        passed.await
    }

    /// Keeps how the answer ended.
    pub(super) fn finish(&mut self, ended: Ended) {
        self.finished = true;
        let mut inner = self.upstream.lock();
        if inner.generation == self.generation
            && let Some(seen) = inner.requests.get_mut(self.number)
        {
            seen.ended = ended;
        }
        drop(inner);
        self.upstream.changed.notify_waiters();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.finished {
            self.finish(Ended::Abandoned);
        }
    }
}

/// One who stands at a gate; counts itself out when it passes or leaves.
struct Standing<'a> {
    exchange: &'a Exchange,
    gate: &'a str,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        let mut inner = self.exchange.upstream.lock();
        if inner.generation == self.exchange.generation
            && let Some(gate) = inner.gates.get_mut(self.gate)
        {
            gate.waiting = gate.waiting.saturating_sub(1);
        }
    }
}
