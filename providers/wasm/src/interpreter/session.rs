//! One running interpreter: an instance whose globals stay between runs, and one run of it.
//!
//! Invariants: limits of time and calls are set anew for each run, those of memory hold for the whole life; an
//! instance that was stopped, crashed or left in the middle of a run is never run again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use wasmtime::{
    Store, UpdateDeadline,
    component::{ComponentExportIndex, ComponentType, Instance, InstancePre, Lift, Lower},
};

use crate::{
    call::fault,
    engine::Machine,
    fault::{Fault, Stop},
    limits::{Limit, Limits},
    meter::{CpuMeter, SpaceMeter},
    wasi::{Bare, Moments, Wasi},
};

/// Why an interpreter ended that has a stack of its own; the model reads it.
pub(super) const OWN_STACK: &str = "the interpreter's own stack is used up";

/// A file of the working folder.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct CodeFile {
    /// Without folders.
    pub name: String,
    pub content: Vec<u8>,
}

/// How a piece of code went.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    /// The value of a last line that is an expression.
    pub value: Option<String>,
    /// Whether some text was cut off, or a file left out for its size.
    pub truncated: bool,
    /// What the run wrote or changed.
    pub files: Vec<CodeFile>,
    pub fault: Option<Raised>,
}

/// Code that ended badly, in the language's own words.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub struct Raised {
    pub kind: String,
    pub message: String,
    pub traceback: String,
}

/// What is to be run.
#[derive(Clone, Copy, Default)]
pub struct Code<'a> {
    pub text: &'a str,
    pub stdin: &'a str,
    /// Put into the working folder once in the life of an instance; afterwards it has what became of them.
    pub files: Option<&'a dyn Files>,
}

/// A file that an instance was given, or wrote and has the kept one's id of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    pub id: String,
    /// What it is called in the working folder.
    pub name: String,
}

/// What an instance is given before it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lacking {
    /// With their ids.
    pub files: Vec<(String, CodeFile)>,
    /// Whether some of them were written by code.
    pub own: bool,
    /// What it is not given, now or later.
    pub without: Vec<Given>,
}

/// Files for code.
#[async_trait]
pub trait Files: Send + Sync {
    /// The key under which the run is repeated.
    fn run(&self) -> &str;

    /// What a fresh instance is given; `own`: what code wrote, too.
    ///
    /// # Errors
    /// As reading them; the code is not run then.
    async fn all(&self, own: bool) -> frontdesk_api::Result<Lacking>;

    /// What an instance that has these files lacks; None: one of them was deleted, and the instance must go.
    ///
    /// # Errors
    /// As reading them; the code is not run then.
    async fn lacking(&self, given: &[Given]) -> frontdesk_api::Result<Option<Lacking>>;

    /// Keeps what the run wrote, whose contents may be taken out; under which ids. Of a run that was stopped, nothing.
    ///
    /// # Errors
    /// As keeping them; the instance ends then.
    async fn keep(&self, written: &mut Vec<CodeFile>) -> frontdesk_api::Result<Vec<Given>>;
}

/// The store's data.
pub(super) struct Guest {
    limits: Limits,
    wasi: Wasi,
    moments: Moments,
    space: SpaceMeter,
    host_calls: u32,
}

impl Bare for Guest {
    fn charge(&mut self) -> wasmtime::Result<()> {
        self.host_calls += 1;
        if self.host_calls <= self.limits.host_calls {
            return Ok(());
        }
        Err(Stop::Limit(self.limits.exceeded(Limit::HostCalls)).into())
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn given(&self) -> Option<&Wasi> {
        Some(&self.wasi)
    }

    fn moments(&mut self) -> &mut Moments {
        &mut self.moments
    }
}

/// An instance with what it was told so far.
pub(super) struct Session {
    store: Store<Guest>,
    instance: Instance,
    run: ComponentExportIndex,
    /// Bytes of memory and tables it began with, which are shared with all others until they are written.
    shared: usize,
    given: Vec<Given>,
    /// The keys of its runs.
    runs: Vec<String>,
}

/// What one run used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    pub cpu: Duration,
    pub wall: Duration,
    /// Linear memory in bytes, what all instances share included.
    pub memory: usize,
    pub host_calls: u32,
}

impl Session {
    /// A fresh instance.
    pub(super) async fn start(
        machine: &Machine,
        pre: &InstancePre<Guest>,
        run: ComponentExportIndex,
        limits: Limits,
        wasi: Wasi,
    ) -> Result<Self, Fault> {
        let space = SpaceMeter::new(limits);
        let guest = Guest { limits, wasi, moments: Moments::default(), space, host_calls: 0 };
        let mut store = Store::new(&machine.engine, guest);
        store.limiter(|guest| &mut guest.space);
        store.set_hostcall_fuel(limits.transfer);
        store.set_max_component_handles(limits.handles);
        let cpu = charged(&mut store);
        let _beating = machine.running();
        let started = tokio::time::timeout(limits.wall, cpu.measure(pre.instantiate_async(&mut store))).await;
        match started {
            Err(_) => Err(Fault::Limit(limits.exceeded(Limit::Wall))),
            Ok(Err(error)) => Err(fault(error, &limits, &store.data().space)),
            Ok(Ok(instance)) => {
                let shared = store.data().space.held();
                Ok(Self { store, instance, run, shared, given: vec![], runs: vec![] })
            }
        }
    }

