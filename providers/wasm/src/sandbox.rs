//! The sandbox: inspects components and calls their tools.
//!
//! Invariant: cheap until used. The engine, its pool of slots and its heartbeat come with the first
//! component; a component is compiled once for as long as anyone holds it, and what was compiled before waits for
//! nobody's turn to compile.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::{OnceCell, Semaphore};

use frontdesk_api::{Error, Kind};

use crate::{
    call::{Call, Question, ask},
    code::{Compiling, blocking},
    component::{Compiled, Component, Inspected},
    described,
    engine::Machine,
    fault::Fault,
    host::{HostGrants, State},
    limits::{Limit, Limits},
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
        }
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
        self.inspect_in(self.turn(""), bytes).await
    }

    /// The tenant's turn to compile.
    pub(crate) async fn turn(&self, tenant: &str) -> Result<Turn, Fault> {
        self.turns.take(tenant).await
    }

    /// As [`Sandbox::inspect`], where it comes to compiling in `turn`.
    pub(crate) async fn inspect_in(
        &self,
        turn: impl Future<Output = Result<Turn, Fault>>,
        bytes: Bytes,
    ) -> Result<Component, Fault> {
        if bytes.len() > self.limits.component_bytes {
            return Err(Fault::Limit(self.limits.exceeded(Limit::ComponentSize)));
        }
        let hash = blake3::hash(&bytes);
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
        self.call_within(self.limits, Instant::now(), component, tool, arguments, grants).await
    }

    /// The same under limits of its own ([`Limits::narrowed`]). `began`: when the call's wall time did.
    pub async fn call_within(
        &self,
        limits: Limits,
        began: Instant,
        component: &Component,
        tool: &str,
        arguments: &str,
        grants: HostGrants,
    ) -> Call {
        if arguments.len() > self.limits.arguments {
            return Call::refused(Fault::Limit(self.limits.exceeded(Limit::Arguments)));
        }
        let accepted = component.tool(tool).and_then(|tool| tool.accept(arguments));
        let (arguments, pre) = match accepted.and_then(|a| Ok((a, component.0.compiled.link(grants.capabilities())?))) {
            Ok(ready) => ready,
            Err(fault) => return Call::refused(fault),
        };
        let state = State::new(limits, grants);
        self.run(&component.0.compiled, &pre, state, Question::Call { tool, arguments: &arguments }, began).await
    }

    async fn describe(&self, compiled: Compiled) -> Result<Component, Fault> {
        let pre = compiled.link(compiled.imports)?;
        let state = State::describing(self.limits.for_describing());
        let text = self.run(&compiled, &pre, state, Question::Describe, Instant::now()).await.result?.text;
        Ok(Component::new(compiled, described::parse(&text)?))
    }

    async fn run(
        &self,
        compiled: &Compiled,
        pre: &wasmtime::component::InstancePre<State>,
        state: State,
        question: Question<'_>,
        began: Instant,
    ) -> Call {
        let machine = match self.machine().await {
            Ok(machine) => machine,
            Err(fault) => return Call::refused(fault),
        };
        // Held until the guest is gone.
        let _slot =
            match tokio::time::timeout(state.limits.wall.saturating_sub(began.elapsed()), self.slots.acquire()).await {
                Ok(Ok(slot)) => slot,
                Ok(Err(_)) => return Call::refused(closed()),
                Err(_) => return Call::refused(Fault::Busy(self.limits.concurrent)),
            };
        ask(machine, compiled, pre, state, question, began).await
    }

    fn find(&self, hash: &blake3::Hash) -> Option<Component> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(hash).and_then(Weak::upgrade).map(Component)
    }

    async fn machine(&self) -> Result<&Arc<Machine>, Fault> {
        let start = || async {
            let limits = self.limits;
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
