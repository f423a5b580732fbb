//! One batch at work: read its input, ask its lines, finish.
//!
//! Each step is written before the next begins, so a batch that is claimed anew goes on at the step it was at.
//! Invariant: whoever no longer holds the batch stops at its next write and leaves no trace.

use std::time::Duration;

use frontdesk_api::{Cx, Error, Kind, Result, Scope, blobs::DAMAGED, cx::Principal};
use frontdesk_store::{
    Tx, batch_lines,
    jobs::{self, Claimed},
};
use tokio::time::Instant;

use crate::{
    Batches, Fault, JobState, NewLine, Outcome, Progress, Request, Stage, keeper::Signals, patience::Without,
    read::request_id,
};

/// How often a batch is begun without getting on before it counts as failed: it may be what ends the process that
/// works on it (memory), and without a limit it would end every one that starts.
const MOST_ATTEMPTS: i64 = 5;

/// Lines written in one transaction, so that on SQLite others get their turn in between.
const LINES_AT_ONCE: usize = 250;

/// Whether to go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    GoOn,
    /// Another process holds the batch, or it has ended.
    Lost,
    /// This process is stopping.
    GiveBack,
    /// It is tried again later, by whoever claims it then.
    PutAside,
}

pub(crate) struct Work {
    pub(crate) batches: Batches,
    /// The tenant's, for rows.
    pub(crate) cx: Cx,
    id: String,
    pub(crate) epoch: i64,
    attempts: i64,
    pub(crate) request: Request,
    pub(crate) progress: Progress,
    pub(crate) signals: Signals,
    /// When its time is over; now where it was when the batch was claimed.
    pub(crate) until: Instant,
    /// By how much its time was over then.
    pub(crate) late: Duration,
}

impl Work {
    pub(crate) fn new(batches: Batches, claimed: Claimed<Request, Progress>, signals: Signals) -> Self {
        let Claimed { tenant, job, left } = claimed;
        if job.cancel_requested_at.is_some() {
            signals.cancel.cancel();
        }
        Self {
            batches,
            cx: Cx::internal(tenant, "batch"),
            id: job.id,
            epoch: job.epoch,
            attempts: job.attempts,
            request: job.payload,
            progress: job.progress,
            signals,
            until: Instant::now() + Duration::from_micros(u64::try_from(left).unwrap_or(0)),
            late: Duration::from_micros(u64::try_from(left.saturating_neg()).unwrap_or(0)),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Works on the batch to its end, or until it is lost or given back. What goes wrong and will pass is logged; the
    /// batch is claimed again when its lease has passed.
    pub(crate) async fn run(mut self) {
        tracing::info!(stage = ?self.progress.stage, attempt = self.attempts, open = self.progress.open(), "working on a batch");
        let next = match self.steps().await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(error = %error, cause = ?error.source, "work on a batch broke off; it goes on when its lease has passed");
                return;
            }
        };
        match next {
            Next::GoOn => tracing::info!(state = ?self.progress.ending, "a batch has ended"),
            Next::Lost => tracing::info!("a batch is held by another process"),
            Next::PutAside => {}
            Next::GiveBack => {
                if let Err(error) = self.batches.0.store.tenant(&self.cx).give_back_job(&self.id, self.epoch).await {
                    tracing::warn!(error = %error, cause = ?error.source, "a batch could not be given back");
                }
            }
        }
    }

    async fn steps(&mut self) -> Result<Next> {
        if self.attempts > MOST_ATTEMPTS {
            return self.give_up().await;
        }
        if self.progress.stage == Stage::Reading {
            match self.read().await? {
                Next::GoOn => {}
                next => return Ok(next),
            }
        }
        if self.progress.stage == Stage::Asking {
            match self.ask().await? {
                Next::GoOn => {}
                next => return Ok(next),
            }
        }
        // One that failed while it was read has ended.
        if self.progress.stage == Stage::Finishing { self.finish().await } else { Ok(Next::GoOn) }
    }

    /// Opens a transaction behind the fence; None: the batch is lost.
    pub(crate) async fn write(&mut self) -> Result<Option<Tx>> {
        let mut tx = self.batches.0.store.tenant(&self.cx).write().await?;
        let Some(passed) = jobs::fence(&mut tx, &self.id, self.epoch, &self.progress).await? else { return Ok(None) };
        if passed.cancel_requested {
            self.signals.cancel.cancel();
        }
        Ok(Some(tx))
    }

