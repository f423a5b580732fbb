//! Counts what a running call uses: processor time and memory.
//!
//! Deadlines on the wall would punish a tool for a busy machine, so the guest is charged the time its
//! thread really computed. A call may move between threads whenever it waits; the meter therefore adds
//! up the processor time of each single poll. Invariant: memory and tables never grow past their limit,
//! and a refusal is remembered, because a guest usually answers it with a crash that names nothing.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::ResourceLimiter;

use crate::limits::{Limit, Limits};

/// Processor time of one call, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct CpuMeter {
    /// Of the polls that are over.
    used: AtomicU64,
    /// The thread's processor time when the current poll began.
    began: AtomicU64,
}

impl CpuMeter {
    /// Runs `work` and charges what its polls compute.
    pub(crate) async fn measure<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            self.began.store(thread_cpu(), Ordering::Relaxed);
            let polled = work.as_mut().poll(cx);
            self.used.fetch_add(self.current_poll(), Ordering::Relaxed);
            polled
        })
        .await
    }

    /// So far, between polls.
    pub(crate) fn total(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// So far, from inside a poll.
    pub(crate) fn running_total(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed) + self.current_poll())
    }

    fn current_poll(&self) -> u64 {
        thread_cpu().saturating_sub(self.began.load(Ordering::Relaxed))
    }
}

/// Processor time of this thread in nanoseconds.
fn thread_cpu() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Neither part is ever negative.
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Memory and tables of one call.
#[derive(Debug)]
pub(crate) struct SpaceMeter {
    limits: Limits,
    memory: usize,
    elements: usize,
    /// The last growth that was refused.
    refused: Option<Limit>,
}

impl SpaceMeter {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, memory: 0, elements: 0, refused: None }
    }

    /// Memory never shrinks, so this is the peak too, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// Memory, and tables with a pointer for each of their elements, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.memory.saturating_add(self.elements.saturating_mul(size_of::<usize>()))
    }

    pub(crate) fn refused(&self) -> Option<Limit> {
        self.refused
    }

    /// For an instance that answered a refusal well and is asked again.
    pub(crate) fn forget_refusal(&mut self) {
        self.refused = None;
    }
}

impl ResourceLimiter for SpaceMeter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current));
        if total > self.limits.memory {
            self.refused = Some(Limit::Memory);
            return Ok(false);
        }
        self.memory = total;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.elements.saturating_add(desired.saturating_sub(current));
        if total > self.limits.table_elements {
            self.refused = Some(Limit::Table);
            return Ok(false);
        }
        self.elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.limits.instances as usize
    }

    fn tables(&self) -> usize {
        self.limits.tables as usize
    }

    fn memories(&self) -> usize {
        self.limits.memories as usize
    }
}
