//! Asks the targets of a way until one answers: again where that helps, then the next, two at once where that is wanted.
//!
//! The one path for every kind of call; what a call is and when it counts as answered is its own affair. Invariants:
//! nobody is asked after the caller left or the deadline passed; retries and hedges stay within the way's budget; every
//! attempt is told, in the answer or in the error.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use frontdesk_api::{Attempt, Cx, Effort, Error, Kind, Result, attempt::Outcome, chat::Usage};
use futures::{
    FutureExt,
    future::{BoxFuture, Either, select, select_all},
};

use crate::{
    breaker::Admission,
    line::Line,
    policy::millis,
    ticket::Ticket,
    time::{Dice, Time},
    verdict,
    way::{Target, Way},
};

/// After how long a client may try again that found every place taken.
const SOON: Duration = Duration::from_secs(1);

/// One request on its way through a route.
pub(crate) struct Ask<'a> {
    pub(crate) way: &'a Way,
    /// With the route's deadline.
    pub(crate) cx: &'a Cx,
    pub(crate) time: &'a Arc<dyn Time>,
    pub(crate) dice: &'a Dice,
    /// Longest wait for one attempt.
    pub(crate) patience: Option<Duration>,
    /// After this, a second target is asked beside the first.
    pub(crate) hedge_after: Option<Duration>,
    pub(crate) log: Mutex<Vec<Attempt>>,
}

/// How a target is asked.
pub(crate) type Call<'a, T> = dyn Fn(Arc<Target>) -> BoxFuture<'a, Result<T, Box<Fault>>> + Send + Sync + 'a;

/// A call that failed, and what it is known to have cost.
pub(crate) struct Fault {
    pub(crate) error: Error,
    pub(crate) usage: Option<Usage>,
}

impl From<Error> for Box<Fault> {
    fn from(error: Error) -> Self {
        let usage = error.attempts().last().and_then(|attempt| attempt.usage);
        Self::new(Fault { error, usage })
    }
}

/// An answer, from whom, and what it took.
pub(crate) struct Answered<T> {
    pub(crate) value: T,
    /// To be kept until the answer has ended.
    pub(crate) ticket: Ticket,
    pub(crate) effort: Effort,
}

/// An answer, from whom, and how long its beginning took.
type Tried<T> = Result<(T, Ticket, Duration)>;

