//! Calls under way, so that a client can cancel one by the id it gave it.
//!
//! Invariant: a call is cancelled by the key that made it and in the session it was made in; a word that comes to another
//! process than the call is lost, as the protocol allows.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use frontdesk_api::cx::{CancellationToken, Cx};
use serde_json::Value;

/// Tenant, key, session, and the id of the request.
type Name = [String; 4];

/// Those of this process. Clones share them.
#[derive(Clone, Default)]
pub struct Calls(Arc<Mutex<HashMap<Name, CancellationToken>>>);

/// One of them, until it is dropped.
pub struct Call {
    calls: Calls,
    name: Name,
    pub cancel: CancellationToken,
}

impl Calls {
    pub fn begin(&self, cx: &Cx, session: &str, id: &Value) -> Call {
        let (name, cancel) = (name(cx, session, id), CancellationToken::new());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), cancel.clone());
        Call { calls: self.clone(), name, cancel }
    }

    pub fn cancel(&self, cx: &Cx, session: &str, id: &Value) {
        if let Some(cancel) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&name(cx, session, id)) {
            cancel.cancel();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.calls.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

fn name(cx: &Cx, session: &str, id: &Value) -> Name {
    [cx.tenant.clone(), cx.principal.key_id.clone(), session.to_owned(), id.to_string()]
}
