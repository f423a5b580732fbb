//! Leases kept, turns taken up: at start, when something is said, and every few seconds.
//!
//! Invariants: a process renews what it works on and nothing else; a turn that it holds and does not work on is let
//! go; a turn that it works on and does not hold is stopped. After [`Agents::shutdown`] nothing is begun, and what
//! still ran was given back or is found when its lease passes.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use frontdesk_api::{
    Cx, Principal, Result, Scope,
    dispatch::Word,
    turn::{StepState, TurnState},
};
use frontdesk_store::{Dialect, agents, claims::Claimed};
use futures::StreamExt as _;
use tokio::{sync::OwnedSemaphorePermit, time::MissedTickBehavior};
use tracing::Instrument as _;

use crate::{
    Agents, Note, Room,
    close::close_rows,
    halt::failed,
    running::{Stop, Why},
    worker,
};

/// How long turns get to be given back once they were told to stop.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How often a process that stops looks whether anyone still follows a turn.
const LOOK: Duration = Duration::from_millis(20);

/// Turns that are claimed in one statement.
const AT_ONCE: usize = 16;

impl Agents {
    /// Works, in the background, on every turn that nobody works on, from now until [`Agents::shutdown`]; a process
    /// whose [`crate::Bounds`] leave no place for turns only follows them. Call once, before the first turn. On SQLite
    /// no other process can hold a turn, so every running one is taken at once; on Postgres those whose lease has
    /// passed. How many an earlier process held, on SQLite; 0 on Postgres.
    ///
    /// # Errors
    /// What reading and writing rows can bring.
    pub async fn recover(&self) -> Result<u64> {
        let room = &self.0;
        let alone = room.deps.store.dialect() == Dialect::Sqlite;
        tracing::info!(worker = room.owner, places = room.deps.bounds.at_once, "looking after turns");
        let left = if alone { room.deps.store.system().end_turn_leases().await? } else { 0 };
        tokio::spawn(Box::pin(Arc::clone(room).keep()));
        tokio::spawn(Box::pin(Arc::clone(room).sweep()));
        tokio::spawn(Arc::clone(room).watch());
        Ok(left)
    }

    /// Lets no new turn begin, waits up to `grace` for those that run and those that are followed, then stops them; they
    /// are given back, and another process, or the next start, goes on with them. Streams of turns end then, wherever
    /// they are.
    pub async fn shutdown(&self, grace: Duration) {
        let room = &self.0;
        room.stopping.cancel();
        room.tasks.close();
        let ended = async {
            room.tasks.wait().await;
            // Those whose turns others work on.
            while !room.hub.followed().is_empty() {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(grace, ended).await.is_err() && !room.tasks.is_empty() {
            tracing::warn!(turns = room.tasks.len(), "turns are still running; they are given back");
            room.running.stop_all(Why::Shutdown);
            if tokio::time::timeout(LAST_WORDS, room.tasks.wait()).await.is_err() {
                tracing::error!(
                    turns = room.tasks.len(),
                    "turns could not be given back; they count as held until their leases pass"
                );
            }
        }
        room.closed.cancel();
    }
}

impl Room {
    async fn keep(self: Arc<Self>) {
        let mut words = self.deps.dispatch.listen();
        let mut tick = tokio::time::interval(self.deps.pace.renew);
        let mut look = tokio::time::interval(self.deps.pace.poll);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Leases first: after a time in which the whole process stood still, others take less of what runs here.
                // Each time is counted from the end of the work before, so that what is slow holds up nothing below it.
                biased;
                // Turns that are still ending keep their leases.
                () = self.closed.cancelled() => return,
                _ = tick.tick() => {
                    self.renew().await;
                    tick.reset();
                }
                Some(word) = words.next() => match word {
                    Word::Claimable => self.claim().await,
                    Word::Stop { tenant, turn } => self.running.stop(&tenant, &turn, Why::Asked),
                },
                _ = look.tick() => {
                    self.claim().await;
                    look.reset();
                }
                () = self.free.notified() => if self.backlog.load(Ordering::SeqCst) { self.claim().await },
            }
        }
    }

    /// Renews, and compares.
    async fn renew(&self) {
        if let Err(error) = self.renew_rows().await {
            tracing::warn!(error = %error, cause = ?error.source, "the leases of running turns could not be renewed");
        }
    }

    async fn renew_rows(&self) -> Result<()> {
        let working = self.running.working();
        let held = self.deps.store.system().renew_turns(self.lease()).await?;
        for turn in &held {
            if !self.running.has(&turn.tenant, &turn.id) {
                let cx = Cx::internal(&turn.tenant, "keeper");
                tracing::warn!(turn = turn.id, "the work on a turn broke off; it is taken up again");
                self.deps.store.tenant(&cx).drop_turn(&turn.id, turn.epoch).await?;
            } else if turn.cancel_requested {
                self.running.stop(&turn.tenant, &turn.id, Why::Asked);
            }
        }
        let held: HashSet<_> = held.into_iter().map(|turn| (turn.tenant, turn.id)).collect();
        // One that has ended meanwhile hears nothing of it.
        for (_, stop) in working.into_iter().filter(|(key, _)| !held.contains(key)) {
            stop.now(Why::Lost);
        }
        Ok(())
    }

