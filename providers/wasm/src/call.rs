//! A guest: its store and limits, a question, and what became of it.
//!
//! Invariant: every limit is in force before the guest's first instruction (its `start` functions run while
//! it is instantiated); time, calls and words count for each question, space for the guest's whole life; between questions
//! it holds nothing of a call's.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::de::IgnoredAny;
use wasmtime::{
    Store, Trap, UpdateDeadline, WasmBacktrace,
    component::{ComponentType, Instance, InstancePre, Lift},
};

use crate::{
    capability::Capabilities,
    component::{Compiled, reason},
    engine::{Machine, STACK_KEPT},
    fault::{Fault, Stop},
    host::{HostGrants, State},
    limits::{Limit, Limits},
    log::LogLine,
    meter::SpaceMeter,
};

/// How a call went: also a call that failed has used something and may have logged why.
#[derive(Debug)]
pub struct Call {
    pub result: Result<Output, Fault>,
    pub log: Vec<LogLine>,
    pub spent: Spent,
    /// Whether it met what earlier calls of its conversation left. None: its tool keeps nothing, or it did not run.
    pub resumed: Option<bool>,
}

/// A tool's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// As the tool wrote it.
    pub text: String,
    /// Whether the text is one JSON value, as it should be.
    pub is_json: bool,
}

/// What a call used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Processor time.
    pub cpu: Duration,
    /// From the question to the answer, waiting for a slot included.
    pub wall: Duration,
    /// Linear memory in bytes; its peak, for it never shrinks.
    pub memory: usize,
    pub host_calls: u32,
    /// The powers it really used.
    pub used: Capabilities,
}

impl Call {
    /// A call that ended before a guest was there.
    pub(crate) fn refused(fault: Fault) -> Self {
        Self { result: Err(fault), log: Vec::new(), spent: Spent::default(), resumed: None }
    }
}

/// What a guest can be asked.
#[derive(Clone, Copy)]
pub(crate) enum Question<'a> {
    Describe,
    Call { tool: &'a str, arguments: &'a str },
}

/// WIT: `variant error`.
#[derive(ComponentType, Lift)]
#[component(variant)]
enum ToolError {
    #[component(name = "bad-arguments")]
    BadArguments(String),
    #[component(name = "failed")]
    Failed(String),
}

/// A store, and the instance in it once it was asked something.
pub(crate) struct Guest {
    store: Store<State>,
    instance: Option<Instance>,
}

impl Guest {
    pub(crate) fn new(machine: &Machine, state: State) -> Self {
        let limits = state.limits;
        let mut store = Store::new(&machine.engine, state);
        store.limiter(|state| &mut state.space);
        store.set_hostcall_fuel(limits.transfer);
        store.set_max_component_handles(limits.handles);
        Self { store, instance: None }
    }

    /// Before it is asked again.
    pub(crate) fn renew(&mut self, grants: HostGrants) {
        self.store.data_mut().renew(grants);
    }

    /// Bytes that may be its own: strangers wrote its memory and tables, so all of them, and what the engine has around it.
    pub(crate) fn held(&self) -> usize {
        /// The part of its stack that stays in memory, and as much again for the engine's records of its parts, whose size
        /// wasmtime tells nobody.
        const AROUND: usize = 2 * STACK_KEPT;
        self.store.data().space.held().saturating_add(AROUND)
    }

