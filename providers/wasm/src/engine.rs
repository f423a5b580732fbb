//! The wasmtime engine: its settings, and the heartbeat that interrupts guests.
//!
//! Made at the first use, so that a gateway without tools pays nothing for it. Everything that is not
//! needed stays off: most of wasmtime's past advisories were in features one can do without.
//! Invariant: the heartbeat beats while a guest runs and sleeps when none has run for a while.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use wasmparser::WasmFeatures;
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy, WasmBacktraceDetails,
};

use crate::limits::Limits;

/// How often a running guest is asked for its bill; also the longest it keeps a thread from others.
const BEAT: Duration = Duration::from_millis(5);

/// Beats without a guest before the heart sleeps: to wake it is a system call that calls which follow each other need
/// not make.
const LINGERS: u32 = 40;

/// How much of a guest's stack is cleared in place when it is left; the rest goes back to the system. A call that goes
/// no deeper, as most do, then makes no page fault.
pub(crate) const STACK_KEPT: usize = 32 << 10;

/// The host functions run on the guest's stack; this is their share.
const HOST_STACK: usize = 512 << 10;

/// An engine and its heartbeat.
pub(crate) struct Machine {
    pub(crate) engine: Engine,
    heart: Arc<Heart>,
}

impl Machine {
    pub(crate) fn start(limits: &Limits) -> wasmtime::Result<Self> {
        let engine = match Engine::new(&config(limits, true)) {
            Ok(engine) => engine,
            // A small or restricted address space has no room for the pool. Slower, equally limited.
            Err(error) => {
                tracing::warn!(%error, "no room for pooled tool memory; allocating for each call instead");
                Engine::new(&config(limits, false))?
            }
        };
        let heart = Arc::new(Heart::default());
        let beating = Arc::clone(&heart);
        let weak = engine.weak();
        let thread = thread::Builder::new().name("tool-heartbeat".into()).spawn(move || {
            let mut idle = 0;
            while !beating.stopped.load(Ordering::Acquire) {
                let Some(engine) = weak.upgrade() else { return };
                engine.increment_epoch();
                drop(engine);
                idle = if beating.guests.load(Ordering::Acquire) == 0 { idle + 1 } else { 0 };
                if idle > LINGERS {
                    thread::park();
                    idle = 0;
                } else {
                    thread::sleep(BEAT);
                }
            }
        })?;
        heart.thread.get_or_init(|| thread.thread().clone());
        Ok(Self { engine, heart })
    }

    /// Keeps the heart beating until it is dropped.
    pub(crate) fn running(&self) -> Running<'_> {
        if self.heart.guests.fetch_add(1, Ordering::AcqRel) == 0 {
            self.heart.wake();
        }
        Running(&self.heart)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.heart.stopped.store(true, Ordering::Release);
        self.heart.wake();
    }
}

#[derive(Default)]
struct Heart {
    guests: AtomicUsize,
    stopped: AtomicBool,
    thread: std::sync::OnceLock<thread::Thread>,
}

impl Heart {
    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// A guest is running.
pub(crate) struct Running<'a>(&'a Heart);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.guests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What is on where nobody says otherwise, and no tool needs. The rest that is off was left out of the build (threads,
/// exceptions, types of the collector) or is off by itself; a test goes through them all.
const UNNEEDED: WasmFeatures = WasmFeatures::MEMORY64
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::GC)
    .union(WasmFeatures::FUNCTION_REFERENCES);

/// The same for the program that compiles and the one that runs; pooling is the latter's own affair.
pub(crate) fn config(limits: &Limits, pooled: bool) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .max_wasm_stack(limits.stack)
        .async_stack_size(limits.stack + HOST_STACK)
        // A stack may carry another tenant's words.
        .async_stack_zeroing(true)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_features(UNNEEDED, false)
        .memory_init_cow(true)
        // The default is too small for an interpreter's snapshot.
        .memory_guaranteed_dense_image_size(limits.memory as u64);
    if pooled {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits)));
    }
    config
}

/// One slot for each concurrent call, with all the parts the limits allow, so that a slot never lacks one.
fn pool(limits: &Limits) -> PoolingAllocationConfig {
    let slots = limits.concurrent;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(limits.instances))
        .total_memories(slots.saturating_mul(limits.memories))
        .total_tables(slots.saturating_mul(limits.tables))
        .total_stacks(slots)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .max_core_instances_per_component(limits.instances)
        .max_memories_per_component(limits.memories)
        .max_tables_per_component(limits.tables)
        .table_elements(limits.table_elements)
        .max_memory_size(limits.memory)
        .async_stack_keep_resident(STACK_KEPT);
    pool
}
