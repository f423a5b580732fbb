//! `Cx`: who asks, for which tenant, until when. Every trait method takes one.
//!
//! Invariant: code that can reach a tenant's rows holds a `Cx` (or asks the store for `system()` by name).

use std::{collections::BTreeSet, time::Instant};

use serde::{Deserialize, Serialize};
pub use tokio_util::sync::CancellationToken;

pub use crate::customer::Customer;
use crate::{client_keys::ClientKeys, news::News, question::Asking, reuse::CacheControl};

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everything, tenants and keys included.
    Admin,
    /// Create and change agents, tools, knowledge, shields.
    Write,
    /// Call models and talk to agents.
    Use,
}

/// The verified caller: one API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub key_id: String,
    pub scopes: BTreeSet<Scope>,
}

/// A conversation as code sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workspace {
    /// The container; where it is not known the session, or without one the turn itself.
    pub id: String,
    /// What the conversation is called in traces: the session, or the turn that its line of responses began with.
    pub conversation: String,
    /// Without a session: the turns that this one continues, the nearest first. Whoever is first to run code after
    /// one of them goes on with what that one left; another branch begins afresh.
    pub after: Vec<String>,
    /// Uploaded files that were given to it, by id.
    pub files: Vec<String>,
    /// The container that its code runs in, by whose id it goes then; None: it is not known yet, and no client named one.
    pub container: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Cx {
    pub tenant: String,
    pub principal: Principal,
    /// The request id that the caller sees in `x-request-id`.
    pub request: String,
    pub agent: Option<String>,
    pub turn: Option<String>,
    /// The epoch at which its worker took the turn: what is written for it is written behind that.
    pub turn_epoch: i64,
    /// The conversation this is part of: an agent's session, or what a client named in `x-frontdesk-session`.
    pub session: Option<String>,
    /// Where code that the conversation runs keeps its variables and files; None: nowhere.
    pub workspace: Option<Workspace>,
    /// Searches of the web bring pages of these domains alone, and of those below them; empty: of all.
    pub web_domains: Vec<String>,
    /// None: anonymous.
    pub customer: Option<Customer>,
    /// Work past this moment is wasted: stop with `Kind::Timeout`.
    pub deadline: Option<Instant>,
    /// Cancelled when the caller leaves or stops the work.
    pub cancel: CancellationToken,
    /// W3C `traceparent` of the caller, sent on to providers.
    pub traceparent: Option<String>,
    /// The caller's own keys for providers that take them.
    pub client_keys: ClientKeys,
    /// What the caller wants of kept answers.
    pub cache: CacheControl,
    /// Whom tools tell how far they are; None: nobody asked.
    pub news: Option<News>,
    /// What a tool may ask a person in this call, and heard before; None: nobody can be asked.
    pub asking: Option<Asking>,
}

impl Cx {
    #[must_use]
    pub fn new(tenant: impl Into<String>, principal: Principal, request: impl Into<String>) -> Self {
        Self {
            tenant: tenant.into(),
            principal,
            request: request.into(),
            agent: None,
            turn: None,
            turn_epoch: 0,
            session: None,
            workspace: None,
            web_domains: vec![],
            customer: None,
            deadline: None,
            cancel: CancellationToken::new(),
            traceparent: None,
            client_keys: ClientKeys::default(),
            cache: CacheControl::default(),
            news: None,
            asking: None,
        }
    }

    /// A caller with every scope, for the platform's own work on behalf of a tenant (ingestion, demo, tests).
    #[must_use]
    pub fn internal(tenant: impl Into<String>, request: impl Into<String>) -> Self {
        let scopes = BTreeSet::from([Scope::Admin, Scope::Write, Scope::Use]);
        Self::new(tenant, Principal { key_id: "internal".into(), scopes }, request)
    }

    /// What the conversation is called in traces.
    #[must_use]
    pub fn conversation(&self) -> Option<&str> {
        self.workspace.as_ref().map(|place| place.conversation.as_str()).or(self.session.as_deref())
    }

    /// # Errors
    /// `Forbidden` naming the missing scope; `Admin` includes the others, `Write` includes `Use`.
    pub fn require(&self, scope: Scope) -> crate::Result<()> {
        let held = &self.principal.scopes;
        if held.iter().any(|s| *s <= scope) {
            return Ok(());
        }
        let name = format!("{scope:?}").to_lowercase();
        Err(crate::Error::new(crate::Kind::Forbidden, format!("this key lacks the scope '{name}'")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_scopes_include_narrower_ones() {
        let mut cx = Cx::internal("t", "r");
        cx.principal.scopes = BTreeSet::from([Scope::Write]);
        assert!(cx.require(Scope::Use).is_ok());
        assert!(cx.require(Scope::Write).is_ok());
        let refused = cx.require(Scope::Admin).expect_err("write is not admin");
        assert_eq!(refused.kind, crate::Kind::Forbidden);
        assert!(refused.message.contains("admin"));
    }
}
