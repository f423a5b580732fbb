//! The sandbox: inspects components and calls their tools.
//!
//! Invariant: cheap until used. The engine, its pool of slots and its heartbeat come with the first
//! component; a component is compiled once for as long as anyone holds it, and what was compiled before waits for
//! nobody's turn to compile. A kept instance is met again only by calls of the same conversation, of the same tool as it was
//! registered then, with the same grants, and never after anything but an answer of its own.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use frontdesk_api::{Error, Kind};

use crate::{
    call::{Call, Guest, Question},
    capability::Capabilities,
    code::{Compiling, Hashed, blocking},
    component::{Compiled, Component, Inspected},
    described::{self, Keep},
    engine::Machine,
    fault::Fault,
    host::{HostGrants, State},
    limits::{Limit, Limits},
    parked::{Bounds, Held, NoPlace, Parked, Place},
    turns::{Turn, Turns},
};

pub struct Sandbox {
    limits: Limits,
    machine: OnceCell<Arc<Machine>>,
    /// One permit for each call that may run.
    slots: Semaphore,
    compiling: Compiling,
    turns: Turns,
    known: Mutex<HashMap<blake3::Hash, Weak<Inspected>>>,
    parked: Arc<Parked<Version, Guest>>,
}

/// A call of a tool.
pub struct Asked<'a> {
    pub component: &'a Component,
    pub tool: &'a str,
    /// JSON text.
    pub arguments: &'a str,
    pub grants: HostGrants,
    /// Of its own ([`Limits::narrowed`]).
    pub limits: Limits,
    /// Since when it waits.
    pub began: Instant,
    /// Its conversation, and what the tool is there; None: the instance is fresh.
    pub place: Option<(Place, Registered)>,
}

/// A group as it was registered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Registered {
    pub toolgroup: String,
    /// Another one with every change.
    pub revision: String,
}

/// What a kept instance is one of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Version {
    group: Registered,
    tool: String,
    hash: blake3::Hash,
    granted: Capabilities,
}

