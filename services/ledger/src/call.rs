//! One call, from its reservation to its settlement.
//!
//! Tokens are what the provider counted. Where it never did, or an answer broke off after the last count, what passed
//! is estimated, four bytes of words or one event of a stream to a token, and the row says so. Invariant: whoever
//! holds a `Call` and drops it has settled it: its place in the channel was taken before anyone was asked.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use frontdesk_api::{
    Attempt, ChatEvent, Cx, Error, Frame, Kind, Micros, Result,
    attempt::Outcome,
    chat::{ReplyHead, Usage},
    cx::CancellationToken,
};
use frontdesk_store::usage::UsageRow;
use memchr::memmem;
use tokio::sync::mpsc::{OwnedPermit, error::TrySendError};

use crate::{Inner, price::Nano, purse::Purse, writer::Ask};

/// How long a call waits for its place while the database does not keep up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of words that make a token, by rule of thumb.
const BYTES: u64 = 4;

/// What an answer is taken to need while it is reserved, in tokens.
const ANSWER: u64 = 1_000;

/// The longest name of a model that is kept, in characters; a client can send any text as one.
const NAME: usize = 200;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    Error,
    /// Somebody asked for it to stop.
    Cancelled,
    /// Nobody waited for the answer any more.
    Disconnected,
    /// Another provider was asked at the same time and was quicker.
    Outrun,
    /// Nobody was asked: the answer had been kept.
    Hit,
    /// Nobody was asked: the answer is an equal call's too.
    Shared,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::Disconnected => "disconnected",
            Self::Outrun => "outrun",
            Self::Hit => "hit",
            Self::Shared => "shared",
        }
    }
}

/// A call that has ended, on its way into the books.
pub(crate) struct Settled {
    /// Makes the row's id, together with the writer's.
    pub(crate) number: u64,
    pub(crate) row: UsageRow,
    /// Other attempts of the same request that may have cost something.
    pub(crate) others: Vec<UsageRow>,
    /// Where the cost of all was taken from; None: there is none, or nobody knows it.
    pub(crate) purse: Option<Arc<Purse>>,
}

impl Settled {
    /// What all of it costs, as far as that is known.
    pub(crate) fn cost(&self) -> Nano {
        self.others.iter().filter_map(|row| row.cost).fold(self.row.cost.unwrap_or(0), Nano::saturating_add)
    }
}

/// A call under way.
pub(crate) struct Call {
    ledger: Arc<Inner>,
    /// None once settled.
    permit: Option<OwnedPermit<Settled>>,
    row: UsageRow,
    others: Vec<UsageRow>,
    began: Instant,
    cancel: CancellationToken,
    reserved: Option<(Arc<Purse>, Nano)>,
    /// Tokens of the prompt, by its length.
    prompt: u64,
    /// The provider's model, once somebody answered.
    model: Option<String>,
    /// The provider's last count, which is the whole count so far.
    counted: Option<Usage>,
    /// What passed since then, in bytes of words.
    since: u64,
    /// Nothing more is to come.
    whole: bool,
}

impl Inner {
    /// Begins a call of the model `asked`, with a prompt of about `bytes`.
    ///
    /// # Errors
    /// `Unavailable` when the books cannot take another call.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        cx: &Cx,
        operation: &'static str,
        asked: &str,
        bytes: usize,
    ) -> Result<Call> {
        let permit = self.place().await?;
        let now = self.clock.now();
        let prompt = u64::try_from(bytes).unwrap_or(u64::MAX) / BYTES;
        let guess = self.prices.guess(asked);
        let answer = if operation == "chat" { ANSWER } else { 0 };
        let likely = Usage { input_tokens: prompt, output_tokens: answer, ..Usage::default() };
        let cost = guess.and_then(|(provider, model)| self.prices.cost(provider, model, &likely, now));
        let reserved = cost.filter(|cost| *cost > 0).map(|cost| (self.purse(&cx.tenant), cost));
        if let Some((purse, cost)) = &reserved {
            self.take(purse, *cost);
        }
        let mut row = row(cx, operation, asked, now);
        if let Some((provider, model)) = guess {
            row.provider = Some(provider.to_owned());
            row.model = named(provider, model);
        }
        Ok(Call {
            ledger: Arc::clone(self),
            permit: Some(permit),
            row,
            others: Vec::new(),
            began: Instant::now(),
            cancel: cx.cancel.clone(),
            reserved,
            prompt,
            model: None,
            counted: None,
            since: 0,
            whole: false,
        })
    }

    /// A place in the channel for a settlement that is still to come.
    pub(crate) async fn place(&self) -> Result<OwnedPermit<Settled>> {
        let sender = match self.settled.clone().try_reserve_owned() {
            Ok(place) => return Ok(place),
            Err(TrySendError::Full(sender)) => sender,
            Err(TrySendError::Closed(_)) => return Err(unavailable("the server is stopping: ask again")),
        };
        match tokio::time::timeout(PATIENCE, sender.reserve_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(unavailable("the server is stopping: ask again")),
            Err(_) => Err(unavailable("too many calls wait to be booked, the database does not keep up: ask again")),
        }
    }

    fn take(&self, purse: &Arc<Purse>, cost: Nano) {
        if purse.take(cost) {
            // Nobody listens once the books are closed, and then no lease is needed.
            let _ = self.asks.send(Ask::Lease(Arc::clone(purse)));
        }
    }
}

