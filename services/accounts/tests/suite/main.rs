//! Tenants and keys, on SQLite and on Postgres, always with two tenants.

mod bootstrap;
mod customers;
mod keys;
mod secrets;
mod tenants;

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use frontdesk_accounts::{Accounts, KeyRequest, Pepper};
use frontdesk_api::{Clock, Error, Ids, Micros, Scope, id::CountingIds};
use frontdesk_store::Store;

/// 2026-11-24T03:48:21Z.
const NOW: Micros = 1_795_492_101_000_000;

/// A clock that stands until it is set.
struct Hand(AtomicI64);

impl Hand {
    fn set(&self, to: Micros) {
        self.0.store(to, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now(&self) -> Micros {
        self.0.load(Ordering::Relaxed)
    }
}

/// What gateways on one database share, and a way to start one.
struct House {
    store: Store,
    pepper: Pepper,
    clock: Arc<Hand>,
    ids: Arc<dyn Ids>,
}

impl House {
    fn on(store: Store) -> Self {
        let pepper = Pepper::parse(&"5a".repeat(32)).expect("a pepper");
        Self { store, pepper, clock: Arc::new(Hand(AtomicI64::new(NOW))), ids: Arc::new(CountingIds::default()) }
    }

    async fn gateway(&self) -> Accounts {
        self.with(&self.pepper).await.expect("accounts")
    }

    async fn with(&self, pepper: &Pepper) -> Result<Accounts, Error> {
        Accounts::new(self.store.clone(), pepper.clone(), self.clock.clone(), self.ids.clone()).await
    }

    /// A gateway, and the tenants `acme` and `bolt`.
    async fn two_tenants(&self) -> Accounts {
        let accounts = self.gateway().await;
        for id in ["acme", "bolt"] {
            accounts.create_tenant(Some(id), id).await.expect("a tenant");
        }
        accounts
    }
}

fn a_key(scope: Scope) -> KeyRequest {
    KeyRequest { name: "till".into(), scopes: vec![scope], expires_at: None }
}

/// The code of the refusal.
fn refusal(accounts: &Accounts, presented: &str) -> String {
    let error = accounts.authenticate(presented).expect_err("refused");
    assert_eq!(error.kind, frontdesk_api::Kind::Unauthenticated);
    assert!(presented.len() < 8 || !format!("{error:?}").contains(presented), "the key is not repeated");
    error.code.expect("a code")
}
