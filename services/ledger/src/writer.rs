//! The one task that writes the books.
//!
//! The first settlement after a quiet moment wakes it; then it looks every [`WINDOW`] for what has gathered, until for
//! a while there was nothing: a call of a busy server wakes nobody. It books them many to a commit. A commit
//! that fails is repeated until it holds: ids and totals make that harmless. Invariants: a cost counts against a
//! slice in the very transaction that books its row; a lease is in the database before it is spent from memory.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use frontdesk_api::{Clock, Error, Kind, Micros, Result};
use frontdesk_store::{
    Store,
    usage::{SliceRow, UsageRow},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout_at},
};

use crate::{call::Settled, price::Nano, purse::Purse};

/// How long a settlement may wait for others to be booked with it: what a killed process may lose of the detail.
pub const WINDOW: Duration = Duration::from_millis(50);

/// So many looks that found nothing, and the writer sleeps until a settlement wakes it: two seconds.
const LOOKS: u32 = 40;

/// Rows in one commit.
const BATCH: usize = 1_000;

/// How long a slice is good for without a word of its process.
const LEASE: Duration = Duration::from_secs(60);

/// How often slices are looked at: renewed, or returned when nobody spends.
const BEAT: Duration = Duration::from_secs(20);

/// A slice that lasted less than this was too small.
const SHORT: Duration = Duration::from_secs(10);

/// Between attempts to write, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long calls under way, and a database in trouble, are waited for at the end.
const GRACE: Duration = Duration::from_secs(5);