    /// Reads the input file into lines. What is wrong with it ends the batch.
    async fn read(&mut self) -> Result<Next> {
        let (batches, endpoint) = (self.batches.clone(), self.request.endpoint);
        let Some(files) = self.request.files.clone() else { return Ok(Next::GoOn) };
        let cx = self.cx.clone();
        let open = async { batches.0.contents.open(&cx, &files.input, None).await?.whole().await };
        let content = match self.patiently("its input cannot be read", Duration::ZERO, open).await {
            Ok(Err(Without::Yet(next))) => return Ok(next),
            Ok(Err(Without::GivenUp { ending, error })) => {
                let message = format!("the input file could not be read in its time: {error}");
                return self.end(ending, vec![fault("input_file_unreachable", message)]).await;
            }
            Ok(Ok(content)) => content,
            Err(error) if error.kind == Kind::NotFound => {
                let message = format!("{error}: it was deleted before it was read");
                return self.fail(vec![fault("input_file_not_found", message)]).await;
            }
            Err(error) if error.code.as_deref() == Some(DAMAGED) => {
                return self.fail(vec![fault("input_file_damaged", error.message)]).await;
            }
            Err(error) => return Err(error),
        };
        let lines = batches.0.lines.clone();
        let read = tokio::task::spawn_blocking(move || lines.read(endpoint, &content)).await;
        match read.map_err(|e| Error::internal("could not read the input of a batch", e))? {
            Ok(lines) => self.put_in(&lines).await,
            Err(faults) => self.fail(faults).await,
        }
    }

    async fn put_in(&mut self, lines: &[NewLine]) -> Result<Next> {
        let id = self.id.clone();
        for (i, some) in lines.chunks(LINES_AT_ONCE).enumerate() {
            if self.batches.0.closing.is_cancelled() {
                return Ok(Next::GiveBack);
            }
            let Some(mut tx) = self.write().await? else { return Ok(Next::Lost) };
            let from = i64::try_from(i * LINES_AT_ONCE).unwrap_or(i64::MAX);
            batch_lines::add(&mut tx, &id, from, some).await?;
            tx.commit().await?;
        }
        self.progress.stage = Stage::Asking;
        self.progress.total = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        self.progress.in_progress_at = Some(self.batches.0.clock.now());
        let Some(tx) = self.write().await? else { return Ok(Next::Lost) };
        tx.commit().await?;
        Ok(Next::GoOn)
    }

    /// Gives every line an outcome; those without one get this. Then only the files are left to write.
    pub(crate) async fn settle(&mut self, ending: JobState, rest: Outcome) -> Result<Next> {
        let open = self.progress.open();
        match rest {
            Outcome::Succeeded => {}
            Outcome::Failed => self.progress.failed += open,
            Outcome::Cancelled => self.progress.cancelled += open,
            Outcome::Expired => self.progress.expired += open,
        }
        self.progress.ending = Some(ending);
        self.progress.stage = Stage::Finishing;
        self.progress.finalizing_at = Some(self.batches.0.clock.now());
        let id = self.id.clone();
        let Some(mut tx) = self.write().await? else { return Ok(Next::Lost) };
        if open > 0 {
            batch_lines::end_open(&mut tx, &id, rest).await?;
        }
        tx.commit().await?;
        self.batches.0.tally.lines(rest, open);
        Ok(Next::GoOn)
    }

    async fn give_up(&mut self) -> Result<Next> {
        let message = format!(
            "work on this batch was begun {MOST_ATTEMPTS} times without getting on: split it into smaller ones"
        );
        tracing::error!("{message}");
        let faults = vec![fault("server_error", message)];
        if self.progress.stage != Stage::Asking {
            return self.fail(faults).await;
        }
        self.progress.faults = faults;
        match self.settle(JobState::Failed, Outcome::Failed).await? {
            Next::GoOn => self.finish().await,
            next => Ok(next),
        }
    }

    async fn fail(&mut self, faults: Vec<Fault>) -> Result<Next> {
        self.end(JobState::Failed, faults).await
    }

    /// Ends the batch as a whole, without files.
    pub(crate) async fn end(&mut self, ending: JobState, faults: Vec<Fault>) -> Result<Next> {
        self.progress.faults = faults;
        self.progress.ending = Some(ending);
        let (id, now) = (self.id.clone(), self.batches.0.clock.now());
        let of_files = self.request.files.is_some();
        let Some(mut tx) = self.write().await? else { return Ok(Next::Lost) };
        if of_files {
            // Nobody can read them without its files.
            batch_lines::delete(&mut tx, &id).await?;
        }
        jobs::end(&mut tx, &id, ending, now).await?;
        tx.commit().await?;
        self.batches.0.tally.ended(ending);
        Ok(Next::GoOn)
    }

    /// Who asks for a line: the key that began the batch, by the line's own request id.
    pub(crate) fn asker(&self, pos: i64) -> Cx {
        let principal = Principal { key_id: self.request.key_id.clone(), scopes: [Scope::Use].into() };
        Cx::new(self.cx.tenant.clone(), principal, request_id(&self.id, pos))
    }
}

pub(crate) fn fault(code: &str, message: String) -> Fault {
    Fault { code: code.to_owned(), message, param: None, line: None }
}