impl Sandbox {
    /// Does nothing yet but remember the limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            machine: OnceCell::new(),
            slots: Semaphore::new(limits.concurrent as usize),
            compiling: Compiling::Here,
            turns: Turns::default(),
            known: Mutex::default(),
            parked: Arc::new(Parked::new(Bounds::default())),
        }
    }

    /// With other bounds to what tools keep.
    #[must_use]
    pub fn keeping(self, bounds: Bounds) -> Self {
        Self { parked: Arc::new(Parked::new(bounds)), ..self }
    }

    /// With another way to compile.
    #[must_use]
    pub fn compiling(self, compiling: Compiling) -> Self {
        Self { compiling, ..self }
    }

    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Compiles a component and asks it to describe itself, unless the same bytes are known already.
    ///
    /// # Errors
    /// What is wrong with it; see [`Fault`].
    pub async fn inspect(&self, bytes: Bytes) -> Result<Component, Fault> {
        self.inspect_in(self.turn(""), Hashed::new(bytes)).await
    }

    /// The tenant's turn to compile.
    pub(crate) async fn turn(&self, tenant: &str) -> Result<Turn, Fault> {
        self.turns.take(tenant).await
    }

    /// As [`Sandbox::inspect`], where it comes to compiling in `turn`.
    pub(crate) async fn inspect_in(
        &self,
        turn: impl Future<Output = Result<Turn, Fault>>,
        bytes: Hashed,
    ) -> Result<Component, Fault> {
        if bytes.bytes.len() > self.limits.component_bytes {
            return Err(Fault::Limit(self.limits.exceeded(Limit::ComponentSize)));
        }
        let hash = bytes.hash;
        if let Some(component) = self.find(&hash) {
            return Ok(component);
        }
        let engine = &self.machine().await?.engine;
        let code = match self.compiling.kept(engine, &bytes, &self.limits).await? {
            Some(code) => code,
            None => {
                let _turn = turn.await?;
                // Whoever compiled before us may have compiled this.
                if let Some(component) = self.find(&hash) {
                    return Ok(component);
                }
                self.compiling.load(engine, &bytes, &self.limits).await?
            }
        };
        let compiled = Compiled::of(engine, hash, code)?;
        let component = self.describe(compiled).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, inspected| inspected.strong_count() > 0);
        known.insert(hash, Arc::downgrade(&component.0));
        Ok(component)
    }

    /// Calls a tool in a fresh instance that has what `grants` holds and nothing else.
    ///
    /// Dropping the future ends the guest.
    pub async fn call(&self, component: &Component, tool: &str, arguments: &str, grants: HostGrants) -> Call {
        let (limits, began) = (self.limits, Instant::now());
        self.ask(Asked { component, tool, arguments, grants, limits, began, place: None }).await
    }

    /// Calls a tool, in its conversation's instance where it asks for that, is granted it, and has a conversation.
    ///
    /// Dropping the future ends the guest, and what it kept with it.
    pub async fn ask(&self, asked: Asked<'_>) -> Call {
        let Asked { component, tool, arguments, grants, limits, began, place } = asked;
        if arguments.len() > self.limits.arguments {
            return Call::refused(Fault::Limit(self.limits.exceeded(Limit::Arguments)));
        }
        let (compiled, granted) = (&component.0.compiled, grants.capabilities());
        let ready = || {
            let described = component.tool(tool)?;
            let arguments = described.accept(arguments)?;
            match component.requests().first_missing_in(granted) {
                Some(missing) => Err(Fault::NotGranted(missing)),
                None => Ok((described.keep, arguments, compiled.link(granted)?)),
            }
        };
        let (keep, arguments, pre) = match ready() {
            Ok(ready) => ready,
            Err(fault) => return Call::refused(fault),
        };
        let mut held = None;
        if let Some((place, group)) = place.filter(|_| keep == Keep::Conversation) {
            let version = Version { group, tool: tool.to_owned(), hash: component.hash(), granted };
            held = match self.parked.hold(place, version, limits.wall.saturating_sub(began.elapsed())).await {
                Ok(held) => Some(held),
                // What is kept is no more than a cache.
                Err(NoPlace::Full) => None,
                Err(NoPlace::Waited) => return Call::refused(Fault::Waited(limits.exceeded(Limit::Wall))),
            };
        }
        let (machine, _slot) = match self.slot(limits.wall.saturating_sub(began.elapsed())).await {
            Ok(slot) => slot,
            Err(fault) => return Call::refused(fault),
        };
        let kept = held.as_mut().and_then(Held::take);
        let resumed = held.as_ref().map(|_| kept.is_some());
        let mut guest = match kept {
            Some(mut guest) => {
                guest.renew(grants);
                guest
            }
            None => Guest::new(machine, State::new(limits, grants)),
        };
        // Waiting has the same time again: what is kept is not ended for it.
        let call = guest.ask(machine, compiled, &pre, Question::Call { tool, arguments: &arguments }).await;
        if let Some(held) = held
            && call.result.as_ref().err().is_none_or(Fault::leaves_guest)
        {
            let bytes = guest.held();
            held.put_back(guest, bytes);
        }
        Call { resumed, ..call }
    }

    /// Lets go of what a tenant's group keeps for conversations.
    pub fn forget(&self, tenant: &str, group: &Registered) {
        self.parked.drop_of(|(owner, version)| owner.tenant == tenant && version.group == *group);
    }

    /// Lets go of what is kept for a tenant's conversations of these ids ([`Owner::workspace`]).
    ///
    /// [`Owner::workspace`]: crate::parked::Owner::workspace
    pub fn forget_conversations(&self, tenant: &str, workspaces: &[String]) {
        self.parked.drop_of_conversations(tenant, workspaces);
    }

    /// Conversations' instances that are kept now.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.parked.len()
    }

    async fn describe(&self, compiled: Compiled) -> Result<Component, Fault> {
        let pre = compiled.link(compiled.imports)?;
        let state = State::describing(self.limits.for_describing());
        let (machine, _slot) = self.slot(state.limits.wall).await?;
        let call = Guest::new(machine, state).ask(machine, &compiled, &pre, Question::Describe).await;
        Ok(Component::new(compiled, described::parse(&call.result?.text)?))
    }

    /// Room for one running guest, to be held until it is gone.
    async fn slot(&self, wait: Duration) -> Result<(&Machine, SemaphorePermit<'_>), Fault> {
        let machine = self.machine().await?;
        match tokio::time::timeout(wait, self.slots.acquire()).await {
            Ok(Ok(slot)) => Ok((machine, slot)),
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(Fault::Busy(self.limits.concurrent)),
        }
    }

    fn find(&self, hash: &blake3::Hash) -> Option<Component> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(hash).and_then(Weak::upgrade).map(Component)
    }

    async fn machine(&self) -> Result<&Arc<Machine>, Fault> {
        let start = || async {
            let kept = u32::try_from(self.parked.bounds().sessions).unwrap_or(u32::MAX);
            let limits = Limits { concurrent: kept.saturating_add(self.limits.concurrent), ..self.limits };
            let machine = blocking(move || Machine::start(&limits)).await?;
            machine.map(Arc::new).map_err(|e| {
                let error = Error::new(Kind::Internal, "starting the tool sandbox failed");
                Fault::Host(error.with_source(e.to_string()))
            })
        };
        self.machine.get_or_try_init(start).await
    }
}

/// The semaphore is never closed; this is for the compiler's sake.
fn closed() -> Fault {
    Fault::Host(Error::new(Kind::Internal, "the tool sandbox is closed"))
}