impl Call {
    /// Somebody answers.
    pub(crate) fn answered(&mut self, head: &ReplyHead) {
        self.others = head.effort.others.iter().filter_map(|attempt| self.other(attempt)).collect();
        self.asked(&head.provider, &head.model);
        self.model = Some(head.model.clone());
    }

    /// Who was asked last.
    fn asked(&mut self, provider: &str, model: &str) {
        self.row.provider = Some(provider.to_owned());
        self.row.model = named(provider, model);
    }

    /// The row of another attempt of this request; None: it cost nothing.
    fn other(&self, attempt: &Attempt) -> Option<UsageRow> {
        let status = match attempt.outcome {
            Outcome::Outrun => Status::Outrun,
            Outcome::Failed(kind) if attempt.usage.is_none() && !may_cost(kind) => return None,
            Outcome::Failed(_) => Status::Error,
        };
        let estimate = Usage { input_tokens: self.prompt, ..Usage::default() };
        let mut row = UsageRow {
            provider: Some(attempt.provider.clone()),
            model: named(&attempt.provider, &attempt.model),
            status: status.as_str(),
            estimated: attempt.usage.is_none(),
            latency_us: i64::try_from(attempt.took.as_micros()).unwrap_or(i64::MAX),
            ..self.row.clone()
        };
        let usage = attempt.usage.unwrap_or(estimate);
        row.cost = self.ledger.prices.cost(&attempt.provider, &attempt.model, &usage, row.created_at);
        count(&mut row, &usage);
        Some(row)
    }

    /// Looks at a piece of the answer. `whole`: the answer is one JSON text, not a stream.
    pub(crate) fn see(&mut self, frame: &Frame, whole: bool) {
        if self.row.first_us.is_none() {
            self.row.first_us = Some(micros(self.began));
        }
        self.whole = whole;
        let mut read = false;
        for event in &frame.events {
            let words = match event {
                ChatEvent::Usage(usage) => {
                    (self.counted, self.since, read) = (Some(*usage), 0, true);
                    continue;
                }
                ChatEvent::Text { text, .. } | ChatEvent::Reasoning { text, .. } | ChatEvent::Refusal { text, .. } => {
                    text
                }
                ChatEvent::ToolCall { arguments, .. } => arguments,
                _ => continue,
            };
            (self.since, read) = (self.since + length(words.len()), true);
        }
        if !read {
            self.since += passed(&frame.raw, whole);
        }
    }

    /// Settles an answer that came at once. `counted`: the provider's own count.
    pub(crate) fn done(mut self, provider: &str, model: &str, others: &[Attempt], counted: Option<Usage>) {
        self.others = others.iter().filter_map(|attempt| self.other(attempt)).collect();
        self.asked(provider, model);
        self.model = Some(model.to_owned());
        self.counted = counted;
        self.settle(Status::Ok);
    }

    /// Settles a call that went wrong. One whose name led to nobody called no model: it is no row, and any name at all a client
    /// could think of would be one.
    pub(crate) fn failed(mut self, error: &Error) {
        let of_the_name = error.kind == Kind::Invalid && error.param.as_deref() == Some("model");
        if error.attempts().is_empty() && (error.kind == Kind::NotFound || of_the_name) {
            self.permit = None;
            if let Some((purse, reserved)) = self.reserved.take() {
                purse.put(reserved);
            }
            return;
        }
        self.fail(error);
    }

    /// As [`Call::failed`], of one that is still held.
    pub(crate) fn fail(&mut self, error: &Error) {
        let status = match error.kind {
            Kind::Cancelled => Status::Cancelled,
            _ => Status::Error,
        };
        if self.model.is_none() {
            let counted = match error.attempts().split_last() {
                // The last one's failure is this error.
                Some((last, before)) => {
                    self.others = before.iter().filter_map(|attempt| self.other(attempt)).collect();
                    self.asked(&last.provider, &last.model);
                    self.model = Some(last.model.clone());
                    last.usage
                }
                None => None,
            };
            let nothing = || (!may_cost(error.kind)).then(Usage::default);
            self.counted = counted.or_else(nothing);
        }
        self.settle(status);
    }