    /// A place for one more turn, unless others stand in line for it.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        if self.backlog.load(Ordering::SeqCst) {
            return None;
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        if place.is_none() {
            self.backlog.store(true, Ordering::SeqCst);
        }
        place
    }

    /// Takes up turns that nobody works on, as many as there are places for.
    async fn claim(self: &Arc<Self>) {
        loop {
            let mut places = vec![];
            while places.len() < AT_ONCE
                && !self.stopping.is_cancelled()
                && let Ok(place) = Arc::clone(&self.places).try_acquire_owned()
            {
                places.push(place);
            }
            if places.is_empty() {
                // Whoever frees one says so.
                self.backlog.store(true, Ordering::SeqCst);
                return;
            }
            // Over all tenants: a process works for all of them.
            let limit = i64::try_from(places.len()).unwrap_or(i64::MAX);
            let claimed = match self.deps.store.system().claim_turns(self.lease(), limit).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::warn!(error = %error, cause = ?error.source, "turns without a worker could not be looked for");
                    return;
                }
            };
            let more = claimed.len() == places.len();
            for (claimed, place) in claimed.into_iter().zip(places) {
                self.take_up(claimed, Some(place));
            }
            self.backlog.store(more, Ordering::SeqCst);
            if !more {
                return;
            }
        }
    }

    /// Works on a turn that was claimed. Without a `place` of its own it works in that of the turn that waits for it.
    pub(crate) fn take_up(self: &Arc<Self>, claimed: Claimed, place: Option<OwnedSemaphorePermit>) {
        let (cx, turn) = (asker(&claimed), &claimed.stored.turn);
        let entered = Entered::new(self, &cx, &turn.id, place);
        entered.stop.begin();
        if claimed.stored.cancel_requested {
            entered.stop.now(Why::Asked);
        }
        tracing::info!(turn = turn.id, attempt = claimed.attempts, epoch = claimed.stored.epoch, "taking up a turn");
        if claimed.attempts > 1 {
            self.deps.observer.noted(Note::WorkerLost);
        }
        let (room, stop) = (Arc::clone(self), entered.stop.clone());
        let work = async move {
            let _entered = entered;
            let turn = claimed.stored.turn.clone();
            if claimed.attempts > room.deps.bounds.attempts {
                if let Err(error) = room.bury(&cx, claimed).await {
                    tracing::error!(turn = turn.id, error = %error, cause = ?error.source, "a turn could not be given up");
                }
                return;
            }
            let spec =
                async { agents::works_by(&mut room.deps.store.tenant(&cx).read().await?, &claimed.stored).await };
            match spec.await {
                Ok(spec) => Box::pin(worker::run(room, cx, spec, claimed, stop, None)).await,
                Err(error) => {
                    tracing::error!(turn = turn.id, error = %error, cause = ?error.source, "the agent of a turn cannot be read");
                }
            }
        };
        self.tasks.spawn_on(work.in_current_span(), &self.runtime);
    }

    /// Gives a turn up that was begun again and again and never got on: it may be what ends its workers.
    async fn bury(&self, cx: &Cx, claimed: Claimed) -> Result<()> {
        let (most, turn) = (self.deps.bounds.attempts, claimed.stored.turn.id.clone());
        let message = format!(
            "work on this turn was begun {most} times and each time its worker was lost before a step ended; send the message again"
        );
        let mut tx = self.deps.store.tenant(cx).write().await?;
        let error = failed("attempts_exhausted", message);
        let closed =
            close_rows(&mut tx, self, claimed.stored, StepState::Unknown, TurnState::DeadLetter, error).await?;
        tx.commit().await?;
        self.note_ended(cx, closed).await;
        tracing::error!(turn, attempts = most, "a turn was given up: its worker was lost again and again");
        Ok(())
    }

    /// Says something to those who work; who does not hear it looks by itself later.
    pub(crate) async fn tell(&self, word: Word) {
        if let Err(error) = self.deps.dispatch.tell(&word).await {
            tracing::debug!(error = %error, "the workers could not be told; they look by themselves");
        }
    }
}

/// Who asked for a turn, as its row has it. The client's own keys for providers are kept nowhere.
pub(crate) fn asker(claimed: &Claimed) -> Cx {
    let asked = &claimed.stored.request;
    let principal = Principal { key_id: asked.key_id.clone(), scopes: BTreeSet::from([Scope::Use]) };
    let mut cx = Cx::new(claimed.tenant.clone(), principal, asked.request.clone());
    cx.customer.clone_from(&asked.customer);
    cx
}

/// A turn in the list of those this process works on, with its place, for as long as this lives.
pub(crate) struct Entered {
    room: Arc<Room>,
    tenant: String,
    turn: String,
    pub(crate) stop: Stop,
}

impl Entered {
    pub(crate) fn new(room: &Arc<Room>, cx: &Cx, turn: &str, place: Option<OwnedSemaphorePermit>) -> Self {
        let stop = room.running.enter(&cx.tenant, turn);
        stop.take_place(place);
        Self { room: Arc::clone(room), tenant: cx.tenant.clone(), turn: turn.to_owned(), stop }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.room.running.leave(&self.tenant, &self.turn, &self.stop);
        // Free before it is said.
        self.stop.leave_place();
        self.room.free.notify_one();
    }
}
