//! Asking the lines of a batch, a few at a time.
//!
//! The places are those of all batches of this process. Invariants: a line has a place while it is asked and none
//! while it waits to be asked again; what was answered by the same moment is written in one transaction; an answer that
//! was heard is let go of only once it is written, or another process holds the batch: where the database fails it is
//! kept and written again, and nothing new is asked meanwhile. One that the database will never take has failed, and
//! says why.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use frontdesk_api::{Cx, Error, Kind, Result};
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

/// Between attempts to reach the database, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Whether the database is in trouble, and until when it is left alone.
#[derive(Default)]
struct Trouble(Option<(Instant, Duration)>);

impl Trouble {
    fn until(&self) -> Option<Instant> {
        self.0.map(|(until, _)| until)
    }

    fn is_over(&self) -> bool {
        self.until().is_none_or(|until| Instant::now() >= until)
    }

    /// What was tried worked, or it is to be tried again later (None).
    ///
    /// # Errors
    /// Those that do not pass.
    fn hear<T>(&mut self, tried: Result<T>) -> Result<Option<T>> {
        let error = match tried {
            Ok(done) => {
                self.0 = None;
                return Ok(Some(done));
            }
            Err(error) if passes(&error) => error,
            lasting => return lasting.map(Some),
        };
        let wait = self.0.map_or(AGAIN.0, |(_, wait)| (wait * 2).min(AGAIN.1));
        self.0 = Some((Instant::now() + wait, wait));
        tracing::warn!(%error, cause = ?error.source, "a batch cannot be read or written for now; its answers are kept and written again");
        Ok(None)
    }
}

fn passes(error: &Error) -> bool {
    matches!(error.kind, Kind::Unavailable | Kind::Timeout | Kind::RateLimited)
}

impl Work {
    /// Asks every line that has no outcome, and settles what becomes of those that are not asked any more.
    pub(crate) async fn ask(&mut self) -> Result<Next> {
        let (batches, signals) = (self.batches.clone(), self.signals.clone());
        let inner = &batches.0;
        let (mut ahead, mut after, mut more) = (VecDeque::<OpenLine>::new(), -1, true);
        let (mut asked, mut heard) = (FuturesUnordered::new(), vec![]);
        let (mut stop, stopped, mut trouble) = (None, CancellationToken::new(), Trouble::default());
        loop {
            // Timers are coarse; nothing is asked after its time.
            if stop.is_none() && Instant::now() >= self.until {
                stop = Some(Stop::Expired);
                stopped.cancel();
            }
            if trouble.is_over() && !heard.is_empty() {
                let noted = match self.note(&heard).await {
                    Err(error) if !passes(&error) => self.note_each(&mut heard).await,
                    noted => noted,
                };
                match trouble.hear(noted)? {
                    Some(Next::GoOn) => heard.clear(),
                    Some(next) => return Ok(next),
                    None => {}
                }
            }
            if trouble.is_over() && stop.is_none() && more && ahead.is_empty() {
                let lines = inner.store.tenant(&self.cx).open_lines(self.id(), after, AHEAD).await;
                if let Some(lines) = trouble.hear(lines)? {
                    after = lines.last().map_or(after, |line| line.pos);
                    more = !lines.is_empty();
                    ahead.extend(lines);
                }
            }
            if asked.is_empty() && heard.is_empty() && (stop.is_some() || (ahead.is_empty() && !more)) {
                break;
            }
            let mut told = None;
            let (healed, calm) = (trouble.until(), trouble.until().is_none());
            let to_try = !heard.is_empty() || (stop.is_none() && more && ahead.is_empty());
            tokio::select! {
                biased;
                () = signals.lost.cancelled() => return Ok(Next::Lost),
                () = inner.cut.cancelled() => return Ok(Next::GiveBack),
                () = inner.closing.cancelled(), if stop.is_none() => told = Some(Stop::Closing),
                () = signals.cancel.cancelled(), if stop.is_none() => told = Some(Stop::Cancelled),
                () = sleep_until(self.until), if stop.is_none() => told = Some(Stop::Expired),
                Some(first) = asked.next() => {
                    heard.extend(answered(first));
                    while let Some(Some(next)) = asked.next().now_or_never() {
                        heard.extend(answered(next));
                    }
                }
                () = sleep_until(healed.unwrap_or(self.until)), if !calm && to_try => {}
                // Never closed, so never an error.
                Ok(place) = Arc::clone(&inner.places).acquire_owned(),
                    if calm && stop.is_none() && !ahead.is_empty() && asked.len() < inner.pace.lines_at_once =>
                {
                    let Some(line) = ahead.pop_front() else { continue };
                    let (cx, endpoint) = (self.asker(line.pos), self.request.endpoint);
                    asked.push(Box::pin(ask(batches.clone(), cx, endpoint, line, place, stopped.clone())));
                }
            }
            if told.is_some() {
                stop = told;
                stopped.cancel();
            }
        }
        match stop {
            Some(Stop::Closing) => Ok(Next::GiveBack),
            Some(Stop::Cancelled) => self.settle(JobState::Cancelled, Outcome::Cancelled).await,
            Some(Stop::Expired) if self.progress.open() > 0 => self.settle(JobState::Expired, Outcome::Expired).await,
            // Also one that was late with its last answers: it has them all.
            None | Some(Stop::Expired) => self.settle(JobState::Completed, Outcome::Succeeded).await,
        }
    }

    /// Writes answers. Done again after an error it changes nothing that was written already.
    async fn note(&mut self, answers: &[(i64, Answer)]) -> Result<Next> {
        let before = self.progress.clone();
        let good = answers.iter().filter(|(_, answer)| answer.succeeded).count();
        let [good, bad] = [good, answers.len() - good].map(|n| u64::try_from(n).unwrap_or(u64::MAX));
        self.progress.succeeded += good;
        self.progress.failed += bad;
        let noted = self.put_down(answers).await;
        match noted {
            Ok(Next::GoOn) => {
                let tally = &self.batches.0.tally;
                tally.lines(Outcome::Succeeded, good);
                tally.lines(Outcome::Failed, bad);
            }
            _ => self.progress = before,
        }
        noted
    }

    /// Writes answers one by one, those that the database will never take as failed. What was written is heard no more.
    async fn note_each(&mut self, heard: &mut Vec<(i64, Answer)>) -> Result<Next> {
        while let Some((pos, answer)) = heard.last().cloned() {
            let noted = match self.note(&[(pos, answer)]).await {
                Err(error) if !passes(&error) => {
                    tracing::error!(line = pos, %error, cause = ?error.source, "the answer to a line of a batch cannot be kept");
                    let (cx, endpoint) = (self.asker(pos), self.request.endpoint);
                    self.note(&[(pos, self.batches.0.lines.refused(&cx, endpoint, &error))]).await?
                }
                noted => noted?,
            };
            if noted != Next::GoOn {
                return Ok(noted);
            }
            heard.pop();
        }
        Ok(Next::GoOn)
    }

    async fn put_down(&mut self, answers: &[(i64, Answer)]) -> Result<Next> {
        let id = self.id().to_owned();
        let Some(mut tx) = self.write().await? else { return Ok(Next::Lost) };
        for (pos, answer) in answers {
            // False where a commit whose end was not heard did hold: behind the fence nobody else can have.
            batch_lines::answer(&mut tx, &id, *pos, answer).await?;
        }
        tx.commit().await?;
        Ok(Next::GoOn)
    }
}

/// What there is to write; those that were not answered stay open.
fn answered((pos, answer): (i64, Option<Answer>)) -> Option<(i64, Answer)> {
    Some((pos, answer?))
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