impl Ask<'_> {
    /// `seed`: what the order of equal targets is drawn from.
    ///
    /// # Errors
    /// The last target's; `Unavailable` with the code `no_capacity` where all places stayed taken.
    pub(crate) async fn ask<T: Send>(self, seed: u64, call: &Call<'_, T>) -> Result<Answered<T>> {
        self.way.budget.deposit();
        let tried = self.along(seed, call).await;
        let log = self.log.into_inner().unwrap_or_else(PoisonError::into_inner);
        match tried {
            Ok((value, ticket, took)) => Ok(Answered { value, ticket, effort: Effort { took, others: log } }),
            Err(error) => Err(error.with_tried(log)),
        }
    }

    async fn along<T: Send>(&self, seed: u64, call: &Call<'_, T>) -> Tried<T> {
        let mut line = Line::new(self.way, seed, self.time, self.cx.deadline);
        let mut last = None;
        while let Some(ticket) = line.next() {
            let tried = match self.hedge_after {
                Some(after) => self.two(ticket, after, &mut line, call).await,
                None => self.one(ticket, call).await,
            };
            match tried {
                Err(e) if verdict::of(&e).elsewhere && !self.over() => last = Some(e),
                tried => return tried,
            }
        }
        let mut full = line.full;
        let until = self.time.now() + millis(self.way.timeouts.queue_ms);
        while let Some((at, ticket)) = self.queue(&full, until).await? {
            match self.one(ticket, call).await {
                Err(e) if verdict::of(&e).elsewhere && !self.over() => last = Some(e),
                tried => return tried,
            }
            // Others whose places were taken may have one by now.
            full.remove(at);
        }
        Err(last.unwrap_or_else(|| self.full()))
    }

    /// Whether nobody is to be asked any more.
    fn over(&self) -> bool {
        self.cx.cancel.is_cancelled() || self.cx.deadline.is_some_and(|at| at <= self.time.now())
    }

    /// Asks one target, again where its failure is worth that.
    async fn one<T>(&self, mut ticket: Ticket, call: &Call<'_, T>) -> Tried<T> {
        let mut bound = millis(self.way.retries.backoff_ms);
        let mut left = self.way.retries.max;
        loop {
            let began = self.time.now();
            let fault = match self.once(&ticket.target, call).await {
                Ok(value) => {
                    ticket.succeeded();
                    return Ok((value, ticket, self.time.now().saturating_duration_since(began)));
                }
                Err(fault) => fault,
            };
            ticket.failed(&fault.error);
            let error = self.note(&ticket.target, began, *fault);
            if left == 0 || !verdict::of(&error).again || self.over() {
                return Err(error);
            }
            let Some(wait) = self.wait(bound, error.retry_after) else { return Err(error) };
            if self.better_elsewhere(&ticket.target, wait) {
                return Err(error);
            }
            if !self.way.budget.withdraw() {
                tracing::warn!(route = self.way.id, "the budget for retries is used up");
                return Err(error);
            }
            self.pause(wait).await?;
            left -= 1;
            bound = bound.saturating_mul(2).min(millis(self.way.retries.max_backoff_ms));
        }
    }

    /// Asks a target once, within the limit of patience and the time for all of the answer.
    async fn once<T>(&self, target: &Arc<Target>, call: &Call<'_, T>) -> Result<T, Box<Fault>> {
        let answer = call(Arc::clone(target));
        let left = self.cx.deadline.map(|at| at.saturating_duration_since(self.time.now()));
        let Some(limit) = self.patience.into_iter().chain(left).min() else { return answer.await };
        match select(answer, self.time.sleep(limit)).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err(self.late(target, limit, Some(limit) == left).into()),
        }
    }

    fn late(&self, target: &Target, limit: Duration, of_all: bool) -> Error {
        let provider = &target.provider;
        if of_all {
            let message = format!("provider '{provider}': the time for the answer was over before it came");
            return Error::new(Kind::Timeout, message).with_code("deadline");
        }
        let message = format!("provider '{provider}' sent nothing of its answer within {} ms", limit.as_millis());
        Error::new(Kind::Timeout, message).with_code("first_token_timeout")
    }

    /// How long to wait before the next attempt on the same target: a random time, or what the target asked for. None:
    /// that is longer than the route waits, or than there is time.
    fn wait(&self, bound: Duration, retry_after: Option<Duration>) -> Option<Duration> {
        let longest = millis(self.way.retries.max_backoff_ms);
        let jitter = self.dice.up_to(bound.min(longest));
        let wait = match retry_after {
            // Those who were told the same moment do not come back in it together.
            Some(after) if after <= longest => after + jitter.min(after / 4),
            Some(_) => return None,
            None => jitter,
        };
        let in_time = self.cx.deadline.is_none_or(|at| self.time.now() + wait < at);
        in_time.then_some(wait)
    }

    /// Whether the target's breaker will still be open after `wait`, and there are others.
    fn better_elsewhere(&self, target: &Target, wait: Duration) -> bool {
        let now = self.time.now();
        self.way.targets.len() > 1 && target.breaker.shut_until(now).is_some_and(|until| until > now + wait)
    }

    async fn pause(&self, span: Duration) -> Result<()> {
        let slept = self.time.sleep(span);
        tokio::select! {
            biased;
            () = self.cx.cancel.cancelled() => Err(Error::cancelled()),
            () = slept => Ok(()),
        }
    }

    /// Asks one target and, where it stays silent, the next one too; the first to answer is taken.
    async fn two<T: Send>(&self, first: Ticket, after: Duration, line: &mut Line<'_>, call: &Call<'_, T>) -> Tried<T> {
        let (one_began, one_target) = (self.time.now(), Arc::clone(&first.target));
        let one = pin!(self.one(first, call));
        let one = match select(one, self.time.sleep(after)).await {
            Either::Left((tried, _)) => return tried,
            Either::Right(((), one)) => one,
        };
        if line.is_over() {
            return one.await;
        }
        // Before the second one leaves the line: where the first fails, it is still to be asked.
        if !self.way.budget.withdraw() {
            tracing::warn!(route = self.way.id, "the budget for retries and hedges is used up");
            return one.await;
        }
        let Some(second) = line.next() else { return one.await };
        tracing::debug!(
            route = self.way.id,
            provider = second.target.provider,
            "asking a second target beside the first"
        );
        let (two_began, two_target) = (self.time.now(), Arc::clone(&second.target));
        let two = pin!(self.one(second, call));
        match select(one, two).await {
            Either::Left((Ok(answer), _)) => {
                self.outrun(&two_target, two_began);
                Ok(answer)
            }
            Either::Right((Ok(answer), _)) => {
                self.outrun(&one_target, one_began);
                Ok(answer)
            }
            Either::Left((Err(e), two)) if verdict::of(&e).elsewhere => two.await,
            Either::Right((Err(e), one)) if verdict::of(&e).elsewhere => one.await,
            // What is wrong is the request: the other would say the same.
            Either::Left((Err(e), _)) => Err(self.dropped(&two_target, two_began, e)),
            Either::Right((Err(e), _)) => Err(self.dropped(&one_target, one_began, e)),
        }
    }

    /// Waits for a place at one of these until `until`, and says at which of them. None: none came free in time.
    ///
    /// # Errors
    /// `Cancelled`; `Timeout` with the code `deadline` where the time for the whole answer is over before that.
    async fn queue(&self, full: &[usize], until: Instant) -> Result<Option<(usize, Ticket)>> {
        if full.is_empty() || self.way.timeouts.queue_ms == 0 {
            return Ok(None);
        }
        let waits = full.iter().map(|i| {
            let target = &self.way.targets[*i];
            Arc::clone(&target.gate).wait().map(move |place| (target, place)).boxed()
        });
        let ends = self.cx.deadline.filter(|deadline| *deadline <= until);
        let longest = self.time.sleep(ends.unwrap_or(until).saturating_duration_since(self.time.now()));
        tokio::select! {
            biased;
            () = self.cx.cancel.cancelled() => Err(Error::cancelled()),
            ((target, place), at, _) = select_all(waits) => {
                Ok(Some((at, Ticket::new(target, place, Admission::Go, self.time, self.cx.deadline))))
            }
            () = longest => match ends {
                Some(_) => {
                    let message = format!("the time for the answer was over before '{}' had a free place", self.way.id);
                    Err(Error::new(Kind::Timeout, message).with_code("deadline"))
                }
                None => Ok(None),
            },
        }
    }

    fn full(&self) -> Error {
        let message = format!("every target of '{}' is as busy as it may be (max_in_flight)", self.way.id);
        Error::unavailable(message).with_code("no_capacity").with_retry_after(SOON)
    }

    /// Writes a failed attempt down.
    fn note(&self, target: &Target, began: Instant, fault: Fault) -> Error {
        let Fault { error, usage } = fault;
        let took = self.time.now().saturating_duration_since(began);
        let (route, us) = (&self.way.id, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        let Target { provider, upstream_id: model, .. } = target;
        let verdict = verdict::of(&error);
        if verdict.misconfigured {
            tracing::error!(route, provider, model, us, error = %error, "a target refuses its credentials: mend its configuration");
        } else if verdict.elsewhere {
            tracing::warn!(route, provider, model, us, kind = ?error.kind, error = %error, "an attempt failed");
        }
        self.tell(target, Outcome::Failed(error.kind), took, usage);
        error
    }

    fn outrun(&self, target: &Target, began: Instant) {
        let took = self.time.now().saturating_duration_since(began);
        tracing::debug!(route = self.way.id, provider = target.provider, "a target was outrun by another");
        self.tell(target, Outcome::Outrun, took, None);
    }

    /// As [`Ask::outrun`], by a failure that ends the request: that one stays the last of the attempts.
    fn dropped(&self, target: &Target, began: Instant, error: Error) -> Error {
        self.outrun(target, began);
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let [.., failed, outrun] = &mut log[..] {
            std::mem::swap(failed, outrun);
        }
        error
    }

    fn tell(&self, target: &Target, outcome: Outcome, took: Duration, usage: Option<Usage>) {
        let (provider, model) = (target.provider.clone(), target.upstream_id.clone());
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push(Attempt { provider, model, outcome, took, usage });
    }
}