    /// After an error that is not the tool's own answer it must not be
    /// asked again.
    pub(crate) async fn ask(
        &mut self,
        machine: &Machine,
        compiled: &Compiled,
        pre: &InstancePre<State>,
        question: Question<'_>,
    ) -> Call {
        let began = Instant::now();
        let (limits, cpu) = (self.store.data().limits, Arc::clone(&self.store.data().cpu));
        self.store.set_epoch_deadline(1);
        let meter = Arc::clone(&cpu);
        self.store.epoch_deadline_callback(move |_| {
            if meter.running_total() < limits.cpu {
                Ok(UpdateDeadline::Yield(1))
            } else {
                Err(Stop::Limit(limits.exceeded(Limit::Cpu)).into())
            }
        });

        let beating = machine.running();
        let answer = tokio::time::timeout(limits.wall, cpu.measure(self.put(compiled, pre, question))).await;
        drop(beating);

        let state = self.store.data_mut();
        // What a call was given ends with it.
        state.grants = HostGrants::default();
        let result = match answer {
            Err(_) => Err(Fault::Limit(limits.exceeded(Limit::Wall))),
            Ok(Err(error)) => Err(fault(error, &limits, &state.space)),
            Ok(Ok(answer)) => answered(answer, state),
        };
        let spent = Spent {
            cpu: cpu.total(),
            wall: began.elapsed(),
            memory: state.space.memory(),
            host_calls: state.host_calls,
            used: state.used,
        };
        Call { result, log: std::mem::take(&mut state.log), spent, resumed: None }
    }

    async fn put(
        &mut self,
        compiled: &Compiled,
        pre: &InstancePre<State>,
        question: Question<'_>,
    ) -> wasmtime::Result<Result<String, Fault>> {
        let store = &mut self.store;
        let instance = match self.instance {
            Some(instance) => instance,
            None => *self.instance.insert(pre.instantiate_async(&mut *store).await?),
        };
        type Answer = (Result<String, ToolError>,);
        let call = instance.get_typed_func::<(&str, &str), Answer>(&mut *store, &compiled.call)?;
        let Question::Call { tool, arguments } = question else {
            // By now `call` was looked at as well, so registration finds a wrong one.
            let describe = instance.get_typed_func::<(), (String,)>(&mut *store, &compiled.describe)?;
            return Ok(Ok(describe.call_async(store, ()).await?.0));
        };
        Ok(match call.call_async(store, (tool, arguments)).await?.0 {
            Ok(text) => Ok(text),
            Err(ToolError::BadArguments(text)) => Err(Fault::BadArguments(text)),
            Err(ToolError::Failed(text)) => Err(Fault::Failed(text)),
        })
    }
}

/// The guest's words, in success and in failure, are held to one size.
fn answered(answer: Result<String, Fault>, state: &State) -> Result<Output, Fault> {
    if let Ok(text) | Err(Fault::BadArguments(text) | Fault::Failed(text)) = &answer
        && text.len() > state.limits.output
    {
        return Err(Fault::Limit(state.limits.exceeded(Limit::Output)));
    }
    let text = answer?;
    let is_json = serde_json::from_str::<IgnoredAny>(&text).is_ok();
    Ok(Output { text, is_json })
}

/// The limit behind an error, where there is one.
pub(crate) fn fault(error: wasmtime::Error, limits: &Limits, space: &SpaceMeter) -> Fault {
    let error = match error.downcast::<Stop>() {
        Ok(stop) => return stop.into(),
        Err(error) => error,
    };
    let exceeded = |limit| Fault::Limit(limits.exceeded(limit));
    if matches!(error.downcast_ref::<Trap>(), Some(Trap::StackOverflow)) {
        return exceeded(Limit::Stack);
    }
    // Refused growth shows as the guest's own crash, or as a failed instantiation.
    if let Some(limit) = space.refused() {
        return exceeded(limit);
    }
    // wasmtime keeps the types of these errors to itself; tests hold the words.
    let words = error.root_cause().to_string();
    if words.contains("store handle limit exceeded") {
        return exceeded(Limit::Handles);
    }
    if words.contains("fuel allocated for hostcalls has been exhausted") {
        // A host call's arguments are read while the guest waits on the stack, a result after it has returned.
        return exceeded(if error.is::<WasmBacktrace>() { Limit::Transfer } else { Limit::Output });
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return Fault::Busy(limits.concurrent);
    }
    match error.downcast_ref::<Trap>() {
        Some(trap) => Fault::Trapped(trap.to_string()),
        None => Fault::Trapped(reason(&error)),
    }
}