/// What others want of the writer.
pub(crate) enum Ask {
    Lease(Arc<Purse>),
    Flush(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

/// See the module.
pub(crate) struct Writer {
    store: Store,
    clock: Arc<dyn Clock>,
    /// Begins the ids of this process's rows and slices.
    id: String,
    settled: mpsc::Receiver<Settled>,
    asks: mpsc::UnboundedReceiver<Ask>,
    /// Taken out of the channel and not booked yet.
    ready: Vec<Settled>,
    /// By tenant.
    slices: HashMap<String, Slice>,
    /// How many slices were opened.
    opened: u64,
    closing: Arc<Closing>,
}

/// Until when a database in trouble is waited for, once the books are being closed; before that, for ever. Whoever closes
/// them says so here, since the writer may be waiting for the database and hear nothing else.
#[derive(Default)]
pub(crate) struct Closing(OnceLock<Instant>);

impl Closing {
    pub(crate) fn begin(&self) {
        let _ = self.0.set(Instant::now() + 2 * GRACE);
    }

    fn is_over(&self) -> bool {
        self.0.get().is_some_and(|end| Instant::now() >= *end)
    }
}

/// A slice that is open.
struct Slice {
    purse: Arc<Purse>,
    id: String,
    leased: Nano,
    used: Nano,
    opened_at: Micros,
    leased_at: Instant,
    /// The last booking that cost something.
    spent_at: Instant,
    /// When its row was last written.
    written_at: Instant,
}

impl Writer {
    pub(crate) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        id: String,
        (settled, asks): (mpsc::Receiver<Settled>, mpsc::UnboundedReceiver<Ask>),
        closing: Arc<Closing>,
    ) -> Self {
        let (ready, slices) = (Vec::new(), HashMap::new());
        Self { store, clock, id, settled, asks, ready, slices, opened: 0, closing }
    }

    /// Works until the books are closed, or nobody holds them any more.
    pub(crate) async fn run(mut self) {
        let mut beat = interval_at(Instant::now() + BEAT, BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // When it looks next, and how often it has found nothing.
        let (mut due, mut idle): (Option<Instant>, u32) = (None, 0);
        loop {
            tokio::select! {
                biased;
                ask = self.asks.recv() => match ask {
                    Some(Ask::Lease(purse)) => self.lease(purse).await,
                    Some(Ask::Flush(tell)) => {
                        while self.book().await {}
                        let _ = tell.send(());
                    }
                    Some(Ask::Close(tell)) => {
                        self.finish().await;
                        let _ = tell.send(());
                        return;
                    }
                    None => return,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    idle = if self.settled.is_empty() && self.ready.is_empty() { idle + 1 } else { 0 };
                    let more = self.book().await;
                    due = match idle {
                        LOOKS => None,
                        _ if more => Some(Instant::now()),
                        _ => Some(Instant::now() + WINDOW),
                    };
                }
                first = self.settled.recv(), if due.is_none() => {
                    let Some(first) = first else { return };
                    self.ready.push(first);
                    (due, idle) = (Some(Instant::now() + WINDOW), 0);
                }
                _ = beat.tick() => self.look_after().await,
            }
        }
    }

    /// Books a batch of what has ended; true when there may be more.
    async fn book(&mut self) -> bool {
        while self.ready.len() < BATCH
            && let Ok(settled) = self.settled.try_recv()
        {
            self.ready.push(settled);
        }
        let more = self.ready.len() == BATCH;
        let mut touched = Vec::new();
        let mut rows = Vec::with_capacity(self.ready.len());
        for mut settled in std::mem::take(&mut self.ready) {
            let cost = settled.cost();
            if let Some(purse) = settled.purse.take() {
                let slice = self.slice(&purse);
                slice.used = slice.used.saturating_add(cost);
                slice.spent_at = Instant::now();
                // Spent before it was leased: it is leased now, and so never was more used than leased.
                let short = (slice.used - slice.leased).max(0);
                slice.leased += short;
                purse.put(short);
                if !touched.contains(&purse.tenant) {
                    touched.push(purse.tenant.clone());
                }
            }
            let Settled { number, mut row, others, .. } = settled;
            row.id = format!("{}_{number:012}", self.id);
            for (i, other) in others.into_iter().enumerate() {
                rows.push(UsageRow { id: format!("{}_{i}", row.id), ..other });
            }
            rows.push(row);
        }
        self.write(rows, &touched).await;
        more
    }

    /// Leases what a purse needs.
    async fn lease(&mut self, purse: Arc<Purse>) {
        let soon = self.slices.get(&purse.tenant).is_some_and(|slice| slice.leased_at.elapsed() < SHORT);
        let amount = purse.wanted(soon);
        let slice = self.slice(&purse);
        slice.leased = slice.leased.saturating_add(amount);
        (slice.leased_at, slice.spent_at) = (Instant::now(), Instant::now());
        self.write(vec![], std::slice::from_ref(&purse.tenant)).await;
        purse.leased(amount);
    }

    /// The tenant's open slice; a new one is not written yet.
    fn slice(&mut self, purse: &Arc<Purse>) -> &mut Slice {
        let (opened, id, clock) = (&mut self.opened, &self.id, &self.clock);
        self.slices.entry(purse.tenant.clone()).or_insert_with(|| {
            *opened += 1;
            let now = Instant::now();
            Slice {
                purse: Arc::clone(purse),
                id: format!("{id}_slice_{opened}"),
                leased: 0,
                used: 0,
                opened_at: clock.now(),
                leased_at: now,
                spent_at: now,
                written_at: now,
            }
        })
    }

    /// Renews the slices that are spent from and returns the others.
    async fn look_after(&mut self) {
        let (mut idle, mut quiet) = (Vec::new(), Vec::new());
        for (tenant, slice) in &self.slices {
            if slice.spent_at.elapsed() >= LEASE && slice.purse.empty(slice.leased - slice.used) {
                idle.push(tenant.clone());
            } else if slice.written_at.elapsed() >= BEAT {
                quiet.push(tenant.clone());
            }
        }
        self.give_back(&idle).await;
        self.write(vec![], &quiet).await;
    }

    /// Returns slices whose purses are empty.
    async fn give_back(&mut self, tenants: &[String]) {
        let rows: Vec<SliceRow> =
            tenants.iter().filter_map(|t| self.slices.remove(t).map(|slice| slice.row(t, true))).collect();
        self.persist(&[], &rows).await;
    }

    /// Books rows and the slices of these tenants as they stand.
    async fn write(&mut self, rows: Vec<UsageRow>, tenants: &[String]) {
        let mut slices = Vec::with_capacity(tenants.len());
        for tenant in tenants {
            if let Some(slice) = self.slices.get_mut(tenant) {
                slice.written_at = Instant::now();
                slices.push(slice.row(tenant, false));
            }
        }
        self.persist(&rows, &slices).await;
    }

    /// Writes until it holds. One row that the database refuses must not hold up all others, so then each is written
    /// alone; every other trouble is somebody's to mend, and what is to be written is kept until then.
    async fn persist(&self, rows: &[UsageRow], slices: &[SliceRow]) {
        if rows.is_empty() && slices.is_empty() {
            return;
        }
        let Err(error) = self.insist(rows, slices).await else { return };
        if !is_refusal(error.kind) || rows.len() + slices.len() == 1 {
            return unbooked(rows, slices, &error);
        }
        for row in rows {
            if let Err(error) = self.insist(std::slice::from_ref(row), &[]).await {
                unbooked(std::slice::from_ref(row), &[], &error);
            }
        }
        for slice in slices {
            if let Err(error) = self.insist(&[], std::slice::from_ref(slice)).await {
                unbooked(&[], std::slice::from_ref(slice), &error);
            }
        }
    }

    /// Tries until the database takes it.
    ///
    /// # Errors
    /// Its refusal; any other error once it is time to give up.
    async fn insist(&self, rows: &[UsageRow], slices: &[SliceRow]) -> Result<()> {
        let lease = Micros::try_from(LEASE.as_micros()).unwrap_or(Micros::MAX);
        let mut wait = AGAIN.0;
        loop {
            let Err(error) = self.store.system().book(rows, slices, lease).await else { return Ok(()) };
            if is_refusal(error.kind) || self.closing.is_over() {
                return Err(error);
            }
            let cause = error.source.as_ref().map(ToString::to_string);
            tracing::warn!(rows = rows.len(), %error, cause, "usage cannot be booked for now; it is kept and tried again");
            sleep(wait).await;
            wait = (wait * 2).min(AGAIN.1);
        }
    }

    /// Books everything, waits a little for calls under way, and returns what was set aside.
    async fn finish(&mut self) {
        let end = Instant::now() + GRACE;
        // No new call begins; those that have begun can still settle.
        self.settled.close();
        while let Ok(Some(settled)) = timeout_at(end, self.settled.recv()).await {
            self.ready.push(settled);
            if self.ready.len() >= BATCH {
                self.book().await;
            }
        }
        self.book().await;
        let mut rest = Vec::new();
        for (tenant, slice) in &self.slices {
            // A call that is not over by now keeps its slice open, as if the process had died with it.
            if slice.purse.empty(slice.leased - slice.used) {
                rest.push(tenant.clone());
            }
        }
        self.give_back(&rest).await;
    }
}

impl Slice {
    fn row(&self, tenant: &str, returned: bool) -> SliceRow {
        SliceRow {
            tenant: tenant.to_owned(),
            id: self.id.clone(),
            leased: self.leased,
            used: self.used,
            opened_at: self.opened_at,
            returned,
        }
    }
}

/// Whether the database will not take this, however often it is asked.
fn is_refusal(kind: Kind) -> bool {
    matches!(kind, Kind::Invalid | Kind::Conflict | Kind::TooLarge)
}

/// The log is the last place for what no database takes.
fn unbooked(rows: &[UsageRow], slices: &[SliceRow], error: &Error) {
    tracing::error!(?rows, ?slices, %error, cause = ?error.source, "this could not be booked");
}
