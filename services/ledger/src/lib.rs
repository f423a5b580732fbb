//! The books: what every model call used and cost, booked exactly once.
//!
//! [`Metered`] stands around the router, so edge and agents pass it alike. A call reserves its likely cost from
//! memory before anyone is asked, is watched while its frames pass, and is settled when it ends, however it ends:
//! answered, failed, cancelled, or dropped because the client left. Settlements go through one bounded channel into
//! commits of many rows, by a task on the main runtime; the serving threads touch no database.
//!
//! Invariants: a call that was begun has one row, whatever happens to the answer, unless the process is killed within
//! [`WINDOW`] of its end; nothing is dropped to keep up: when the channel is full, new calls wait; what a killed
//! process had set aside stays visible and counts as spent; money is integers.

mod call;
mod given;
mod metered;
mod price;
mod prices;
mod purse;
mod writer;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, atomic::AtomicU64},
    time::Duration,
};

use frontdesk_api::{Clock, Cx, Ids, Result};
use frontdesk_store::{Dialect, Store};
use tokio::sync::{mpsc, oneshot};

pub use frontdesk_store::usage::{By, Outstanding, UsageGroup, UsageQuery};
pub use given::Given;
pub use metered::Metered;
pub use price::{Nano, Price};
pub use prices::{Override, Prices, Provider};
pub use writer::WINDOW;

use call::Settled;
use purse::Purse;
use writer::{Ask, Closing, Writer};

/// Calls that may be under way or wait to be booked; past it new ones wait. At some 300 bytes each, 20 MiB.
const CALLS: usize = 1 << 16;

/// How long a reader waits for what has ended to be booked before it reads what there is.
const FLUSH: Duration = Duration::from_secs(2);

/// The books of this process. Clones share them.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

pub(crate) struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    prices: Prices,
    /// Numbers calls; with the writer's own id that is unique for ever.
    next: AtomicU64,
    settled: mpsc::Sender<Settled>,
    asks: mpsc::UnboundedSender<Ask>,
    closing: Arc<Closing>,
    /// By tenant; one that spends nothing has none.
    purses: RwLock<HashMap<String, Arc<Purse>>>,
}

/// What calls came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub groups: Vec<UsageGroup>,
    /// All groups in one.
    pub total: UsageGroup,
    pub outstanding: Outstanding,
}

impl Ledger {
    /// Opens the books; what has ended is written by a task on the runtime this is called on.
    ///
    /// # Errors
    /// As the store.
    pub async fn open(store: Store, prices: Prices, clock: Arc<dyn Clock>, ids: &dyn Ids) -> Result<Self> {
        // A SQLite file has one process: whoever left a slice there is dead.
        if store.dialect() == Dialect::Sqlite {
            let left = store.system().end_slices().await?;
            if left > 0 {
                tracing::warn!(slices = left, "an earlier process left money set aside; it counts as spent");
            }
        }
        let (settled, rows) = mpsc::channel(CALLS);
        let (asks, asked) = mpsc::unbounded_channel();
        let closing = Arc::<Closing>::default();
        let writer = Writer::new(store.clone(), clock.clone(), ids.next("use"), (rows, asked), closing.clone());
        tokio::runtime::Handle::current().spawn(writer.run());
        let (next, purses) = (AtomicU64::new(1), RwLock::default());
        Ok(Self(Arc::new(Inner { store, clock, prices, next, settled, asks, closing, purses })))
    }

    /// What calls came to, those that have just ended included. `tenant` is whose.
    ///
    /// # Errors
    /// As the store.
    pub async fn report(&self, tenant: &str, query: &UsageQuery<'_>) -> Result<Report> {
        // A database in trouble is for the query to report.
        let _ = tokio::time::timeout(FLUSH, self.flush()).await;
        let cx = Cx::internal(tenant, "ledger");
        let door = self.0.store.tenant(&cx);
        let groups = door.usage(query).await?;
        let whole = UsageQuery { by: By::default(), limit: 1, ..query.clone() };
        let total = door.usage(&whole).await?.pop().unwrap_or_default();
        Ok(Report { groups, total, outstanding: door.outstanding().await? })
    }

    /// Returns once everything that has ended by now is booked.
    pub async fn flush(&self) {
        let (tell, told) = oneshot::channel();
        if self.0.asks.send(Ask::Flush(tell)).is_ok() {
            let _ = told.await;
        }
    }

    /// Books what has ended and gives back what was set aside. Calls still under way are waited for a little, as is a
    /// database in trouble; what it does not take by then goes to the log. New calls are refused from here on.
    pub async fn close(&self) {
        self.0.closing.begin();
        let (tell, told) = oneshot::channel();
        if self.0.asks.send(Ask::Close(tell)).is_ok() {
            let _ = told.await;
        }
    }
}

impl Inner {
    /// The tenant's purse.
    pub(crate) fn purse(&self, tenant: &str) -> Arc<Purse> {
        if let Some(purse) = self.purses.read().unwrap_or_else(PoisonError::into_inner).get(tenant) {
            return Arc::clone(purse);
        }
        let mut purses = self.purses.write().unwrap_or_else(PoisonError::into_inner);
        let purse = purses.entry(tenant.to_owned()).or_insert_with(|| Arc::new(Purse::new(tenant)));
        Arc::clone(purse)
    }
}
