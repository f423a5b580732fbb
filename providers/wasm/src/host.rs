//! What the host does for a running guest: the functions behind each capability's interface.
//!
//! Invariant: every function counts against the call's host-call budget before it does anything, reads the
//! size of what the guest hands over before it copies it, and can reach only what [`HostGrants`] holds.

use std::sync::Arc;

use frontdesk_api::{Clock, Error, Kind, tools::ToolHost};
use wasmtime::{
    StoreContextMut,
    component::{Component, ComponentType, Linker, LinkerInstance, Lower, WasmList, WasmStr},
};

use crate::{
    capability::{Capabilities, Capability},
    fault::Stop,
    fetch,
    limits::{Limit, Limits},
    log::{LogLevel, LogLine, one_line},
    meter::{CpuMeter, SpaceMeter},
    wasi::{self, Bare, Moments, Wasi},
};

/// What one call is given. A capability that is absent here cannot be linked.
#[derive(Clone, Default)]
pub struct HostGrants {
    pub log: bool,
    /// Already confined to one tenant and tool.
    pub kv: Option<Arc<dyn ToolHost>>,
    pub clock: Option<Arc<dyn Clock>>,
    pub random: Option<Arc<dyn Random>>,
    /// Already confined to the hosts and secrets of one tenant's group.
    pub fetch: Option<Arc<dyn ToolHost>>,
    /// The call's idempotency key.
    pub context: Option<Arc<str>>,
    /// Its instance may be kept.
    pub keep: bool,
    /// What its language's runtime has around it.
    pub wasi: Option<Wasi>,
}

impl HostGrants {
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let held = |c: &Capability| match c {
            Capability::Log => self.log,
            Capability::Kv => self.kv.is_some(),
            Capability::Clock => self.clock.is_some(),
            Capability::Random => self.random.is_some(),
            Capability::Fetch => self.fetch.is_some(),
            Capability::Context => self.context.is_some(),
            Capability::Keep => self.keep,
            Capability::Wasi => self.wasi.is_some(),
        };
        Capability::ALL.into_iter().filter(held).collect()
    }
}

/// A source of unpredictable bytes.
pub trait Random: Send + Sync {
    /// # Errors
    /// When the source has none to give.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error>;
}

/// The operating system's.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error> {
        getrandom::fill(bytes).map_err(|e| {
            Error::new(Kind::Internal, "drawing random bytes for a guest failed").with_source(e.to_string())
        })
    }
}

/// The store's data: one call's grants, budgets and log, and the space of the instance.
pub(crate) struct State {
    pub(crate) limits: Limits,
    pub(crate) cpu: Arc<CpuMeter>,
    pub(crate) space: SpaceMeter,
    pub(crate) grants: HostGrants,
    describing: bool,
    pub(crate) host_calls: u32,
    requests: u32,
    pub(crate) used: Capabilities,
    pub(crate) log: Vec<LogLine>,
    log_bytes: usize,
    moments: Moments,
}

impl State {
    pub(crate) fn new(limits: Limits, grants: HostGrants) -> Self {
        Self {
            limits,
            cpu: Arc::default(),
            space: SpaceMeter::new(limits),
            grants,
            describing: false,
            host_calls: 0,
            requests: 0,
            used: Capabilities::NONE,
            log: Vec::new(),
            log_bytes: 0,
            moments: Moments::default(),
        }
    }

    /// For the next call of the same instance: what it brings, and budgets of its own. Space and time are the instance's for
    /// life: it may hold handles to moments.
    pub(crate) fn renew(&mut self, grants: HostGrants) {
        let before = std::mem::replace(self, Self::new(self.limits, grants));
        (self.space, self.moments) = (before.space, before.moments);
        self.space.forget_refusal();
    }

    /// For the `describe` call: nothing of anyone's is within reach.
    pub(crate) fn describing(limits: Limits) -> Self {
        Self { describing: true, ..Self::new(limits, HostGrants::default()) }
    }

    pub(crate) fn enter(&mut self, capability: Capability) -> wasmtime::Result<()> {
        self.host_calls += 1;
        self.used = self.used.with(capability);
        self.within(Limit::HostCalls, self.host_calls as usize <= self.limits.host_calls as usize)
    }

    /// One more request to another server.
    pub(crate) fn request(&mut self) -> wasmtime::Result<()> {
        self.requests += 1;
        self.within(Limit::Requests, self.requests <= self.limits.requests)
    }

    fn within(&self, limit: Limit, held: bool) -> wasmtime::Result<()> {
        if held { Ok(()) } else { Err(Stop::Limit(self.limits.exceeded(limit)).into()) }
    }

    pub(crate) fn grant<T: ?Sized>(&self, capability: Capability, held: &Option<Arc<T>>) -> wasmtime::Result<Arc<T>> {
        if let Some(held) = held {
            return Ok(Arc::clone(held));
        }
        if self.describing {
            return Err(Stop::WhileDescribing(capability).into());
        }
        // Linking has ruled this out.
        let message = format!("the capability '{capability}' was linked without being granted");
        Err(Stop::Host(Error::new(Kind::Internal, message)).into())
    }
}

