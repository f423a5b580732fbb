//! The keys in memory, by hash.
//!
//! Looked up by the first eight bytes of the hash and compared whole in constant time. The hash is keyed
//! with a secret, so a stranger can neither aim at a slot nor learn from how long a look-up took.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
};

use frontdesk_api::Micros;
use frontdesk_store::KeyChange;

use crate::{Caller, principal};

/// See the module.
#[derive(Default)]
pub(crate) struct Table(RwLock<Rows>);

#[derive(Default)]
struct Rows {
    by_hash: HashMap<u64, Arc<Entry>>,
    /// (tenant, key id) → slot, for a key whose hash was replaced.
    slots: HashMap<(String, String), u64>,
}

/// A key that is known, open or not.
pub(crate) struct Entry {
    pub(crate) caller: Arc<Caller>,
    pub(crate) expires_at: Option<Micros>,
    pub(crate) revoked: bool,
    hash: blake3::Hash,
    changed_at: Micros,
    /// Written at every use, to the database now and then.
    last_used: AtomicI64,
    /// What the database has of it.
    noted: AtomicI64,
}

impl Entry {
    pub(crate) fn used(&self, now: Micros) {
        self.last_used.store(now, Ordering::Relaxed);
    }
}

impl Table {
    pub(crate) fn find(&self, hash: &blake3::Hash) -> Option<Arc<Entry>> {
        let rows = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let entry = rows.by_hash.get(&slot(hash))?;
        // blake3 compares in constant time.
        (entry.hash == *hash).then(|| Arc::clone(entry))
    }

    /// Takes in what the database says of a key, unless something newer is known: a look at the database
    /// that began before a revocation must not undo it. A row with a broken hash opens nothing.
    pub(crate) fn put(&self, row: KeyChange) {
        let Ok(hash) = blake3::Hash::from_slice(&row.hash) else {
            tracing::error!(tenant = row.tenant, key = row.id, "an API key's hash in the database is damaged");
            return;
        };
        let caller = Caller { principal: principal(&row.id, &row.scopes), tenant: row.tenant.clone() };
        let noted = row.last_used_at.unwrap_or(0);
        let entry = Entry {
            caller: Arc::new(caller),
            expires_at: row.expires_at,
            revoked: row.revoked_at.is_some(),
            hash,
            changed_at: row.changed_at,
            last_used: AtomicI64::new(noted),
            noted: AtomicI64::new(noted),
        };
        let mut rows = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let id = (row.tenant, row.id);
        if let Some(former) = rows.slots.get(&id).and_then(|slot| rows.by_hash.get(slot)) {
            if former.changed_at > row.changed_at {
                return;
            }
            let used = former.last_used.load(Ordering::Relaxed).max(noted);
            entry.last_used.store(used, Ordering::Relaxed);
        }
        if let Some(former) = rows.slots.insert(id, slot(&hash)) {
            rows.by_hash.remove(&former);
        }
        rows.by_hash.insert(slot(&hash), Arc::new(entry));
    }

    /// The keys used since the last call that was followed by [`Table::noted`]: (tenant, key id, when).
    pub(crate) fn used(&self) -> Vec<(String, String, Micros)> {
        let rows = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let used = rows.by_hash.values().filter_map(|entry| {
            let at = entry.last_used.load(Ordering::Relaxed);
            let news = at > entry.noted.load(Ordering::Relaxed);
            news.then(|| (entry.caller.tenant.clone(), entry.caller.principal.key_id.clone(), at))
        });
        used.collect()
    }

    /// The database has these now.
    pub(crate) fn noted(&self, uses: &[(String, String, Micros)]) {
        let rows = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for (tenant, id, at) in uses {
            let slot = rows.slots.get(&(tenant.clone(), id.clone()));
            if let Some(entry) = slot.and_then(|slot| rows.by_hash.get(slot)) {
                entry.noted.store(*at, Ordering::Relaxed);
            }
        }
    }

    /// Whether any key that opens at `now` satisfies `wanted`.
    pub(crate) fn any_open(&self, now: Micros, wanted: impl Fn(&Caller) -> bool) -> bool {
        let rows = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let open = |e: &&Arc<Entry>| !e.revoked && e.expires_at.is_none_or(|end| end > now);
        rows.by_hash.values().filter(open).any(|entry| wanted(&entry.caller))
    }
}

fn slot(hash: &blake3::Hash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
