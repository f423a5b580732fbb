//! Calls under way, so that a client can cancel one by the id it gave it.
//!
//! Invariant: a call is cancelled by the key that made it, for the customer it was made for and in the session it was made
//! in; one made in no session cannot be named, since ids are unique in a session only. A word that comes to another process
//! than the call is lost, as the protocol allows.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use frontdesk_api::{
    customer::Owner,
    cx::{CancellationToken, Cx},
};
use serde_json::Value;

/// Whose call it is and what it is called.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Name {
    tenant: String,
    key: String,
    /// Issuer and subject of the customer.
    customer: Option<(String, String)>,
    session: String,
    id: String,
}

/// Those of this process. Clones share them.
#[derive(Clone, Default)]
pub struct Calls(Arc<Mutex<HashMap<Name, CancellationToken>>>);

/// One of them, until it is dropped.
pub struct Call {
    calls: Calls,
    /// None: it cannot be named.
    name: Option<Name>,
    pub cancel: CancellationToken,
}

impl Calls {
    /// `session`: where the client named one.
    pub fn begin(&self, cx: &Cx, session: Option<&str>, id: &Value) -> Call {
        let (name, cancel) = (session.map(|session| name(cx, session, id)), CancellationToken::new());
        if let Some(name) = name.clone() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, cancel.clone());
        }
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
        if let Some(name) = &self.name {
            self.calls.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        }
    }
}

fn name(cx: &Cx, session: &str, id: &Value) -> Name {
    Name {
        tenant: cx.tenant.clone(),
        key: cx.principal.key_id.clone(),
        customer: cx.customer.as_ref().map(|customer| {
            let Owner { issuer, sub } = customer.owner();
            (issuer, sub)
        }),
        session: session.to_owned(),
        id: id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use frontdesk_api::customer::Customer;
    use serde_json::json;

    use super::*;

    fn cx(customer: Option<&str>) -> Cx {
        let customer = customer.map(|sub| Customer { sub: sub.into(), ..Customer::default() });
        Cx { customer, ..Cx::internal("t", "r") }
    }

    #[test]
    fn a_call_is_cancelled_by_nobody_but_whom_it_was_made_for() {
        let (calls, id) = (Calls::default(), json!(1));
        let call = calls.begin(&cx(Some("ann")), Some("s"), &id);
        let theirs = calls.begin(&cx(Some("bob")), Some("s"), &id);
        let nobodys = calls.begin(&cx(None), Some("s"), &id);
        let nameless = calls.begin(&cx(Some("ann")), None, &id);
        calls.cancel(&cx(Some("ann")), "other", &id);
        calls.cancel(&cx(Some("ann")), "s", &json!("1"));
        assert!(!call.cancel.is_cancelled());
        calls.cancel(&cx(Some("ann")), "s", &id);
        assert!(call.cancel.is_cancelled());
        assert!(![theirs, nobodys, nameless].iter().any(|other| other.cancel.is_cancelled()));
    }
}