    pub(super) fn given(&self) -> &[Given] {
        &self.given
    }

    /// Whether it is as a run under this key left it, so that one that is repeated would find what it did itself.
    pub(super) fn has_run(&self, key: &str) -> bool {
        self.runs.iter().any(|run| run == key)
    }

    /// Notes a run that has ended, and under which ids what it wrote is kept.
    pub(super) fn note(&mut self, key: &str, kept: Vec<Given>) {
        self.runs.push(key.to_owned());
        // What was written once more as it was is known.
        let new: Vec<Given> = kept.into_iter().filter(|one| !self.given.contains(one)).collect();
        self.given.extend(new);
    }

    /// Runs a piece of code with files it was not given before. After an error it must not be run again.
    pub(super) async fn run(&mut self, machine: &Machine, code: Code<'_>, more: Lacking) -> (Result<Ran, Fault>, Used) {
        let began = Instant::now();
        let given = more.files.iter().map(|(id, file)| Given { id: id.clone(), name: file.name.clone() });
        self.given.extend(given.chain(more.without));
        let files: Vec<CodeFile> = more.files.into_iter().map(|(_, file)| file).collect();
        let limits = self.store.data().limits;
        self.store.data_mut().host_calls = 0;
        self.store.data_mut().space.forget_refusal();
        let cpu = charged(&mut self.store);
        let beating = machine.running();
        let answer = tokio::time::timeout(limits.wall, cpu.measure(self.ask(code, &files, &limits))).await;
        drop(beating);
        let guest = self.store.data();
        let result = match answer {
            Err(_) => Err(Fault::Limit(limits.exceeded(Limit::Wall))),
            Ok(Err(error)) => Err(ended(error, &limits, &guest.space)),
            Ok(Ok(ran)) => Ok(ran),
        };
        let used = Used {
            cpu: cpu.total(),
            wall: began.elapsed(),
            memory: guest.space.memory(),
            host_calls: guest.host_calls,
        };
        (result, used)
    }

    async fn ask(&mut self, code: Code<'_>, given: &[CodeFile], limits: &Limits) -> wasmtime::Result<Ran> {
        type Asked<'a> = (&'a str, &'a str, &'a [CodeFile], u32, u32);
        let run = self.instance.get_typed_func::<Asked<'_>, (Ran,)>(&mut self.store, &self.run)?;
        let most = u32::try_from(limits.output).unwrap_or(u32::MAX);
        let files = u32::try_from(limits.transfer / 2).unwrap_or(u32::MAX);
        Ok(run.call_async(&mut self.store, (code.text, code.stdin, given, most, files)).await?.0)
    }

    /// Bytes that are its own at most: what its memory and tables grew by, what it wrote into the shared part, and what the
    /// engine has around it.
    pub(super) fn held(&self) -> usize {
        /// All that an instance of CPython has of its own after its first run, 1.3 MiB, measured (BENCHMARKS.md, "1,000 parked").
        const WRITTEN: usize = 2 << 20;
        self.store.data().space.held().saturating_sub(self.shared) + WRITTEN
    }
}

/// As [`fault`], but that QuickJS keeps a stack of its own, at the bottom of memory, and does not look how much of it is left:
/// what uses it up writes below address 0, which is the end of what 32 bits reach. No figure of ours bounds it.
fn ended(error: wasmtime::Error, limits: &Limits, space: &SpaceMeter) -> Fault {
    // wasmtime keeps the type of this to itself; tests hold the words.
    let words = format!("{error:#}");
    let address = words.split("memory fault at wasm address 0x").nth(1).and_then(|rest| rest.split(' ').next());
    let below = address.and_then(|hex| u64::from_str_radix(hex, 16).ok()).is_some_and(|at| at >= 0xfff0_0000);
    match fault(error, limits, space) {
        Fault::Trapped(_) if below => Fault::Trapped(OWN_STACK.to_owned()),
        other => other,
    }
}

/// Charges the guest's processor time to a new meter from here on.
fn charged(store: &mut Store<Guest>) -> Arc<CpuMeter> {
    let limits = store.data().limits;
    let cpu = Arc::<CpuMeter>::default();
    let meter = Arc::clone(&cpu);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        if meter.running_total() < limits.cpu {
            Ok(UpdateDeadline::Yield(1))
        } else {
            Err(Stop::Limit(limits.exceeded(Limit::Cpu)).into())
        }
    });
    cpu
}
