//! Places for replays: one a tenant, and so many in a process.
//!
//! Invariants: a place is free again when its [`Place`] is dropped; a refusal says nothing of other tenants.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use frontdesk_api::{Error, Kind, Result};

use super::AT_ONCE;
use crate::begin::SOON;

/// The tenants that have a replay under way.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<HashSet<String>>);

/// A place that is taken until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    tenant: String,
}

impl Places {
    /// # Errors
    /// `RateLimited` with the code `replays_busy`.
    pub(crate) fn take(places: &Arc<Self>, tenant: &str) -> Result<Place> {
        let busy = |message| Error::new(Kind::RateLimited, message).with_code("replays_busy").with_retry_after(SOON);
        let mut taken = places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.contains(tenant) {
            return Err(busy("a replay is running already; ask again when it has ended"));
        }
        if taken.len() >= AT_ONCE {
            return Err(busy("no replay can begin now; ask again soon"));
        }
        taken.insert(tenant.to_owned());
        Ok(Place { places: Arc::clone(places), tenant: tenant.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_one_and_a_process_so_many() {
        let places = Arc::new(Places::default());
        let first = Places::take(&places, "a").expect("a place");
        let refused = Places::take(&places, "a").expect_err("a second one");
        assert_eq!((refused.kind, refused.code.as_deref()), (Kind::RateLimited, Some("replays_busy")));
        let others: Vec<Place> =
            (1..AT_ONCE).map(|n| Places::take(&places, &format!("t{n}")).expect("another tenant's")).collect();
        assert!(Places::take(&places, "b").is_err());
        drop(first);
        Places::take(&places, "b").expect("the place that became free");
        drop(others);
        Places::take(&places, "a").expect("a place again");
    }
}
