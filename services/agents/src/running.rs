//! The turns this process works on, and how to stop one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// Why a turn is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Somebody asked for it.
    Asked,
    /// The server is going down.
    Shutdown,
}

/// Stops one turn; the first reason given stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    token: CancellationToken,
    why: Arc<OnceLock<Why>>,
}

impl Stop {
    pub(crate) fn now(&self, why: Why) {
        let _ = self.why.set(why);
        self.token.cancel();
    }

    /// The token that providers see.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    pub(crate) fn why(&self) -> Why {
        self.why.get().copied().unwrap_or(Why::Asked)
    }
}

type Key = (String, String);

/// By tenant and turn.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<HashMap<Key, Stop>>);

impl Running {
    /// Enters a turn before it is written as running, so that nobody takes it for lost in between.
    pub(crate) fn enter(&self, tenant: &str, turn: &str) -> Stop {
        let stop = Stop::default();
        self.lock().insert((tenant.to_owned(), turn.to_owned()), stop.clone());
        stop
    }

    pub(crate) fn leave(&self, tenant: &str, turn: &str) {
        self.lock().remove(&(tenant.to_owned(), turn.to_owned()));
    }

    pub(crate) fn has(&self, tenant: &str, turn: &str) -> bool {
        self.lock().contains_key(&(tenant.to_owned(), turn.to_owned()))
    }

    pub(crate) fn stop(&self, tenant: &str, turn: &str, why: Why) {
        if let Some(stop) = self.lock().get(&(tenant.to_owned(), turn.to_owned())) {
            stop.now(why);
        }
    }

    pub(crate) fn stop_all(&self, why: Why) {
        for stop in self.lock().values() {
            stop.now(why);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Stop>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
