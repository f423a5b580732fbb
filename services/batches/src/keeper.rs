//! Who works on which batch: claiming, renewing, shutting down.
//!
//! Invariants: a process renews what it works on and nothing else; after [`Batches::shutdown`] nothing is begun, and
//! what still ran gave its batch back or is found when its lease passes.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use frontdesk_api::Result;
use frontdesk_store::{
    Dialect,
    jobs::{Claimed, Claims, Held, Lease, Unreadable},
};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    Batches, Counts, JobState, Progress, Request,
    batch::{FILES, MESSAGES},
    sweep::LOOK,
    work::Work,
};

/// What is worked on here.
const KINDS: [&str; 2] = [FILES, MESSAGES];

/// How long batches get to be given back once they were told to stop.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// What a batch that is worked on hears from outside.
#[derive(Clone, Default)]
pub(crate) struct Signals {
    pub(crate) cancel: CancellationToken,
    /// Another process holds it by now.
    pub(crate) lost: CancellationToken,
}

/// The batches that this process works on, by tenant and id.
#[derive(Default)]
pub(crate) struct Running(Mutex<HashMap<(String, String), (i64, Signals)>>);

impl Running {
    fn with<T>(&self, f: impl FnOnce(&mut HashMap<(String, String), (i64, Signals)>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn cancel(&self, tenant: &str, id: &str) {
        self.with(|all| {
            if let Some((_, signals)) = all.get(&(tenant.to_owned(), id.to_owned())) {
                signals.cancel.cancel();
            }
        });
    }
}

/// One batch among the running ones for as long as it lives, however it ends.
struct Entered {
    batches: Batches,
    key: (String, String),
    epoch: i64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Unless it was lost and is back under a later epoch.
        self.batches.0.running.with(|all| {
            if all.get(&self.key).is_some_and(|(epoch, _)| *epoch == self.epoch) {
                all.remove(&self.key);
            }
        });
        self.batches.0.wake.notify_one();
    }
}

impl Batches {
    /// Works, in the background, on every batch that nobody works on, from now until [`Batches::shutdown`]. Call once
    /// on the main runtime. On SQLite no other process can be working, so every open batch is taken at once; on
    /// Postgres those whose lease has passed. How many batches were left over on SQLite; 0 on Postgres.
    ///
    /// # Errors
    /// As the database's.
    pub async fn recover(&self) -> Result<u64> {
        let Self(inner) = self;
        let alone = inner.store.dialect() == Dialect::Sqlite;
        let left = if alone { inner.store.system().end_job_leases().await? } else { 0 };
        // This process, as leases name it.
        let (batches, owner) = (self.clone(), inner.ids.next("proc"));
        inner.tasks.spawn(async move { batches.keep(&owner).await });
        Ok(left)
    }

    /// Batches that this process works on now.
    pub(crate) fn working(&self) -> usize {
        self.0.running.with(|all| all.len())
    }

    /// For the people who run the installation.
    #[must_use]
    pub fn tally(&self) -> Counts {
        self.0.tally.counts(self.working())
    }

    /// Lets nothing new be asked, waits up to `grace` for the lines that are being answered, then stops them. The
    /// batches are given back: the next process, or the next start, goes on with what has no answer.
    pub async fn shutdown(&self, grace: Duration) {
        let Self(inner) = self;
        inner.closing.cancel();
        inner.tasks.close();
        if timeout(grace, inner.tasks.wait()).await.is_ok() {
            return;
        }
        tracing::warn!("lines of batches are cut off; they are asked again after the next start");
        inner.cut.cancel();
        if timeout(LAST_WORDS, inner.tasks.wait()).await.is_err() {
            tracing::error!("batches could not be given back in time; they count as held until their leases pass");
        }
    }

    /// Ends when the room is closing and the last batch was given back.
    async fn keep(&self, owner: &str) {
        let Self(inner) = self;
        let mut tick = interval(inner.pace.renew);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let closing = inner.closing.is_cancelled();
            if closing && self.working() == 0 {
                return;
            }
            let done = tokio::select! {
                () = inner.closing.cancelled(), if !closing => Ok(()),
                () = inner.wake.notified() => self.claim(owner).await,
                _ = look.tick(), if !closing => {
                    let batches = self.clone();
                    inner.tasks.spawn(async move { batches.sweep().await });
                    Ok(())
                }
                _ = tick.tick() => match self.renew().await {
                    Ok(()) => self.claim(owner).await,
                    error => error,
                },
            };
            if let Err(error) = done {
                tracing::warn!(error = %error, cause = ?error.source, "batches could not be looked for or held");
            }
        }
    }

    async fn renew(&self) -> Result<()> {
        let Self(inner) = self;
        let now: Vec<(Held, Signals)> = inner.running.with(|all| {
            let held = |(key, (epoch, signals)): (&(String, String), &(i64, Signals))| {
                (Held { tenant: key.0.clone(), id: key.1.clone(), epoch: *epoch }, signals.clone())
            };
            all.iter().map(held).collect()
        });
        if now.is_empty() {
            return Ok(());
        }
        let (held, signals): (Vec<Held>, Vec<Signals>) = now.into_iter().unzip();
        let renewed = inner.store.system().renew_jobs(&held, micros(inner.pace.lease)).await?;
        for (passed, signals) in renewed.into_iter().zip(signals) {
            match passed {
                None => signals.lost.cancel(),
                Some(passed) if passed.cancel_requested => signals.cancel.cancel(),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Takes as many batches as there are places for.
    async fn claim(&self, owner: &str) -> Result<()> {
        let Self(inner) = self;
        if inner.closing.is_cancelled() {
            return Ok(());
        }
        // Over all tenants: a process works for all of them.
        let system = inner.store.system();
        let places = inner.pace.batches_at_once.saturating_sub(self.working());
        if places > 0 {
            let lease = Lease { owner, micros: micros(inner.pace.lease) };
            let limit = i64::try_from(places).unwrap_or(i64::MAX);
            let Claims { claimed, unreadable } = system.claim_jobs(KINDS, lease, limit, inner.clock.now()).await?;
            for claimed in claimed {
                self.begin(claimed);
            }
            for Unreadable { tenant, id, error } in unreadable {
                inner.tally.ended(JobState::Failed);
                tracing::error!(tenant, batch = id, %error, cause = ?error.source, "a batch cannot be read and has failed");
            }
        }
        inner.tally.waiting(system.count_waiting_jobs(KINDS).await?);
        Ok(())
    }

    fn begin(&self, claimed: Claimed<Request, Progress>) {
        let Self(inner) = self;
        let (key, epoch) = ((claimed.tenant.clone(), claimed.job.id.clone()), claimed.job.epoch);
        let signals = Signals::default();
        inner.running.with(|all| all.insert(key.clone(), (epoch, signals.clone())));
        let entered = Entered { batches: self.clone(), key, epoch };
        let work = Work::new(self.clone(), claimed, signals);
        let span = tracing::info_span!("batch", batch = work.id());
        let task = async move {
            work.run().await;
            drop(entered);
        };
        inner.tasks.spawn(task.instrument(span));
    }
}