/// While the tool describes itself WASI says the same each time: nothing is given then.
impl Bare for State {
    fn charge(&mut self) -> wasmtime::Result<()> {
        self.enter(Capability::Wasi)
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn given(&self) -> Option<&Wasi> {
        self.grants.wasi.as_ref()
    }

    fn moments(&mut self) -> &mut Moments {
        &mut self.moments
    }
}

/// A linker that knows exactly the granted interfaces.
pub(crate) fn linker(code: &Component, granted: Capabilities) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(code.engine());
    if granted.has(Capability::Wasi) {
        wasi::link(&mut linker, code)?;
    }
    for capability in granted.iter() {
        let Some(interface) = capability.interface() else { continue };
        let mut interface = linker.instance(&interface)?;
        match capability {
            Capability::Keep | Capability::Wasi => {}
            Capability::Log => link_log(&mut interface)?,
            Capability::Kv => link_kv(&mut interface)?,
            Capability::Clock => link_clock(&mut interface)?,
            Capability::Random => link_random(&mut interface)?,
            Capability::Fetch => fetch::link(&mut interface)?,
            Capability::Context => link_context(&mut interface)?,
        }
    }
    Ok(linker)
}

type Store<'a> = StoreContextMut<'a, State>;

fn link_log(interface: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    interface.func_wrap("write", |mut store: Store<'_>, (level, message): (LogLevel, WasmStr)| {
        store.data_mut().enter(Capability::Log)?;
        let raw = message.to_str(&store)?;
        let state = store.data();
        state.within(Limit::LogBytes, raw.len() <= state.limits.log_bytes)?;
        let message = one_line(&raw);
        let state = store.data_mut();
        // An empty line takes room too.
        state.log_bytes += message.len() + 1;
        state.within(Limit::LogBytes, state.log_bytes <= state.limits.log_bytes)?;
        state.log.push(LogLine { level, message });
        Ok(())
    })
}

/// WIT: `variant error { full }`.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum KvError {
    #[component(name = "full")]
    Full,
}

fn link_kv(interface: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    interface.func_wrap_async("get", |mut store: Store<'_>, (key,): (WasmStr,)| {
        Box::new(async move {
            let (kv, key) = kv_and_key(&mut store, &key)?;
            let value = kv.kv_get(&key).await.map_err(Stop::Host)?;
            let state = store.data();
            state.within(Limit::KvValue, value.as_ref().is_none_or(|v| v.len() <= state.limits.kv_value))?;
            Ok((value,))
        })
    })?;
    interface.func_wrap_async("set", |mut store: Store<'_>, (key, value): (WasmStr, WasmList<u8>)| {
        Box::new(async move {
            let (kv, key) = kv_and_key(&mut store, &key)?;
            let state = store.data();
            state.within(Limit::KvValue, value.len() <= state.limits.kv_value)?;
            let value = value.as_le_slice(&store).to_vec();
            match kv.kv_set(&key, value).await {
                Ok(()) => Ok((Ok(()),)),
                Err(error) if error.kind == Kind::TooLarge => Ok((Err(KvError::Full),)),
                Err(error) => Err(Stop::Host(error).into()),
            }
        })
    })
}

fn kv_and_key(store: &mut Store<'_>, key: &WasmStr) -> wasmtime::Result<(Arc<dyn ToolHost>, String)> {
    store.data_mut().enter(Capability::Kv)?;
    let key = key.to_str(&*store)?;
    let state = store.data();
    let kv = state.grant(Capability::Kv, &state.grants.kv)?;
    state.within(Limit::KvKey, (1..=state.limits.kv_key).contains(&key.len()))?;
    Ok((kv, key.into_owned()))
}

fn link_clock(interface: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    interface.func_wrap("now", |mut store: Store<'_>, (): ()| {
        store.data_mut().enter(Capability::Clock)?;
        let state = store.data();
        let now = state.grant(Capability::Clock, &state.grants.clock)?.now();
        Ok((u64::try_from(now).unwrap_or(0),))
    })
}

fn link_random(interface: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    interface.func_wrap("bytes", |mut store: Store<'_>, (len,): (u32,)| {
        store.data_mut().enter(Capability::Random)?;
        let state = store.data();
        let random = state.grant(Capability::Random, &state.grants.random)?;
        let len = len as usize;
        state.within(Limit::RandomBytes, len <= state.limits.random_bytes)?;
        let mut bytes = vec![0; len];
        random.fill(&mut bytes).map_err(Stop::Host)?;
        Ok((bytes,))
    })
}

fn link_context(interface: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    interface.func_wrap("idempotency-key", |mut store: Store<'_>, (): ()| {
        store.data_mut().enter(Capability::Context)?;
        let state = store.data();
        Ok((state.grant(Capability::Context, &state.grants.context)?.to_string(),))
    })
}