    /// Settles it, once.
    pub(crate) fn settle(&mut self, status: Status) {
        let Some(permit) = self.permit.take() else { return };
        let (usage, estimated) = self.usage(status == Status::Ok);
        let mut row = std::mem::take(&mut self.row);
        let spent = usage != Usage::default();
        let model = self.model.as_deref().or_else(|| Some(row.model.split_once('/')?.1));
        row.cost = match (&row.provider, model) {
            _ if !spent => Some(0),
            (Some(provider), Some(model)) => self.ledger.prices.cost(provider, model, &usage, row.created_at),
            _ => None,
        };
        row.status = status.as_str();
        row.estimated = estimated;
        count(&mut row, &usage);
        row.latency_us = micros(self.began);
        let number = self.ledger.next.fetch_add(1, Ordering::Relaxed);
        let mut settled = Settled { number, row, others: std::mem::take(&mut self.others), purse: None };
        self.pay(&mut settled);
        permit.send(settled);
    }

    /// Exchanges the reservation for the cost.
    fn pay(&mut self, settled: &mut Settled) {
        let (cost, reserved) = (settled.cost(), self.reserved.take());
        if let Some((purse, reserved)) = &reserved {
            purse.put(*reserved);
        }
        if cost > 0 {
            let purse = reserved.map_or_else(|| self.ledger.purse(&settled.row.tenant), |(purse, _)| purse);
            self.ledger.take(&purse, cost);
            settled.purse = Some(purse);
        }
    }

    /// The tokens, and whether some are estimated. `ended`: the answer came to its end.
    fn usage(&self, ended: bool) -> (Usage, bool) {
        let since = self.since.div_ceil(BYTES);
        match self.counted {
            Some(usage) if ended || since == 0 => (usage, false),
            Some(usage) => (Usage { output_tokens: usage.output_tokens.saturating_add(since), ..usage }, true),
            None => (Usage { input_tokens: self.prompt, output_tokens: since, ..Usage::default() }, true),
        }
    }
}

/// Nobody waits for the answer any more.
impl Drop for Call {
    fn drop(&mut self) {
        let status = match (self.whole, self.cancel.is_cancelled()) {
            (true, _) => Status::Ok,
            (false, true) => Status::Cancelled,
            (false, false) => Status::Disconnected,
        };
        self.settle(status);
    }
}

/// A call's row before anything came of it.
pub(crate) fn row(cx: &Cx, operation: &'static str, asked: &str, now: Micros) -> UsageRow {
    let asked = printable(asked).into_owned();
    UsageRow {
        tenant: cx.tenant.clone(),
        created_at: now,
        operation,
        request_id: cx.request.clone(),
        key_id: cx.principal.key_id.clone(),
        agent_id: cx.agent.clone(),
        session_id: cx.session.clone(),
        turn_id: cx.turn.clone(),
        model: asked.clone(),
        asked,
        status: Status::Ok.as_str(),
        ..UsageRow::default()
    }
}

/// Whether a failure of this kind may still have cost something: nobody knows how far the provider got, so it has read
/// the prompt. Other failures are refusals, which cost nothing.
fn may_cost(kind: Kind) -> bool {
    matches!(kind, Kind::Cancelled | Kind::Timeout)
}

fn count(row: &mut UsageRow, usage: &Usage) {
    row.input_tokens = number(usage.input_tokens);
    row.cached_input_tokens = number(usage.cached_input_tokens);
    row.cache_write_tokens = number(usage.cache_write_tokens);
    row.long_cache_write_tokens = number(usage.long_cache_write_tokens);
    row.output_tokens = number(usage.output_tokens);
    row.reasoning_tokens = number(usage.reasoning_tokens);
}

/// What went past unread, in bytes of words: an event of a stream carries one token or so.
fn passed(raw: &[u8], whole: bool) -> u64 {
    if whole {
        return length(raw.len());
    }
    let ends = raw.trim_ascii_end().ends_with(b"[DONE]");
    length(memmem::find_iter(raw, b"data:").count().saturating_sub(usize::from(ends))) * BYTES
}

fn unavailable(message: &str) -> Error {
    Error::unavailable(message).with_retry_after(Duration::from_secs(1))
}

/// `provider/model`.
pub(crate) fn named(provider: &str, model: &str) -> String {
    [provider, "/", &printable(model)].concat()
}

/// A name as both databases can keep it.
fn printable(name: &str) -> Cow<'_, str> {
    // Most names are.
    if name.len() <= NAME && name.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.chars().filter(|c| !c.is_control()).take(NAME).collect())
}

pub(crate) fn micros(from: Instant) -> i64 {
    i64::try_from(from.elapsed().as_micros()).unwrap_or(i64::MAX)
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn number(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}
