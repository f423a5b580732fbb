//! Asking the lines of a batch, a few at a time.
//!
//! The places are those of all batches of this process. Invariants: a line has a place while it is asked and none
//! while it waits to be asked again; what was answered by the same moment is written in one transaction.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use frontdesk_api::{Cx, Result};
use frontdesk_store::batch_lines::{self, OpenLine};
use futures::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Again, Answer, Batches, Endpoint, JobState, Outcome,
    work::{Next, Work},
};

/// Lines fetched at a time.
const AHEAD: i64 = 64;

/// How often a line is asked whose provider is out of capacity; with waits that double up to [`LONGEST_WAIT`] that is
/// about a quarter of an hour.
const MOST_TRIES: u32 = 12;

/// The longest wait before a line is asked again, unless the provider names a longer one.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Why nothing more is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Cancelled,
    Expired,
    Closing,
}

impl Work {
    /// Asks every line that has no outcome, and settles what becomes of those that are not asked any more.
    pub(crate) async fn ask(&mut self) -> Result<Next> {
        let (batches, signals) = (self.batches.clone(), self.signals.clone());
        let inner = &batches.0;
        let (mut ahead, mut after, mut more) = (VecDeque::<OpenLine>::new(), -1, true);
        let mut asked = FuturesUnordered::new();
        let (mut stop, stopped) = (None, CancellationToken::new());
        loop {
            // Timers are coarse; nothing is asked after its time.
            if stop.is_none() && Instant::now() >= self.until {
                stop = Some(Stop::Expired);
                stopped.cancel();
            }
            if stop.is_none() && more && ahead.is_empty() {
                let lines = inner.store.tenant(&self.cx).open_lines(self.id(), after, AHEAD).await?;
                after = lines.last().map_or(after, |line| line.pos);
                more = !lines.is_empty();
                ahead.extend(lines);
            }
            if asked.is_empty() && (stop.is_some() || ahead.is_empty()) {
                break;
            }
            let mut heard = None;
            tokio::select! {
                biased;
                () = signals.lost.cancelled() => return Ok(Next::Lost),
                () = inner.cut.cancelled() => return Ok(Next::GiveBack),
                () = inner.closing.cancelled(), if stop.is_none() => heard = Some(Stop::Closing),
                () = signals.cancel.cancelled(), if stop.is_none() => heard = Some(Stop::Cancelled),
                () = sleep_until(self.until), if stop.is_none() => heard = Some(Stop::Expired),
                Some(first) = asked.next() => {
                    let mut answers = vec![first];
                    while let Some(Some(next)) = asked.next().now_or_never() {
                        answers.push(next);
                    }
                    if self.note(answers).await? == Next::Lost {
                        return Ok(Next::Lost);
                    }
                }
                // Never closed, so never an error.
                Ok(place) = Arc::clone(&inner.places).acquire_owned(),
                    if stop.is_none() && !ahead.is_empty() && asked.len() < inner.pace.lines_at_once =>
                {
                    let Some(line) = ahead.pop_front() else { continue };
                    let (cx, endpoint) = (self.asker(line.pos), self.request.endpoint);
                    asked.push(Box::pin(ask(batches.clone(), cx, endpoint, line, place, stopped.clone())));
                }
            }
            if heard.is_some() {
                stop = heard;
                stopped.cancel();
            }
        }
        match stop {
            None => self.settle(JobState::Completed, Outcome::Succeeded).await,
            Some(Stop::Cancelled) => self.settle(JobState::Cancelled, Outcome::Cancelled).await,
            Some(Stop::Expired) => self.settle(JobState::Expired, Outcome::Expired).await,
            Some(Stop::Closing) => Ok(Next::GiveBack),
        }
    }

    /// Writes answers; those that were not given stay open.
    async fn note(&mut self, answers: Vec<(i64, Option<Answer>)>) -> Result<Next> {
        let answers: Vec<(i64, Answer)> =
            answers.into_iter().filter_map(|(pos, answer)| Some((pos, answer?))).collect();
        for (_, answer) in &answers {
            let count = if answer.succeeded { &mut self.progress.succeeded } else { &mut self.progress.failed };
            *count += 1;
        }
        let id = self.id().to_owned();
        let Some(mut tx) = self.write().await? else { return Ok(Next::Lost) };
        for (pos, answer) in &answers {
            if !batch_lines::answer(&mut tx, &id, *pos, answer).await? {
                // Only another owner could have.
                return Ok(Next::Lost);
            }
        }
        tx.commit().await?;
        Ok(Next::GoOn)
    }
}

/// Asks one line, again and again while its provider is out of capacity; None when `stopped` came while it waited.
async fn ask(
    batches: Batches,
    cx: Cx,
    endpoint: Endpoint,
    line: OpenLine,
    place: OwnedSemaphorePermit,
    stopped: CancellationToken,
) -> (i64, Option<Answer>) {
    let inner = &batches.0;
    let (mut place, mut tries, mut wait) = (Some(place), 0, inner.pace.patience);
    loop {
        let (answer, again) = inner.lines.ask(&cx, endpoint, line.request.clone()).await;
        tries += 1;
        let Again::Later(named) = again else { return (line.pos, Some(answer)) };
        if tries == MOST_TRIES {
            return (line.pos, Some(answer));
        }
        drop(place.take());
        let rest = async {
            tokio::time::sleep(named.unwrap_or_default().max(wait)).await;
            Arc::clone(&inner.places).acquire_owned().await.ok()
        };
        let Some(again) = stopped.run_until_cancelled(rest).await else { return (line.pos, None) };
        place = again;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
